// What leaves the tunnel's UDP sockets: bulk packets, segmented, sealed and grouped into sends, and single control datagrams.
// A send that would block waits in a small bounded queue, in order; when the queue is full, packets are dropped and counted.
#pragma once
#include "aead.h"
#include "batch.h"
#include "udp.h"

enum { OUTPUTS = 32, OPEN_OUTPUTS = 4, OUTPUT_CAPACITY = 65536, OUTPUT_HEADROOM = 64 };

// One send under construction, or waiting for the socket.
struct output {
  uint8_t *data;
  struct udp_socket *socket;
  struct route route;
  int32_t slot;
  size_t segment;   // bytes of each datagram but the last
  size_t length;
  size_t datagrams;
  size_t most;      // datagrams that fit
  size_t done;      // bytes already sent
  bool is_closed;   // the last datagram is shorter
  struct aead_job jobs[MAX_SEGMENTS_PER_SEND];
};

struct sender {
  struct udp_socket *sockets[2];  // IPv4, IPv6; either may be NULL
  uint8_t *memory;
  struct output outputs[OUTPUTS];
  struct output *unused[OUTPUTS];
  size_t unused_count;
  struct output *open[OPEN_OUTPUTS];  // oldest first
  size_t open_count;
  struct output *waiting[OUTPUTS];  // in the order of sending
  size_t waiting_count;
};

bool sender_init(struct sender *sender, struct udp_socket *v4, struct udp_socket *v6);
void sender_free(struct sender *sender);

// Sends every packet that has a slot. Returns which sockets have sends waiting until they become writable: bit 0 IPv4, bit 1 IPv6.
int32_t sender_seal(struct sender *sender, struct aead *aead, struct tun_batch *batch, int32_t packet_count);

// One datagram as it is. 0 or a negative errno; -ENOTCONN: no socket of that family.
int sender_send(struct sender *sender, const int32_t *remote, int32_t port, const int32_t *local, uint8_t ecn,
                const uint8_t *payload, size_t length);

// Tries what waits; returns which sockets still have sends waiting.
int32_t sender_flush(struct sender *sender);
