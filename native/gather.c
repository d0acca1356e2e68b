// Chains opened datagrams of one flow into super-packets, by the rules of the kernel's receive offload (operations 6.5):
// consecutive TCP segments that differ in nothing a receiver could tell, UDP datagrams of equal size. Nothing is moved:
// DATAGRAM_NEXT links the chain. Its twin is src/proto/batch/coalesce.ts; both must fill the same rows for the same input.
//
// The kernel gives each segment of a super-packet a new checksum, so only a segment whose checksum is right may be part of one:
// a damaged one stands alone, as it came, for its receiver to refuse. What stands alone is not summed.
#include "gather.h"

#include <stdbool.h>
#include <string.h>

#include "checksum.h"
#include "layout.h"

enum {
  TCP = 6,
  UDP = 17,
  TCP_PSH = 0x08,
  TCP_ACK = 0x10,
  IPV4_DF = 0x40,
  OPEN_FLOWS = 16,
  MAX_SEGMENTS = 64,
  MAX_IP_LENGTH = 65535,
};

struct flow {
  int32_t super;  // row that may still grow, or -1
  int32_t last_datagram;
  uint32_t next_sequence;
  bool is_intact;  // its first segment's checksums were looked at and are right
};

struct gathering {
  struct receive_batch *batch;
  int32_t super_count;
  struct flow flows[OPEN_FLOWS];
  uint32_t cursor;
};

// TCP or UDP header length, or 0 where the header is not complete or contradicts the packet's length.
static int32_t transport_header(const uint8_t *transport, int32_t available, uint8_t protocol) {
  if (protocol == TCP && available >= 20) {
    int32_t header = (transport[12] >> 4) * 4;
    return header >= 20 && header <= available ? header : 0;
  }
  if (protocol == UDP && available >= 8) return read16(transport + 4) == available ? 8 : 0;
  return 0;
}

// IP part of a row; false if it is not an IP packet whose lengths hold. IPv6 extension headers are not followed.
static bool describe_ip(const uint8_t *packet, int32_t available, int32_t *row) {
  if (available < 20) return false;
  int32_t header, length;
  uint8_t protocol;
  bool is_fragment = false, is_ipv6 = false;
  if (packet[0] >> 4 == 4) {
    header = (packet[0] & 15) * 4;
    length = read16(packet + 2);
    protocol = packet[9];
    is_fragment = (read16(packet + 6) & 0x3fff) != 0;
    if (header < 20) return false;
  } else if (packet[0] >> 4 == 6 && available >= 40) {
    header = 40;
    length = 40 + read16(packet + 4);
    protocol = packet[6];
    is_ipv6 = true;
  } else {
    return false;
  }
  if (length > available || length < header) return false;
  row[SUPER_LENGTH] = length;
  row[SUPER_IP_HEADER_LENGTH] = header;
  row[SUPER_PROTOCOL] = protocol;
  row[SUPER_FLAGS] = is_ipv6 ? SUPER_FLAG_IPV6 : 0;
  row[SUPER_TRANSPORT_HEADER_LENGTH] =
      is_fragment ? 0 : transport_header(packet + header, length - header, protocol);
  return true;
}

static bool describe(struct receive_batch *batch, int32_t *row, int32_t datagram) {
  const int32_t *source = batch->datagrams + datagram * DATAGRAM_STRIDE;
  int32_t offset = source[DATAGRAM_OFFSET], length = source[DATAGRAM_LENGTH], run = source[DATAGRAM_RUN];
  if (offset < 0 || (size_t)offset + (size_t)length > batch->slab_length) return false;
  if (run < 0 || run >= batch->max_runs) return false;
  if (!describe_ip(batch->slab + offset, length, row)) return false;
  row[SUPER_OFFSET] = offset;
  row[SUPER_SEGMENT_LENGTH] = 0;
  row[SUPER_SEGMENTS] = 1;
  row[SUPER_SLOT] = source[DATAGRAM_SLOT];
  row[SUPER_ECN] = batch->runs[run * RUN_STRIDE + RUN_ECN];
  row[SUPER_VERDICT] = VERDICT_DROP;
  row[SUPER_FIRST_DATAGRAM] = datagram;
  return true;
}

// Whether a packet may be chained at all: no IPv4 options; TCP with ACK and perhaps PSH; UDP with a checksum.
static bool is_plain(const int32_t *row, const uint8_t *transport) {
  if (!(row[SUPER_FLAGS] & SUPER_FLAG_IPV6) && row[SUPER_IP_HEADER_LENGTH] != 20) return false;
  if (row[SUPER_PROTOCOL] == UDP) return read16(transport + 6) != 0;
  return (transport[13] & ~TCP_PSH) == TCP_ACK;
}

