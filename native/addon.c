// Registration, handles, batches, the cipher. The network half is in addon_net.c. The TypeScript side is src/io/packets/native.ts.
#include "addon.h"

#include <stdlib.h>
#include <string.h>

#include "gather.h"
#include "layout.h"
#include "netlink.h"
#include "privilege.h"

static double no_counters[COUNTER_COUNT];
_Thread_local double *counters = no_counters;

struct arguments get_arguments(napi_env env, napi_callback_info info) {
  struct arguments arguments = {.env = env, .count = MAX_ARGUMENTS};
  napi_get_cb_info(env, info, &arguments.count, arguments.values, NULL, NULL);
  return arguments;
}

static void fail(struct arguments *arguments, const char *message) {
  if (!arguments->failed) napi_throw_type_error(arguments->env, NULL, message);
  arguments->failed = true;
}

int32_t argument_int(struct arguments *arguments, size_t index) {
  int32_t value = 0;
  if (napi_get_value_int32(arguments->env, arguments->values[index], &value) != napi_ok)
    fail(arguments, "a number is expected");
  return value;
}

uint32_t argument_uint(struct arguments *arguments, size_t index) {
  uint32_t value = 0;
  if (napi_get_value_uint32(arguments->env, arguments->values[index], &value) != napi_ok)
    fail(arguments, "a number is expected");
  return value;
}

bool argument_is_null(struct arguments *arguments, size_t index) {
  napi_valuetype type = napi_null;
  napi_typeof(arguments->env, arguments->values[index], &type);
  return type == napi_null || type == napi_undefined;
}

struct handle *argument_handle(struct arguments *arguments, size_t index, enum kind kind) {
  void *data = NULL;
  if (napi_get_value_external(arguments->env, arguments->values[index], &data) != napi_ok || !data ||
      ((struct handle *)data)->kind != kind) {
    fail(arguments, "a handle of another kind is expected");
    return NULL;
  }
  return data;
}

void *argument_array(struct arguments *arguments, size_t index, napi_typedarray_type type, size_t minimum,
                     size_t *length) {
  bool is_typed_array = false;
  napi_typedarray_type actual;
  size_t count = 0;
  void *data = NULL;
  napi_is_typedarray(arguments->env, arguments->values[index], &is_typed_array);
  if (is_typed_array)
    napi_get_typedarray_info(arguments->env, arguments->values[index], &actual, &count, &data, NULL, NULL);
  if (!is_typed_array || actual != type || count < minimum || (!data && count > 0)) {
    fail(arguments, "a typed array of another type or length is expected");
    return NULL;
  }
  if (length) *length = count;
  return data;
}

void argument_text(struct arguments *arguments, size_t index, char *target, size_t room) {
  size_t length;
  if (napi_get_value_string_utf8(arguments->env, arguments->values[index], target, room, &length) != napi_ok)
    fail(arguments, "a text is expected");
}

void hold(struct arguments *arguments, size_t index, struct handle *handle, size_t place) {
  napi_create_reference(arguments->env, arguments->values[index], 1, &handle->held[place]);
}

struct handle *new_handle(struct arguments *arguments, enum kind kind) {
  if (arguments->failed) return NULL;
  struct handle *handle = calloc(1, sizeof *handle);
  if (!handle) {
    fail(arguments, "out of memory");
    return NULL;
  }
  handle->kind = kind;
  return handle;
}

static void finalize(napi_env env, void *data, void *hint) {
  (void)hint;
  struct handle *handle = data;
  if (handle->watch) watch_stop(handle->watch);
  if (handle->kind == KIND_AEAD) aead_free(&handle->aead);
  if (handle->kind == KIND_UDP) udp_close(&handle->udp);
  if (handle->kind == KIND_SENDER) sender_free(&handle->sender);
  if (handle->kind == KIND_TUN) tun_close(&handle->tun);
  if (handle->kind == KIND_NETLINK) netlink_close(&handle->netlink_fd);
  for (size_t i = 0; i < sizeof handle->held / sizeof handle->held[0]; i++)
    if (handle->held[i]) napi_delete_reference(env, handle->held[i]);
  free(handle);
}

napi_value handle_value(struct arguments *arguments, struct handle *handle) {
  napi_value value = NULL;
  if (napi_create_external(arguments->env, handle, finalize, NULL, &value) != napi_ok)
    finalize(arguments->env, handle, NULL);
  return value;
}

