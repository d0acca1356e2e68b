// The Node-API side of sockets, the sender and the TUN device.
#include <errno.h>
#include <string.h>
#include <time.h>

#include "addon.h"
#include "layout.h"
#include "netlink.h"

static void watch_handle(struct arguments *a, struct handle *handle, int fd) {
  if (a->failed) return;
  if (handle->watch) watch_stop(handle->watch);
  watch_start(a->env, fd, a->values[1], &handle->watch);
}

static void unwatch_handle(struct handle *handle) {
  if (handle->watch) watch_stop(handle->watch);
}

// udpOpen(family, address, port, sendBuffer, receiveBuffer, mark, id, info): handle or a negative errno.
// info: port, send buffer, receive buffer, segmentation, coalescing
static napi_value open_udp(napi_env env, napi_callback_info callback) {
  struct arguments a = get_arguments(env, callback);
  struct udp_options options = {.family = argument_int(&a, 0)};
  size_t address_length = options.family == 4 ? 4 : 16;
  const uint8_t *address = argument_array(&a, 1, napi_uint8_array, address_length, NULL);
  options.port = (uint16_t)argument_int(&a, 2);
  options.send_buffer = argument_int(&a, 3);
  options.receive_buffer = argument_int(&a, 4);
  options.mark = argument_uint(&a, 5);
  int32_t id = argument_int(&a, 6);
  int32_t *info = argument_array(&a, 7, napi_int32_array, 5, NULL);
  struct handle *handle = new_handle(&a, KIND_UDP);
  if (!handle) return NULL;
  memcpy(options.address, address, address_length);
  handle->udp.fd = -1;
  handle->udp.id = id;
  napi_value value = handle_value(&a, handle);
  int error = udp_open(&handle->udp, &options);
  if (error != 0) return int_value(env, error);
  info[0] = handle->udp.port;
  info[1] = handle->udp.send_buffer;
  info[2] = handle->udp.receive_buffer;
  info[3] = handle->udp.can_segment;
  info[4] = handle->udp.can_coalesce;
  return value;
}

// udpReceive(socket, batch): runs or a negative errno
static napi_value receive(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  struct handle *udp = argument_handle(&a, 0, KIND_UDP);
  struct handle *batch = argument_handle(&a, 1, KIND_RECEIVE_BATCH);
  if (a.failed) return NULL;
  return int_value(env, udp_receive(&udp->udp, &batch->receive_batch));
}

// A route row: four words of the remote address, its port, four words of our address, ECN.
enum { ROUTE_PORT = 4, ROUTE_LOCAL = 5, ROUTE_ECN = 9, ROUTE_LENGTH = 10 };

// udpSend(socket, route, payload): 0 or a negative errno
static napi_value send_datagram(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  struct handle *handle = argument_handle(&a, 0, KIND_UDP);
  const int32_t *to = argument_array(&a, 1, napi_int32_array, ROUTE_LENGTH, NULL);
  size_t length;
  uint8_t *payload = argument_array(&a, 2, napi_uint8_array, 1, &length);
  if (a.failed) return NULL;
  struct udp_socket *udp = &handle->udp;
  struct route route;
  if (!route_from_words(&route, udp->family, to, to[ROUTE_PORT], to + ROUTE_LOCAL, (uint8_t)to[ROUTE_ECN]))
    return int_value(env, -EAFNOSUPPORT);
  struct iovec part = {payload, length};
  ssize_t done = udp_send(udp, &route, &part, 1, length, length);
  return int_value(env, done < 0 ? done : 0);
}

// udpForward(socket, batch, run, first, count, headerLength, paths, row, ecn): datagrams or a negative errno
static napi_value forward(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  struct handle *udp = argument_handle(&a, 0, KIND_UDP);
  struct handle *batch = argument_handle(&a, 1, KIND_RECEIVE_BATCH);
  int32_t run = argument_int(&a, 2), first = argument_int(&a, 3), datagrams = argument_int(&a, 4);
  int32_t header_length = argument_int(&a, 5);
  uint32_t row = argument_uint(&a, 7);
  const int32_t *paths = argument_array(&a, 6, napi_int32_array, ((size_t)row + 1) * PATH_STRIDE, NULL);
  int32_t ecn = argument_int(&a, 8);
  if (a.failed) return NULL;
  return int_value(env, udp_forward(&udp->udp, &batch->receive_batch, run, first, datagrams, header_length,
                                    paths + (size_t)row * PATH_STRIDE, (uint8_t)ecn));
}

// udpWatch(socket, callback), tunWatch(tun, callback): callback(readable, writable)
static napi_value watch_udp(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  struct handle *handle = argument_handle(&a, 0, KIND_UDP);
  if (handle) watch_handle(&a, handle, handle->udp.fd);
  return NULL;
}

