// The Internet checksum (RFC 1071), in the byte order of memory: sums of 16-bit words may be added in any order and byte
// order, so nothing is swapped; a folded sum is stored as it is. Parts of one sum must begin at even offsets.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

uint64_t checksum_add(const uint8_t *bytes, size_t length);

// Copies and sums in one pass.
uint64_t checksum_copy(uint8_t *target, const uint8_t *source, size_t length);

static inline uint16_t checksum_fold(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)sum;
}

// A 16-bit number as it weighs in a sum over memory.
static inline uint64_t checksum_word(uint32_t value) { return __builtin_bswap16((uint16_t)value); }

static inline void checksum_store(uint8_t *target, uint16_t folded) { memcpy(target, &folded, 2); }

// Sum of the pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1) of a packet whose addresses stand at `ip`.
static inline uint64_t checksum_pseudo(const uint8_t *ip, int is_ipv6, uint8_t protocol, uint32_t length) {
  uint64_t addresses = is_ipv6 ? checksum_add(ip + 8, 32) : checksum_add(ip + 12, 8);
  return addresses + checksum_word(protocol) + checksum_word(length >> 16) + checksum_word(length);
}