napi_value int_value(napi_env env, int64_t value) {
  napi_value result;
  napi_create_int64(env, value, &result);
  return result;
}

void define(napi_env env, napi_value exports, const char *name, napi_callback function) {
  napi_value value;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, function, NULL, &value);
  napi_set_named_property(env, exports, name, value);
}

// useCounters(values: Float64Array): the caller keeps the array for good.
static napi_value use_counters(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  double *values = argument_array(&a, 0, napi_float64_array, COUNTER_COUNT, NULL);
  if (values) counters = values;
  return NULL;
}

// createReceiveBatch(slab, runs, datagrams, superPackets): handle
static napi_value create_receive_batch(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  struct receive_batch batch = {0};
  size_t runs, datagrams, supers;
  batch.slab = argument_array(&a, 0, napi_uint8_array, 0, &batch.slab_length);
  batch.runs = argument_array(&a, 1, napi_int32_array, RUN_STRIDE, &runs);
  batch.datagrams = argument_array(&a, 2, napi_int32_array, DATAGRAM_STRIDE, &datagrams);
  batch.supers = argument_array(&a, 3, napi_int32_array, SUPER_STRIDE, &supers);
  struct handle *handle = new_handle(&a, KIND_RECEIVE_BATCH);
  if (!handle) return NULL;
  batch.max_runs = (int32_t)(runs / RUN_STRIDE);
  batch.max_datagrams = (int32_t)(datagrams / DATAGRAM_STRIDE);
  batch.max_supers = (int32_t)(supers / SUPER_STRIDE);
  handle->receive_batch = batch;
  for (size_t i = 0; i < 4; i++) hold(&a, i, handle, i);
  return handle_value(&a, handle);
}

// createTunBatch(slab, packets): handle
static napi_value create_tun_batch(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  struct tun_batch batch = {0};
  size_t packets;
  batch.slab = argument_array(&a, 0, napi_uint8_array, 0, &batch.slab_length);
  batch.packets = argument_array(&a, 1, napi_int32_array, TUN_STRIDE, &packets);
  struct handle *handle = new_handle(&a, KIND_TUN_BATCH);
  if (!handle) return NULL;
  batch.max_packets = (int32_t)(packets / TUN_STRIDE);
  handle->tun_batch = batch;
  for (size_t i = 0; i < 2; i++) hold(&a, i, handle, i);
  return handle_value(&a, handle);
}

// createAead(sendCounters, paths, usesKernels): handle
static napi_value create_aead(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  size_t capacity = 0;
  double *send_counters = argument_array(&a, 0, napi_float64_array, 1, &capacity);
  int32_t *paths = argument_array(&a, 1, napi_int32_array, capacity * PATH_STRIDE, NULL);
  const struct aead_backend *backend = argument_int(&a, 2) ? &aead_kernels : &aead_evp;
  struct handle *handle = new_handle(&a, KIND_AEAD);
  if (!handle) return NULL;
  for (size_t i = 0; i < 2; i++) hold(&a, i, handle, i);
  if (!aead_init(&handle->aead, backend, (int32_t)capacity, send_counters, paths)) {
    finalize(env, handle, NULL);
    napi_throw_error(env, NULL, "out of memory");
    return NULL;
  }
  return handle_value(&a, handle);
}

// aeadInstall(aead, sendKey, receiveKey, remoteIndex): slot, -1 or -2
static napi_value install(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  struct handle *handle = argument_handle(&a, 0, KIND_AEAD);
  const uint8_t *send_key = argument_array(&a, 1, napi_uint8_array, KEY_LENGTH, NULL);
  const uint8_t *receive_key = argument_array(&a, 2, napi_uint8_array, KEY_LENGTH, NULL);
  uint32_t remote_index = argument_uint(&a, 3);
  if (a.failed) return NULL;
  return int_value(env, aead_install(&handle->aead, send_key, receive_key, remote_index));
}

// aeadRemove(aead, slot)
static napi_value uninstall(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  struct handle *handle = argument_handle(&a, 0, KIND_AEAD);
  int32_t slot = argument_int(&a, 1);
  if (!a.failed) aead_remove(&handle->aead, slot);
  return NULL;
}

