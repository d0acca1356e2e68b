// Readiness of a descriptor, by the event loop that Node already runs (libuv's uv_poll).
#pragma once
#include <node_api.h>
#include <stdbool.h>

struct watch;

// Calls `callback(readable, writable)` on the loop's thread. `*owner` points to the watch until it is stopped, by its owner or by the
// end of the environment. False and a pending exception on failure.
bool watch_start(napi_env env, int fd, napi_value callback, struct watch **owner);

// Bit 0: readable, bit 1: writable. 0 pauses.
void watch_set(struct watch *watch, int events);

// Frees the watch once the loop has let go of it. The descriptor may be closed right after.
void watch_stop(struct watch *watch);