static napi_value watch_tun(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  struct handle *handle = argument_handle(&a, 0, KIND_TUN);
  if (handle) watch_handle(&a, handle, handle->tun.fd);
  return NULL;
}

// udpEvents(socket, mask), tunEvents(tun, mask)
static napi_value set_events(napi_env env, napi_callback_info info, enum kind kind) {
  struct arguments a = get_arguments(env, info);
  struct handle *handle = argument_handle(&a, 0, kind);
  int32_t mask = argument_int(&a, 1);
  if (!a.failed && handle->watch) watch_set(handle->watch, mask);
  return NULL;
}

static napi_value udp_events(napi_env env, napi_callback_info info) { return set_events(env, info, KIND_UDP); }
static napi_value tun_events(napi_env env, napi_callback_info info) { return set_events(env, info, KIND_TUN); }

static napi_value close_udp(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  struct handle *handle = argument_handle(&a, 0, KIND_UDP);
  if (a.failed) return NULL;
  unwatch_handle(handle);
  udp_close(&handle->udp);
  return NULL;
}

// createSender(v4 | null, v6 | null): handle
static napi_value create_sender(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  struct handle *sockets[2] = {NULL, NULL};
  for (size_t i = 0; i < 2; i++)
    if (!argument_is_null(&a, i)) sockets[i] = argument_handle(&a, i, KIND_UDP);
  struct handle *handle = new_handle(&a, KIND_SENDER);
  if (!handle) return NULL;
  for (size_t i = 0; i < 2; i++)
    if (sockets[i]) hold(&a, i, handle, i);
  bool ready = sender_init(&handle->sender, sockets[0] ? &sockets[0]->udp : NULL, sockets[1] ? &sockets[1]->udp : NULL);
  napi_value value = handle_value(&a, handle);
  if (!ready) {
    napi_throw_error(env, NULL, "out of memory");
    return NULL;
  }
  return value;
}

// senderSeal(sender, aead, batch, packetCount): sockets with waiting sends, bit 0 IPv4, bit 1 IPv6
static napi_value seal(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  struct handle *sender = argument_handle(&a, 0, KIND_SENDER);
  struct handle *aead = argument_handle(&a, 1, KIND_AEAD);
  struct handle *batch = argument_handle(&a, 2, KIND_TUN_BATCH);
  int32_t packets = argument_int(&a, 3);
  if (a.failed) return NULL;
  return int_value(env, sender_seal(&sender->sender, &aead->aead, &batch->tun_batch, packets));
}

// senderSend(sender, route, payload): 0 or a negative errno
static napi_value send_control(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  struct handle *sender = argument_handle(&a, 0, KIND_SENDER);
  const int32_t *to = argument_array(&a, 1, napi_int32_array, ROUTE_LENGTH, NULL);
  size_t length;
  const uint8_t *payload = argument_array(&a, 2, napi_uint8_array, 1, &length);
  if (a.failed) return NULL;
  return int_value(env, sender_send(&sender->sender, to, to[ROUTE_PORT], to + ROUTE_LOCAL, (uint8_t)to[ROUTE_ECN],
                                    payload, length));
}

// senderFlush(sender): sockets with waiting sends
static napi_value flush(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  struct handle *sender = argument_handle(&a, 0, KIND_SENDER);
  return a.failed ? NULL : int_value(env, sender_flush(&sender->sender));
}

static void describe_tun(const struct tun *tun, int32_t *info) {
  info[0] = tun->can_segment_tcp;
  info[1] = tun->can_segment_udp;
}

// tunOpen(name, info, largest packet or 0): handle or a negative errno. info: TCP super-packets, UDP super-packets
static napi_value open_tun(napi_env env, napi_callback_info callback) {
  struct arguments a = get_arguments(env, callback);
  char name[TUN_NAME_LENGTH] = {0};
  argument_text(&a, 0, name, sizeof name);
  int32_t *info = argument_array(&a, 1, napi_int32_array, 2, NULL);
  uint32_t largest_packet = argument_uint(&a, 2);
  struct handle *handle = new_handle(&a, KIND_TUN);
  if (!handle) return NULL;
  handle->tun.fd = -1;
  napi_value value = handle_value(&a, handle);
  int error = tun_open(&handle->tun, name, largest_packet);
  if (error != 0) return int_value(env, error);
  describe_tun(&handle->tun, info);
  return value;
}

// tunPair(offloads): two connected stand-ins for TUN devices, for tests: what one writes, the other reads
static napi_value pair_tun(napi_env env, napi_callback_info callback) {
  struct arguments a = get_arguments(env, callback);
  int32_t offloads = argument_int(&a, 0);
  struct handle *first = new_handle(&a, KIND_TUN), *second = new_handle(&a, KIND_TUN);
  napi_value values[2], result;
  if (!first || !second) return NULL;
  int error = tun_pair(&first->tun, &second->tun, offloads & 1, offloads & 2);
  values[0] = handle_value(&a, first);
  values[1] = handle_value(&a, second);
  if (error != 0) return int_value(env, error);
  napi_create_array_with_length(env, 2, &result);
  for (uint32_t i = 0; i < 2; i++) napi_set_element(env, result, i, values[i]);
  return result;
}

