// One super-packet split into packets of the tunnel's MTU: TCP as segmentation offload does it, UDP into equal datagrams
// (operations 6.4). Headers that do not change are summed once.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MAX_HEADERS = 60 + 60, TCP = 6, UDP = 17 };

struct segmenter {
  uint8_t headers[MAX_HEADERS];
  uint32_t ip_header_length;
  uint32_t headers_length;
  bool is_ipv6;
  uint8_t protocol;
  uint16_t identification;
  uint32_t sequence;
  uint8_t tcp_flags;
  uint64_t ip_sum;         // IPv4 header without length, identification and checksum
  uint64_t transport_sum;  // pseudo-header and transport header without lengths, sequence, flags and checksum
};

// `headers` begins at the IP header and holds `headers_length` bytes. The lengths must have been checked.
void segmenter_start(struct segmenter *segmenter, const uint8_t *headers, uint32_t ip_header_length,
                     uint32_t headers_length, uint8_t protocol, bool is_ipv6);

// Writes the headers of segment `index` to `out`: `position` is the offset of its payload in the super-packet's.
void segmenter_headers(const struct segmenter *segmenter, uint8_t *out, uint32_t index, uint32_t position,
                       uint32_t payload_length, uint64_t payload_sum, bool is_last);

// Completes a transport checksum that the kernel left open; false if the offsets do not lie in the packet.
bool checksum_complete(uint8_t *packet, uint32_t length, uint32_t start, uint32_t offset);