// aeadSealOne(aead, slot, message): the plaintext stands at 16 and the message has 16 bytes of room behind it.
static napi_value seal_one(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  struct handle *handle = argument_handle(&a, 0, KIND_AEAD);
  int32_t slot = argument_int(&a, 1);
  size_t length;
  uint8_t *message = argument_array(&a, 2, napi_uint8_array, MESSAGE_HEADER + TAG_LENGTH, &length);
  if (a.failed || !aead_has(&handle->aead, slot)) return int_value(env, -1);
  struct aead_job job;
  aead_begin_message(&handle->aead, slot, message, &job);
  job.text = message + MESSAGE_HEADER;
  job.length = (uint32_t)(length - MESSAGE_HEADER - TAG_LENGTH);
  aead_seal(&handle->aead, slot, &job, 1);
  return int_value(env, (int64_t)length);
}

// aeadOpenOne(aead, slot, message): opened in place; plaintext length or -1
static napi_value open_one(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  struct handle *handle = argument_handle(&a, 0, KIND_AEAD);
  int32_t slot = argument_int(&a, 1);
  size_t length;
  uint8_t *message = argument_array(&a, 2, napi_uint8_array, 0, &length);
  if (a.failed) return NULL;
  struct aead_job job;
  if (!aead_has(&handle->aead, slot) || !aead_message(message, length, &job)) return int_value(env, -1);
  aead_open(&handle->aead, slot, &job, 1);
  return int_value(env, job.authentic ? (int64_t)job.length : -1);
}

// aeadOpen(aead, batch, runCount): datagrams
static napi_value open_runs(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  struct handle *aead = argument_handle(&a, 0, KIND_AEAD);
  struct handle *batch = argument_handle(&a, 1, KIND_RECEIVE_BATCH);
  int32_t runs = argument_int(&a, 2);
  if (a.failed) return NULL;
  if (runs > batch->receive_batch.max_runs) runs = batch->receive_batch.max_runs;
  return int_value(env, aead_open_runs(&aead->aead, &batch->receive_batch, runs));
}

// gather(batch, datagramCount): superPackets
static napi_value gather_batch(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  struct handle *batch = argument_handle(&a, 0, KIND_RECEIVE_BATCH);
  int32_t datagrams = argument_int(&a, 1);
  if (a.failed) return NULL;
  if (datagrams > batch->receive_batch.max_datagrams) datagrams = batch->receive_batch.max_datagrams;
  return int_value(env, gather(&batch->receive_batch, datagrams));
}

// netlink(request): the kernel's answer (a copy), or a negative errno
static napi_value netlink_call(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  size_t length;
  const uint8_t *request = argument_array(&a, 0, napi_uint8_array, 16, &length);
  if (a.failed) return NULL;
  uint8_t *answer = NULL;
  ssize_t size = netlink_request(request, length, &answer);
  if (size < 0) return int_value(env, size);
  void *copy;
  napi_value buffer, value;
  napi_create_arraybuffer(env, (size_t)size, &copy, &buffer);
  if (size > 0) memcpy(copy, answer, (size_t)size);
  free(answer);
  napi_create_typedarray(env, napi_uint8_array, (size_t)size, buffer, 0, &value);
  return value;
}

// shareNetAdmin(): 0 or a negative errno
static napi_value share_privilege(napi_env env, napi_callback_info info) {
  (void)info;
  return int_value(env, share_net_admin());
}