// Whether the checksums of a plain packet are right.
static bool is_intact(const uint8_t *slab, const int32_t *row) {
  const uint8_t *ip = slab + row[SUPER_OFFSET];
  uint32_t header = (uint32_t)row[SUPER_IP_HEADER_LENGTH], length = (uint32_t)row[SUPER_LENGTH] - header;
  bool is_ipv6 = row[SUPER_FLAGS] & SUPER_FLAG_IPV6;
  if (!is_ipv6 && checksum_fold(checksum_add(ip, header)) != 0xffff) return false;
  uint64_t sum = checksum_pseudo(ip, is_ipv6, (uint8_t)row[SUPER_PROTOCOL], length);
  return checksum_fold(sum + checksum_add(ip + header, length)) == 0xffff;
}

static bool has_same_ends(const uint8_t *slab, const int32_t *a, const int32_t *b) {
  int32_t ipv6 = b[SUPER_FLAGS] & SUPER_FLAG_IPV6;
  if (a[SUPER_SLOT] != b[SUPER_SLOT] || (a[SUPER_FLAGS] & SUPER_FLAG_IPV6) != ipv6) return false;
  const uint8_t *first = slab + a[SUPER_OFFSET], *second = slab + b[SUPER_OFFSET];
  return ipv6 ? memcmp(first + 8, second + 8, 32) == 0 : memcmp(first + 12, second + 12, 8) == 0;
}

static bool is_same_flow(const uint8_t *slab, const int32_t *a, const int32_t *b) {
  if (a[SUPER_PROTOCOL] != b[SUPER_PROTOCOL]) return false;
  const uint8_t *first = slab + a[SUPER_OFFSET], *second = slab + b[SUPER_OFFSET];
  if (memcmp(first + a[SUPER_IP_HEADER_LENGTH], second + b[SUPER_IP_HEADER_LENGTH], 4) != 0) return false;
  return has_same_ends(slab, a, b);
}

// What a receiver can see besides the flow, its data and, in TCP, PSH must be equal, the outer ECN too. IPv4's identification must
// count up, unless the packets cannot become fragments (RFC 6864).
static bool has_same_headers(const uint8_t *slab, const int32_t *head, const int32_t *row) {
  const uint8_t *a = slab + head[SUPER_OFFSET], *b = slab + row[SUPER_OFFSET];
  int32_t ip_header = row[SUPER_IP_HEADER_LENGTH], header = row[SUPER_TRANSPORT_HEADER_LENGTH];
  if (head[SUPER_ECN] != row[SUPER_ECN]) return false;
  if (head[SUPER_IP_HEADER_LENGTH] != ip_header || head[SUPER_TRANSPORT_HEADER_LENGTH] != header) return false;
  if (row[SUPER_FLAGS] & SUPER_FLAG_IPV6) {
    if (memcmp(a, b, 4) != 0 || a[7] != b[7]) return false;  // traffic class, flow label, hop limit
  } else {
    if (a[1] != b[1] || memcmp(a + 6, b + 6, 3) != 0) return false;  // type of service, DF, time to live
    if (!(a[6] & IPV4_DF) && (uint16_t)(read16(a + 4) + head[SUPER_SEGMENTS]) != read16(b + 4)) return false;
  }
  if (row[SUPER_PROTOCOL] == UDP) return true;
  const uint8_t *ta = a + ip_header, *tb = b + ip_header;
  if (memcmp(ta + 8, tb + 8, 4) != 0) return false;  // acknowledgement
  uint32_t ignored = (uint32_t)TCP_PSH << 16;
  if ((read32(ta + 12) ^ read32(tb + 12)) & ~ignored) return false;  // header length, flags, window
  return memcmp(ta + 18, tb + 18, (size_t)header - 18) == 0;        // urgent pointer, options
}

