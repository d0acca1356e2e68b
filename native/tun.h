// The TUN device: whole super-packets with a virtio header each (operations 6.1, 6.4, 6.5).
#pragma once
#include <stdbool.h>

#include "batch.h"

enum { TUN_NAME_LENGTH = 16, VIRTIO_HEADER = 10 };

struct tun {
  int fd;
  size_t largest_packet;  // longer ones that are not to be segmented are dropped when read
  char name[TUN_NAME_LENGTH];
  bool can_segment_tcp;  // the kernel takes and gives TCP super-packets
  bool can_segment_udp;
};

// 0 or a negative errno. `largest_packet` 0: the MTU of the tunnel.
int tun_open(struct tun *tun, const char *name, size_t largest_packet);
// Two stand-ins that read what the other writes, for tests.
int tun_pair(struct tun *first, struct tun *second, bool can_segment_tcp, bool can_segment_udp);
void tun_close(struct tun *tun);

// Fills packet rows; returns their number or a negative errno (-EAGAIN: nothing there).
int32_t tun_read(struct tun *tun, struct tun_batch *batch);

// Row of one packet just read: `header` is the virtio header; false if the packet must be dropped.
bool tun_describe(const uint8_t *header, const uint8_t *packet, size_t length, int32_t *row);

// Writes every super-packet whose verdict is to forward.
void tun_write(struct tun *tun, struct receive_batch *batch, int32_t super_count);

// One packet as it is; 0 or a negative errno.
int tun_write_packet(struct tun *tun, const uint8_t *packet, size_t length);