// tunRead(tun, batch): packets or a negative errno
static napi_value read_tun(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  struct handle *tun = argument_handle(&a, 0, KIND_TUN);
  struct handle *batch = argument_handle(&a, 1, KIND_TUN_BATCH);
  return a.failed ? NULL : int_value(env, tun_read(&tun->tun, &batch->tun_batch));
}

// tunWrite(tun, batch, superCount)
static napi_value write_tun(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  struct handle *tun = argument_handle(&a, 0, KIND_TUN);
  struct handle *batch = argument_handle(&a, 1, KIND_RECEIVE_BATCH);
  int32_t supers = argument_int(&a, 2);
  if (a.failed) return NULL;
  if (supers > batch->receive_batch.max_supers) supers = batch->receive_batch.max_supers;
  tun_write(&tun->tun, &batch->receive_batch, supers);
  return NULL;
}

// tunWritePacket(tun, packet): 0 or a negative errno
static napi_value write_packet(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  struct handle *tun = argument_handle(&a, 0, KIND_TUN);
  size_t length;
  const uint8_t *packet = argument_array(&a, 1, napi_uint8_array, 1, &length);
  return a.failed ? NULL : int_value(env, tun_write_packet(&tun->tun, packet, length));
}

static napi_value close_tun(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  struct handle *handle = argument_handle(&a, 0, KIND_TUN);
  if (a.failed) return NULL;
  unwatch_handle(handle);
  tun_close(&handle->tun);
  return NULL;
}

// netlinkSubscribe(groups, callback): handle or a negative errno
static napi_value subscribe_netlink(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  uint32_t groups = argument_uint(&a, 0);
  struct handle *handle = new_handle(&a, KIND_NETLINK);
  if (!handle) return NULL;
  handle->netlink_fd = -1;
  napi_value value = handle_value(&a, handle);
  int fd = netlink_subscribe(groups);
  if (fd < 0) return int_value(env, fd);
  handle->netlink_fd = fd;
  watch_handle(&a, handle, fd);
  return value;
}

// netlinkHear(handle, buffer): bytes that were heard, or a negative errno
static napi_value hear_netlink(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  struct handle *handle = argument_handle(&a, 0, KIND_NETLINK);
  size_t room;
  uint8_t *buffer = argument_array(&a, 1, napi_uint8_array, 1, &room);
  return a.failed ? NULL : int_value(env, netlink_hear(handle->netlink_fd, buffer, room));
}

// netlinkClose(handle)
static napi_value close_netlink(napi_env env, napi_callback_info info) {
  struct arguments a = get_arguments(env, info);
  struct handle *handle = argument_handle(&a, 0, KIND_NETLINK);
  if (a.failed) return NULL;
  unwatch_handle(handle);
  netlink_close(&handle->netlink_fd);
  return NULL;
}

// bootTime(): milliseconds since the machine started, time asleep included
static napi_value boot_time(napi_env env, napi_callback_info info) {
  (void)info;
  struct timespec now;
  napi_value value;
  clock_gettime(CLOCK_BOOTTIME, &now);
  napi_create_double(env, (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6, &value);
  return value;
}

void define_network(napi_env env, napi_value exports) {
  define(env, exports, "udpOpen", open_udp);
  define(env, exports, "udpReceive", receive);
  define(env, exports, "udpSend", send_datagram);
  define(env, exports, "udpForward", forward);
  define(env, exports, "udpWatch", watch_udp);
  define(env, exports, "udpEvents", udp_events);
  define(env, exports, "udpClose", close_udp);
  define(env, exports, "createSender", create_sender);
  define(env, exports, "senderSeal", seal);
  define(env, exports, "senderSend", send_control);
  define(env, exports, "senderFlush", flush);
  define(env, exports, "tunOpen", open_tun);
  define(env, exports, "tunPair", pair_tun);
  define(env, exports, "tunRead", read_tun);
  define(env, exports, "tunWrite", write_tun);
  define(env, exports, "tunWritePacket", write_packet);
  define(env, exports, "tunWatch", watch_tun);
  define(env, exports, "tunEvents", tun_events);
  define(env, exports, "tunClose", close_tun);
  define(env, exports, "netlinkSubscribe", subscribe_netlink);
  define(env, exports, "netlinkHear", hear_netlink);
  define(env, exports, "netlinkClose", close_netlink);
  define(env, exports, "bootTime", boot_time);
}