static bool append(struct gathering *g, struct flow *flow, int32_t datagram, const int32_t *row, int32_t payload) {
  struct receive_batch *batch = g->batch;
  int32_t *head = batch->supers + flow->super * SUPER_STRIDE;
  int32_t headers = head[SUPER_IP_HEADER_LENGTH] + head[SUPER_TRANSPORT_HEADER_LENGTH];
  int32_t length = head[SUPER_LENGTH], segments = head[SUPER_SEGMENTS];
  int32_t segment = segments == 1 ? length - headers : head[SUPER_SEGMENT_LENGTH];
  if (payload > segment || segments == MAX_SEGMENTS) return false;
  if (length + payload > MAX_IP_LENGTH || !has_same_headers(batch->slab, head, row)) return false;
  const uint8_t *transport = batch->slab + row[SUPER_OFFSET] + row[SUPER_IP_HEADER_LENGTH];
  bool is_tcp = head[SUPER_PROTOCOL] == TCP, ends = payload < segment;
  if (is_tcp && read32(transport + 4) != flow->next_sequence) return false;
  if (!flow->is_intact && !is_intact(batch->slab, head)) return false;
  flow->is_intact = true;
  if (!is_intact(batch->slab, row)) return false;

  if (is_tcp) {
    flow->next_sequence += (uint32_t)payload;
    uint8_t push = transport[13] & TCP_PSH;
    batch->slab[head[SUPER_OFFSET] + head[SUPER_IP_HEADER_LENGTH] + 13] |= push;
    ends = ends || push != 0;
  }
  head[SUPER_SEGMENT_LENGTH] = segment;
  head[SUPER_SEGMENTS] = segments + 1;
  head[SUPER_LENGTH] = length + payload;
  head[SUPER_FLAGS] |= SUPER_FLAG_CHECKSUM_ON_WRITE;
  batch->datagrams[flow->last_datagram * DATAGRAM_STRIDE + DATAGRAM_NEXT] = datagram;
  flow->last_datagram = datagram;
  if (ends) flow->super = -1;
  return true;
}

static struct flow *find(struct gathering *g, const int32_t *row) {
  for (int i = 0; i < OPEN_FLOWS; i++) {
    struct flow *flow = &g->flows[i];
    if (flow->super < 0) continue;
    if (is_same_flow(g->batch->slab, g->batch->supers + flow->super * SUPER_STRIDE, row)) return flow;
  }
  return NULL;
}

// A packet whose ports are not known (fragment, extension headers, other protocol) may be of any flow between its ends: all end.
static void end_flows_between(struct gathering *g, const int32_t *row) {
  for (int i = 0; i < OPEN_FLOWS; i++) {
    struct flow *flow = &g->flows[i];
    if (flow->super >= 0 && has_same_ends(g->batch->slab, g->batch->supers + flow->super * SUPER_STRIDE, row))
      flow->super = -1;
  }
}

static void add(struct gathering *g, int32_t datagram) {
  struct receive_batch *batch = g->batch;
  if (g->super_count >= batch->max_supers) return;
  int32_t *row = batch->supers + g->super_count * SUPER_STRIDE;
  if (!describe(batch, row, datagram)) {
    count(GATHER_MALFORMED, 1);
    return;
  }
  if (row[SUPER_LENGTH] > MAX_INNER_PACKET) {
    count(GATHER_OVERSIZED, 1);
    return;
  }
  if (row[SUPER_TRANSPORT_HEADER_LENGTH] == 0) {
    end_flows_between(g, row);
    g->super_count++;
    return;
  }
  const uint8_t *transport = batch->slab + row[SUPER_OFFSET] + row[SUPER_IP_HEADER_LENGTH];
  bool is_tcp = row[SUPER_PROTOCOL] == TCP;
  int32_t payload = row[SUPER_LENGTH] - row[SUPER_IP_HEADER_LENGTH] - row[SUPER_TRANSPORT_HEADER_LENGTH];
  bool may_chain = payload > 0 && is_plain(row, transport);
  struct flow *flow = find(g, row);
  if (flow && may_chain && append(g, flow, datagram, row, payload)) return;

  int32_t index = g->super_count++;
  bool ends = is_tcp && (transport[13] & TCP_PSH);
  if (!may_chain || ends) {
    if (flow) flow->super = -1;
    return;
  }
  if (!flow) flow = &g->flows[g->cursor++ % OPEN_FLOWS];
  flow->super = index;
  flow->last_datagram = datagram;
  flow->is_intact = false;
  flow->next_sequence = is_tcp ? read32(transport + 4) + (uint32_t)payload : 0;
}

int32_t gather(struct receive_batch *batch, int32_t datagram_count) {
  struct gathering g = {.batch = batch};
  for (int i = 0; i < OPEN_FLOWS; i++) g.flows[i].super = -1;
  for (int32_t i = 0; i < datagram_count; i++) {
    int32_t *datagram = batch->datagrams + i * DATAGRAM_STRIDE;
    datagram[DATAGRAM_NEXT] = -1;
    if (datagram[DATAGRAM_ACCEPTED] == 1 && datagram[DATAGRAM_LENGTH] > 0) add(&g, i);
  }
  return g.super_count;
}
