// See poll.h. Node exports libuv's functions and libuv keeps their ABI within version 1, so the few that are needed are declared
// here instead of bringing libuv's headers; the size of the handle is asked for at run time.
#include "poll.h"

#include <stdlib.h>

typedef struct uv_loop_s uv_loop_t;
typedef struct uv_poll_s uv_poll_t;

enum { UV_READABLE = 1, UV_WRITABLE = 2, UV_POLL = 8 };

extern size_t uv_handle_size(int type);
extern int uv_poll_init(uv_loop_t *loop, uv_poll_t *handle, int fd);
extern int uv_poll_start(uv_poll_t *handle, int events, void (*callback)(uv_poll_t *, int status, int events));
extern int uv_poll_stop(uv_poll_t *handle);
extern void uv_close(uv_poll_t *handle, void (*callback)(uv_poll_t *));
extern void *uv_handle_get_data(const uv_poll_t *handle);
extern void uv_handle_set_data(uv_poll_t *handle, void *data);

struct watch {
  napi_env env;
  struct watch **owner;
  napi_async_cleanup_hook_handle cleanup;
  napi_ref callback;
  napi_async_context context;
  uv_poll_t *handle;
  int events;
};

static void on_ready(uv_poll_t *handle, int status, int events) {
  struct watch *watch = uv_handle_get_data(handle);
  napi_env env = watch->env;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value callback, receiver, arguments[2], result;
  if (status < 0) events = watch->events;  // let the next call meet the error
  napi_get_reference_value(env, watch->callback, &callback);
  napi_get_global(env, &receiver);
  napi_get_boolean(env, (events & UV_READABLE) != 0, &arguments[0]);
  napi_get_boolean(env, (events & UV_WRITABLE) != 0, &arguments[1]);
  napi_status called = napi_make_callback(env, watch->context, receiver, callback, 2, arguments, &result);
  if (called == napi_pending_exception) {
    napi_value error;
    napi_get_and_clear_last_exception(env, &error);
    napi_fatal_exception(env, error);
  }
  napi_close_handle_scope(env, scope);
}

static void on_closed(uv_poll_t *handle) {
  struct watch *watch = uv_handle_get_data(handle);
  napi_async_destroy(watch->env, watch->context);
  napi_remove_async_cleanup_hook(watch->cleanup);
  free(handle);
  free(watch);
}

// The environment ends (a worker thread is stopped): it waits until on_closed has removed this hook.
static void on_environment_end(napi_async_cleanup_hook_handle cleanup, void *data) {
  (void)cleanup;
  struct watch *watch = data;
  if (watch->owner) watch_stop(watch);
}

bool watch_start(napi_env env, int fd, napi_value callback, struct watch **owner) {
  uv_loop_t *loop;
  napi_value name;
  struct watch *watch = calloc(1, sizeof *watch);
  uv_poll_t *handle = calloc(1, uv_handle_size(UV_POLL));
  if (!watch || !handle || napi_get_uv_event_loop(env, (struct uv_loop_s **)&loop) != napi_ok ||
      uv_poll_init(loop, handle, fd) != 0) {
    free(watch);
    free(handle);
    napi_throw_error(env, NULL, "the event loop does not take the descriptor");
    return false;
  }
  *watch = (struct watch){.env = env, .owner = owner, .handle = handle};
  *owner = watch;
  uv_handle_set_data(handle, watch);
  napi_create_reference(env, callback, 1, &watch->callback);
  napi_create_string_utf8(env, "firezone", NAPI_AUTO_LENGTH, &name);
  napi_async_init(env, NULL, name, &watch->context);
  napi_add_async_cleanup_hook(env, on_environment_end, watch, &watch->cleanup);
  watch_set(watch, UV_READABLE);
  return true;
}

void watch_set(struct watch *watch, int events) {
  if (events == watch->events) return;
  watch->events = events;
  if (events == 0)
    uv_poll_stop(watch->handle);
  else
    uv_poll_start(watch->handle, events, on_ready);
}

void watch_stop(struct watch *watch) {
  *watch->owner = NULL;
  watch->owner = NULL;
  uv_poll_stop(watch->handle);
  napi_delete_reference(watch->env, watch->callback);
  uv_close(watch->handle, on_closed);
}