// layout(): the columns of layout.h in order, for comparison with src/base/batch.ts
static napi_value layout(napi_env env, napi_callback_info info) {
  (void)info;
  static const struct {
    const char *name;
    int32_t value;
  } table[] = {
      {"RUN.stride", RUN_STRIDE},
      {"RUN.segmentLength", RUN_SEGMENT_LENGTH},
      {"RUN.remotePort", RUN_REMOTE_PORT},
      {"RUN.local", RUN_LOCAL},
      {"RUN.localPort", RUN_LOCAL_PORT},
      {"RUN.ecn", RUN_ECN},
      {"RUN.slot", RUN_SLOT},
      {"RUN.headerLength", RUN_HEADER_LENGTH},
      {"RUN.firstDatagram", RUN_FIRST_DATAGRAM},
      {"RUN.datagramCount", RUN_DATAGRAM_COUNT},
      {"RUN.socket", RUN_SOCKET},
      {"DATAGRAM.stride", DATAGRAM_STRIDE},
      {"DATAGRAM.length", DATAGRAM_LENGTH},
      {"DATAGRAM.counterLow", DATAGRAM_COUNTER_LOW},
      {"DATAGRAM.counterHigh", DATAGRAM_COUNTER_HIGH},
      {"DATAGRAM.run", DATAGRAM_RUN},
      {"DATAGRAM.slot", DATAGRAM_SLOT},
      {"DATAGRAM.accepted", DATAGRAM_ACCEPTED},
      {"DATAGRAM.rawLength", DATAGRAM_RAW_LENGTH},
      {"DATAGRAM.next", DATAGRAM_NEXT},
      {"SUPER.stride", SUPER_STRIDE},
      {"SUPER.ipHeaderLength", SUPER_IP_HEADER_LENGTH},
      {"SUPER.transportHeaderLength", SUPER_TRANSPORT_HEADER_LENGTH},
      {"SUPER.protocol", SUPER_PROTOCOL},
      {"SUPER.flags", SUPER_FLAGS},
      {"SUPER.segmentLength", SUPER_SEGMENT_LENGTH},
      {"SUPER.segments", SUPER_SEGMENTS},
      {"SUPER.slot", SUPER_SLOT},
      {"SUPER.ecn", SUPER_ECN},
      {"SUPER.verdict", SUPER_VERDICT},
      {"SUPER.firstDatagram", SUPER_FIRST_DATAGRAM},
      {"TUN_PACKET.stride", TUN_STRIDE},
      {"TUN_PACKET.gsoType", TUN_GSO_TYPE},
      {"TUN_PACKET.gsoSegment", TUN_GSO_SEGMENT},
      {"TUN_PACKET.flags", TUN_FLAGS},
      {"TUN_PACKET.checksumStart", TUN_CHECKSUM_START},
      {"TUN_PACKET.checksumOffset", TUN_CHECKSUM_OFFSET},
      {"TUN_PACKET.headerLength", TUN_HEADER_LENGTH},
      {"TUN_PACKET.slot", TUN_SLOT},
      {"TUN_PACKET.ecn", TUN_ECN},
      {"PATH.stride", PATH_STRIDE},
      {"PATH.remotePort", PATH_REMOTE_PORT},
      {"PATH.local", PATH_LOCAL},
      {"PATH.channel", PATH_CHANNEL},
      {"PATH.usable", PATH_USABLE},
      {"counters", COUNTER_COUNT},
  };
  napi_value result;
  napi_create_object(env, &result);
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
    napi_set_named_property(env, result, table[i].name, int_value(env, table[i].value));
  return result;
}

static napi_value text_or_null(napi_env env, const char *text) {
  napi_value result;
  if (text)
    napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &result);
  else
    napi_get_null(env, &result);
  return result;
}

// cipherProblem(): what of OpenSSL's public interface this Node lacks, or null
static napi_value cipher_problem(napi_env env, napi_callback_info info) {
  (void)info;
  return text_or_null(env, aead_evp_load());
}

// kernelsProblem(): why the faster backend cannot be used, or null; after cipherProblem
static napi_value kernels_problem(napi_env env, napi_callback_info info) {
  (void)info;
  return text_or_null(env, aead_kernels_load());
}

NAPI_MODULE_INIT() {
  define(env, exports, "layout", layout);
  define(env, exports, "useCounters", use_counters);
  define(env, exports, "cipherProblem", cipher_problem);
  define(env, exports, "kernelsProblem", kernels_problem);
  define(env, exports, "createReceiveBatch", create_receive_batch);
  define(env, exports, "createTunBatch", create_tun_batch);
  define(env, exports, "createAead", create_aead);
  define(env, exports, "aeadInstall", install);
  define(env, exports, "aeadRemove", uninstall);
  define(env, exports, "aeadSealOne", seal_one);
  define(env, exports, "aeadOpenOne", open_one);
  define(env, exports, "aeadOpen", open_runs);
  define(env, exports, "gather", gather_batch);
  define(env, exports, "netlink", netlink_call);
  define(env, exports, "shareNetAdmin", share_privilege);
  define_network(env, exports);
  return exports;
}
