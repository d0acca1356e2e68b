// Sums of 16-bit words, eight bytes at a time: each 64-bit word is added as two 32-bit halves, so no carry is lost below 2^32
// words. The loops are plain so that the compiler vectorises them; on x86-64 they exist twice, one for AVX2, chosen at load, but with
// clang, which wants to know that where they are declared.
#include "checksum.h"

#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__clang__)
#define FOR_EACH_CPU __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_CPU
#endif

static uint64_t add_tail(const uint8_t *bytes, size_t length) {
  uint64_t sum = 0;
  for (; length >= 2; bytes += 2, length -= 2) {
    uint16_t word;
    memcpy(&word, bytes, 2);
    sum += word;
  }
  if (length > 0) {
    uint8_t last[2] = {bytes[0], 0};
    uint16_t word;
    memcpy(&word, last, 2);
    sum += word;
  }
  return sum;
}

FOR_EACH_CPU uint64_t checksum_add(const uint8_t *bytes, size_t length) {
  uint64_t low = 0, high = 0;
  size_t words = length / 8;
  for (size_t i = 0; i < words; i++) {
    uint64_t word;
    memcpy(&word, bytes + 8 * i, 8);
    low += word & 0xffffffff;
    high += word >> 32;
  }
  return low + high + add_tail(bytes + 8 * words, length & 7);
}

FOR_EACH_CPU uint64_t checksum_copy(uint8_t *restrict target, const uint8_t *restrict source, size_t length) {
  uint64_t low = 0, high = 0;
  size_t words = length / 8;
  for (size_t i = 0; i < words; i++) {
    uint64_t word;
    memcpy(&word, source + 8 * i, 8);
    memcpy(target + 8 * i, &word, 8);
    low += word & 0xffffffff;
    high += word >> 32;
  }
  memcpy(target + 8 * words, source + 8 * words, length & 7);
  return low + high + add_tail(source + 8 * words, length & 7);
}
