// UDP sockets: packet info, ECN, segmentation offload both ways (udp(7), ip(7), ipv6(7)).
#pragma once
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "batch.h"

enum { RECEIVE_SLOT = 65536, RECEIVE_SLOTS = 16, MAX_SEGMENTS_PER_SEND = 64 };

struct udp_options {
  int family;  // 4 or 6
  uint8_t address[16];
  uint16_t port;
  int send_buffer;
  int receive_buffer;
  uint32_t mark;  // 0: none
};

struct udp_socket {
  int fd;
  int family;
  int32_t id;
  uint16_t port;
  bool can_segment;
  bool can_coalesce;
  int send_buffer;
  int receive_buffer;
};

union socket_address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

// Where a datagram goes and from which of our addresses: addresses as words of base/address.ts.
struct route {
  union socket_address remote;
  uint32_t local[4];  // all zero: any
  uint8_t ecn;
};

// 0 or a negative errno.
int udp_open(struct udp_socket *socket, const struct udp_options *options);
void udp_close(struct udp_socket *socket);

// Fills run rows from the first on; returns their number or a negative errno.
int32_t udp_receive(struct udp_socket *socket, struct receive_batch *batch);

// False if the address is of the other family.
bool route_from_words(struct route *route, int family, const int32_t *remote, int32_t port, const int32_t *local,
                      uint8_t ecn);

// Sends `length` bytes as datagrams of `segment` bytes, the last may be shorter. Returns the number of bytes that are done
// with (sent or lost, in whole datagrams), or -EAGAIN if none is. Never blocks; uses `parts` up.
ssize_t udp_send(struct udp_socket *socket, const struct route *route, struct iovec *parts, size_t part_count,
                 size_t length, size_t segment);

// How many datagrams of `segment` bytes one send may carry.
size_t udp_max_segments(int family, size_t segment);

// Forwards `count` datagrams of a run from the `first` on: cuts `header_length` bytes off each, and where the path row names a
// channel puts a ChannelData header in front. Returns the number of datagrams forwarded or a negative errno.
int32_t udp_forward(struct udp_socket *socket, struct receive_batch *batch, int32_t run, int32_t first, int32_t count,
                    int32_t header_length, const int32_t *path, uint8_t ecn);
