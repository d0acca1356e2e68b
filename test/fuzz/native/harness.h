// What the native fuzz targets share: a cipher that leaves the text as it is but touches all it may touch, and a slow checksum of its own.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../native/aead.h"
#include "../../../native/batch.h"
#include "../../../native/layout.h"

enum { FAKE_FD = 1 << 20, SLOTS = 4 };

static double counter_memory[COUNTER_COUNT];
_Thread_local double *counters = counter_memory;

// Also where NDEBUG is set.
#define REQUIRE(condition)                                                     \
  do {                                                                         \
    if (!(condition)) {                                                        \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);  \
      abort();                                                                 \
    }                                                                          \
  } while (0)

// The hostile bytes, taken from the front.
struct input {
  const uint8_t *bytes;
  size_t left;
};

static uint8_t take(struct input *input) {
  if (input->left == 0) return 0;
  input->left--;
  return *input->bytes++;
}

static uint32_t take16(struct input *input) {
  uint32_t high = take(input);
  return high << 8 | take(input);
}

static volatile uint8_t touched;

static bool install(struct key_slot *slot, const uint8_t *send_key, const uint8_t *receive_key) {
  (void)slot, (void)send_key, (void)receive_key;
  return true;
}

static void uninstall(struct key_slot *slot) { (void)slot; }

static void seal(struct key_slot *slot, struct aead_job *jobs, size_t count) {
  REQUIRE(slot->used);
  for (size_t i = 0; i < count; i++) {
    touched = *(jobs[i].text - jobs[i].headroom);
    memset(jobs[i].text + jobs[i].length, 0xee, TAG_LENGTH);
  }
}

static void open_jobs(struct key_slot *slot, struct aead_job *jobs, size_t count) {
  REQUIRE(slot->used && count <= MAX_JOBS);
  for (size_t i = 0; i < count; i++) {
    touched = *(jobs[i].text - jobs[i].headroom);
    jobs[i].authentic = jobs[i].text[jobs[i].length + TAG_LENGTH - 1] != 0xff;
  }
}

static const struct aead_backend plain = {"plain", install, uninstall, seal, open_jobs};

static struct aead new_aead(double *send_counters, int32_t *paths) {
  struct aead aead;
  const uint8_t key[KEY_LENGTH] = {1};
  REQUIRE(aead_init(&aead, &plain, SLOTS, send_counters, paths));
  // The last slot stays empty.
  for (int32_t i = 0; i + 1 < SLOTS; i++) REQUIRE(aead_install(&aead, key, key, (uint32_t)i) == i);
  return aead;
}

// RFC 1071, one byte after the other.
static uint32_t slow_sum(const uint8_t *bytes, size_t length) {
  uint32_t sum = 0;
  for (size_t i = 0; i < length; i++) {
    sum += i % 2 == 0 ? (uint32_t)bytes[i] << 8 : bytes[i];
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return sum;
}

static size_t ip_header_of(const uint8_t *packet) { return packet[0] >> 4 == 6 ? 40 : (packet[0] & 15u) * 4; }

// 0xffff where the transport checksum of a TCP or UDP packet is right.
static uint32_t transport_sum(const uint8_t *packet, size_t length) {
  size_t header = ip_header_of(packet);
  bool is_v6 = packet[0] >> 4 == 6;
  uint8_t rest[4] = {0, is_v6 ? packet[6] : packet[9]};
  write16(rest + 2, (uint32_t)(length - header));
  uint32_t sum = slow_sum(is_v6 ? packet + 8 : packet + 12, is_v6 ? 32 : 8) + slow_sum(rest, 4);
  sum += slow_sum(packet + header, length - header);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

// Of a segment as it leaves: lengths and checksums.
static inline void require_right(const uint8_t *packet, size_t length) {
  size_t header = ip_header_of(packet);
  REQUIRE(length > header);
  if (packet[0] >> 4 == 6) {
    REQUIRE(read16(packet + 4) == length - 40);
  } else {
    REQUIRE(read16(packet + 2) == length);
    REQUIRE(slow_sum(packet, header) == 0xffff);
  }
  REQUIRE(transport_sum(packet, length) == 0xffff);
}
