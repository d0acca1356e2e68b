// What native code knows of a batch: pointers into memory that JavaScript allocated once, and their bounds.
// addon.c holds references to the arrays for as long as these structures live, so the pointers stay valid.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct receive_batch {
  uint8_t *slab;
  size_t slab_length;
  int32_t *runs;
  int32_t max_runs;
  int32_t *datagrams;
  int32_t max_datagrams;
  int32_t *supers;
  int32_t max_supers;
};

struct tun_batch {
  uint8_t *slab;
  size_t slab_length;
  int32_t *packets;
  int32_t max_packets;
};

// Process-wide counters in memory that JavaScript reads. Order: NATIVE_COUNTERS in src/io/native.ts.
enum counter {
  UDP_RECEIVED,
  UDP_RECEIVED_BYTES,
  UDP_RECEIVED_RUNS,
  UDP_RECEIVE_EMPTY,
  UDP_RECEIVE_ERRORS,
  UDP_SENT,
  UDP_SENT_BYTES,
  UDP_SENT_RUNS,
  UDP_SEND_WOULD_BLOCK,
  UDP_SEND_RETRIED,
  UDP_SEND_ERRORS,
  UDP_SEND_TOO_BIG,
  UDP_SEND_UNREACHABLE,
  UDP_SEND_NO_BUFFERS,
  UDP_SEND_QUEUE_FULL,
  UDP_SEGMENTATION_OFF,
  SEAL_SEALED,
  SEAL_NO_KEY,
  SEAL_NO_PATH,
  SEAL_NO_SOCKET,
  SEAL_MALFORMED,
  SEAL_OVERSIZED,
  OPEN_OPENED,
  OPEN_NOT_AUTHENTIC,
  OPEN_FOREIGN_SESSION,
  OPEN_SHORT,
  OPEN_NO_ROOM,
  GATHER_MALFORMED,
  GATHER_OVERSIZED,
  TUN_READ,
  TUN_READ_BYTES,
  TUN_READ_ERRORS,
  TUN_READ_MALFORMED,
  TUN_READ_OVERSIZED,
  TUN_WRITTEN,
  TUN_WRITTEN_BYTES,
  TUN_WRITE_WOULD_BLOCK,
  TUN_WRITE_ERRORS,
  TUN_COALESCING_OFF,
  FORWARD_DROPPED,
  COUNTER_COUNT,
};

// One set per thread that loads the add-on.
extern _Thread_local double *counters;

static inline void count(enum counter name, double amount) { counters[name] += amount; }

// Largest packet inside any tunnel: the most that the MTU of the interface can be set to. What one tunnel carries is the role's to know.
enum { MAX_INNER_PACKET = 9000 };

static inline uint16_t read16(const uint8_t *p) { return (uint16_t)((p[0] << 8) | p[1]); }
static inline uint32_t read32(const uint8_t *p) {
  return ((uint32_t)p[0] << 24) | ((uint32_t)p[1] << 16) | ((uint32_t)p[2] << 8) | p[3];
}
static inline void write16(uint8_t *p, uint32_t value) {
  p[0] = (uint8_t)(value >> 8);
  p[1] = (uint8_t)value;
}
static inline void write32(uint8_t *p, uint32_t value) {
  write16(p, value >> 16);
  write16(p + 2, value);
}
