// See segment.h. RFC 9293 §3.1 and RFC 768 checksums; FIN and PSH stay on the last segment, CWR on the first (RFC 3168 §6.1.2).
#include "segment.h"

#include <string.h>

#include "batch.h"
#include "checksum.h"

enum { TCP_FIN = 0x01, TCP_PSH = 0x08, TCP_CWR = 0x80 };

void segmenter_start(struct segmenter *segmenter, const uint8_t *headers, uint32_t ip_header_length,
                     uint32_t headers_length, uint8_t protocol, bool is_ipv6) {
  memcpy(segmenter->headers, headers, headers_length);
  uint8_t *ip = segmenter->headers;
  uint8_t *transport = ip + ip_header_length;
  segmenter->ip_header_length = ip_header_length;
  segmenter->headers_length = headers_length;
  segmenter->is_ipv6 = is_ipv6;
  segmenter->protocol = protocol;
  segmenter->identification = 0;
  segmenter->ip_sum = 0;
  if (!is_ipv6) {
    segmenter->identification = read16(ip + 4);
    memset(ip + 2, 0, 4);
    memset(ip + 10, 0, 2);
    segmenter->ip_sum = checksum_add(ip, ip_header_length);
  }
  if (protocol == TCP) {
    segmenter->sequence = read32(transport + 4);
    segmenter->tcp_flags = transport[13];
    memset(transport + 4, 0, 4);
    transport[13] = 0;
    memset(transport + 16, 0, 2);
  } else {
    memset(transport + 4, 0, 4);
  }
  segmenter->transport_sum =
      checksum_pseudo(ip, is_ipv6, protocol, 0) + checksum_add(transport, headers_length - ip_header_length);
}

void segmenter_headers(const struct segmenter *segmenter, uint8_t *out, uint32_t index, uint32_t position,
                       uint32_t payload_length, uint64_t payload_sum, bool is_last) {
  uint32_t ip_header_length = segmenter->ip_header_length;
  uint32_t length = segmenter->headers_length + payload_length;
  uint32_t transport_length = length - ip_header_length;
  uint8_t *transport = out + ip_header_length;
  memcpy(out, segmenter->headers, segmenter->headers_length);
  if (segmenter->is_ipv6) {
    write16(out + 4, length - ip_header_length);
  } else {
    uint16_t identification = (uint16_t)(segmenter->identification + index);
    write16(out + 2, length);
    write16(out + 4, identification);
    uint64_t sum = segmenter->ip_sum + checksum_word(length) + checksum_word(identification);
    checksum_store(out + 10, (uint16_t)~checksum_fold(sum));
  }
  uint64_t sum = segmenter->transport_sum + payload_sum + checksum_word(transport_length);
  if (segmenter->protocol == TCP) {
    uint32_t sequence = segmenter->sequence + position;
    uint8_t flags = segmenter->tcp_flags;
    if (!is_last) flags &= (uint8_t)~(TCP_FIN | TCP_PSH);
    if (index > 0) flags &= (uint8_t)~TCP_CWR;
    write32(transport + 4, sequence);
    transport[13] = flags;
    sum += checksum_word(sequence >> 16) + checksum_word(sequence) + checksum_word(flags);
    checksum_store(transport + 16, (uint16_t)~checksum_fold(sum));
  } else {
    write16(transport + 4, transport_length);
    sum += checksum_word(transport_length);
    uint16_t folded = (uint16_t)~checksum_fold(sum);
    checksum_store(transport + 6, folded == 0 ? 0xffff : folded);
  }
}

bool checksum_complete(uint8_t *packet, uint32_t length, uint32_t start, uint32_t offset) {
  if (start >= length || offset > length || start + offset + 2 > length) return false;
  bool is_ipv6 = packet[0] >> 4 == 6;
  uint32_t ip_header_length = is_ipv6 ? 40 : (packet[0] & 15u) * 4;
  uint8_t protocol = is_ipv6 ? packet[6] : packet[9];
  uint8_t *field = packet + start + offset;
  uint64_t sum;
  if (start == ip_header_length && length >= ip_header_length) {
    memset(field, 0, 2);
    sum = checksum_pseudo(packet, is_ipv6, protocol, length - start);
  } else {
    // Behind extension headers: the kernel left the pseudo-header's sum in the field.
    uint16_t partial;
    memcpy(&partial, field, 2);
    memset(field, 0, 2);
    sum = partial;
  }
  sum += checksum_add(packet + start, length - start);
  uint16_t folded = (uint16_t)~checksum_fold(sum);
  checksum_store(field, protocol == UDP && folded == 0 ? 0xffff : folded);
  return true;
}
