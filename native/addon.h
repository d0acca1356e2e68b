// Helpers of the Node-API side: arguments in, handles out. All other files know nothing of JavaScript (poll.c apart).
#pragma once
#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aead.h"
#include "batch.h"
#include "poll.h"
#include "sender.h"
#include "tun.h"
#include "udp.h"

enum { MAX_ARGUMENTS = 10 };

// What an external value points to; the kind keeps one from being taken for another.
enum kind { KIND_RECEIVE_BATCH = 0x46495231, KIND_TUN_BATCH, KIND_AEAD, KIND_UDP, KIND_SENDER, KIND_TUN, KIND_NETLINK };

struct handle {
  enum kind kind;
  napi_ref held[4];  // arrays and handles that must outlive this one
  struct watch *watch;
  union {
    struct receive_batch receive_batch;
    struct tun_batch tun_batch;
    struct aead aead;
    struct udp_socket udp;
    struct sender sender;
    struct tun tun;
    int netlink_fd;
  };
};

struct arguments {
  napi_env env;
  size_t count;
  napi_value values[MAX_ARGUMENTS];
  bool failed;  // an exception is pending
};

struct arguments get_arguments(napi_env env, napi_callback_info info);

// Each sets `failed` and throws a TypeError if argument `index` is something else.
int32_t argument_int(struct arguments *arguments, size_t index);
uint32_t argument_uint(struct arguments *arguments, size_t index);
struct handle *argument_handle(struct arguments *arguments, size_t index, enum kind kind);
bool argument_is_null(struct arguments *arguments, size_t index);
// Memory of a typed array; `length` in elements, at least `minimum`.
void *argument_array(struct arguments *arguments, size_t index, napi_typedarray_type type, size_t minimum,
                     size_t *length);
void argument_text(struct arguments *arguments, size_t index, char *target, size_t room);

// Keeps argument `index` alive as long as the handle.
void hold(struct arguments *arguments, size_t index, struct handle *handle, size_t place);

struct handle *new_handle(struct arguments *arguments, enum kind kind);
// The external value of a handle, which frees it when it is collected.
napi_value handle_value(struct arguments *arguments, struct handle *handle);

napi_value int_value(napi_env env, int64_t value);
void define(napi_env env, napi_value exports, const char *name, napi_callback function);

void define_network(napi_env env, napi_value exports);
