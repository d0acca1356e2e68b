// Opening, reading and writing the TUN device. See tun.h. The descriptor is non-blocking; nothing here waits.
#include "tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "checksum.h"
#include "layout.h"
#include "segment.h"

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

enum {
  LARGEST_PACKET = 65535,
  READ_ROOM = 65536 + 64,     // one packet with its header, aligned
  PACKED_BYTES = 64 * 1024,   // a batch ends when it holds as much
  MAX_SEGMENTS = 256,         // of one super-packet (operations 6.4)
  MAX_CHAIN = 64,             // datagrams of one gathered super-packet
};

int tun_open(struct tun *tun, const char *name, size_t largest_packet) {
  tun->largest_packet = largest_packet != 0 ? largest_packet : MAX_INNER_PACKET;
  tun->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tun->fd < 0) return -errno;
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  if (ioctl(tun->fd, TUNSETIFF, &request) < 0) {
    int error = -errno;
    tun_close(tun);
    return error;
  }
  memcpy(tun->name, request.ifr_name, TUN_NAME_LENGTH);
  int size = VIRTIO_HEADER;
  ioctl(tun->fd, TUNSETVNETHDRSZ, &size);
  const unsigned long tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
  tun->can_segment_udp = ioctl(tun->fd, TUNSETOFFLOAD, tcp | TUN_F_USO4 | TUN_F_USO6) == 0;
  tun->can_segment_tcp = tun->can_segment_udp || ioctl(tun->fd, TUNSETOFFLOAD, tcp) == 0;
  return 0;
}

int tun_pair(struct tun *first, struct tun *second, bool can_segment_tcp, bool can_segment_udp) {
  int descriptors[2] = {-1, -1};
  int result = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, descriptors) < 0 ? -errno : 0;
  struct tun tun = {
      .largest_packet = MAX_INNER_PACKET, .can_segment_tcp = can_segment_tcp, .can_segment_udp = can_segment_udp};
  *first = *second = tun;
  first->fd = descriptors[0];
  second->fd = descriptors[1];
  return result;
}

void tun_close(struct tun *tun) {
  if (tun->fd >= 0) close(tun->fd);
  tun->fd = -1;
}

// Row of a packet that is to be segmented.
static bool describe_gso(const struct virtio_net_hdr *virtio, const uint8_t *packet, size_t length, int32_t *row) {
  bool is_ipv6 = row[TUN_FLAGS] & TUN_FLAG_IPV6;
  size_t ip_header = is_ipv6 ? 40 : (packet[0] & 15u) * 4;
  uint8_t protocol = is_ipv6 ? packet[6] : packet[9];
  size_t header;
  switch (virtio->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
    case VIRTIO_NET_HDR_GSO_TCPV4:
    case VIRTIO_NET_HDR_GSO_TCPV6:
      if (protocol != TCP || length < ip_header + 20) return false;
      row[TUN_GSO_TYPE] = is_ipv6 ? GSO_TYPE_TCP6 : GSO_TYPE_TCP4;
      header = (packet[ip_header + 12] >> 4) * 4u;
      if (header < 20) return false;
      break;
    case VIRTIO_NET_HDR_GSO_UDP_L4:
      if (protocol != UDP) return false;
      row[TUN_GSO_TYPE] = GSO_TYPE_UDP;
      header = 8;
      break;
    default:
      return false;
  }
  header += ip_header;
  if (virtio->gso_size == 0 || length <= header) return false;
  if ((length - header + virtio->gso_size - 1) / virtio->gso_size > MAX_SEGMENTS) return false;
  row[TUN_GSO_SEGMENT] = virtio->gso_size;
  row[TUN_HEADER_LENGTH] = (int32_t)header;
  row[TUN_FLAGS] |= TUN_FLAG_CHECKSUM_NEEDED;
  row[TUN_CHECKSUM_START] = (int32_t)ip_header;
  row[TUN_CHECKSUM_OFFSET] = protocol == TCP ? 16 : 6;
  return true;
}

bool tun_describe(const uint8_t *header, const uint8_t *packet, size_t length, int32_t *row) {
  struct virtio_net_hdr virtio;
  memcpy(&virtio, header, sizeof virtio);
  memset(row, 0, TUN_STRIDE * sizeof *row);
  row[TUN_SLOT] = -1;
  if (length < 20) return false;
  bool is_ipv6 = packet[0] >> 4 == 6;
  if (is_ipv6 ? length < 40 : packet[0] >> 4 != 4 || (packet[0] & 15) < 5 || length < (packet[0] & 15u) * 4)
    return false;
  row[TUN_LENGTH] = (int32_t)length;
  row[TUN_FLAGS] = is_ipv6 ? TUN_FLAG_IPV6 : 0;
  if (virtio.gso_type != VIRTIO_NET_HDR_GSO_NONE) return describe_gso(&virtio, packet, length, row);
  if (virtio.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
    if ((size_t)virtio.csum_start + virtio.csum_offset + 2 > length) return false;
    row[TUN_FLAGS] |= TUN_FLAG_CHECKSUM_NEEDED;
    row[TUN_CHECKSUM_START] = virtio.csum_start;
    row[TUN_CHECKSUM_OFFSET] = virtio.csum_offset;
  }
  return true;
}

int32_t tun_read(struct tun *tun, struct tun_batch *batch) {
  size_t used = 0;
  int32_t packets = 0;
  for (int32_t tried = 0; tried < batch->max_packets; tried++) {
    if (used >= PACKED_BYTES || used + READ_ROOM > batch->slab_length) break;
    // The header goes in front of a 16-byte boundary, so that the packet is aligned.
    uint8_t *packet = batch->slab + used + 16;
    uint8_t *header = packet - VIRTIO_HEADER;
    ssize_t size = read(tun->fd, header, VIRTIO_HEADER + LARGEST_PACKET);
    if (size <= 0) {
      if (packets > 0) break;
      int error = size == 0 ? EIO : errno;
      if (error != EAGAIN && error != EINTR) count(TUN_READ_ERRORS, 1);
      return -error;
    }
    int32_t *row = batch->packets + packets * TUN_STRIDE;
    size_t length = size > VIRTIO_HEADER ? (size_t)size - VIRTIO_HEADER : 0;
    if (!tun_describe(header, packet, length, row)) {
      count(TUN_READ_MALFORMED, 1);
      continue;
    }
    if (row[TUN_GSO_TYPE] == GSO_TYPE_NONE && length > tun->largest_packet) {
      count(TUN_READ_OVERSIZED, 1);
      continue;
    }
    row[TUN_OFFSET] = (int32_t)(used + 16);
    used = (used + 16 + length + 15) & ~(size_t)15;
    packets++;
    count(TUN_READ_BYTES, (double)length);
  }
  count(TUN_READ, packets);
  return packets;
}

// A gathered super-packet: its headers, its segment size, and its payloads by reference.
struct chain {
  const int32_t *row;
  uint8_t *packet;
  uint32_t headers;
  uint32_t segment;
  struct iovec payloads[MAX_CHAIN];
  size_t count;
};

static bool are_headers_sane(const struct receive_batch *batch, const int32_t *row) {
  int32_t offset = row[SUPER_OFFSET], length = row[SUPER_LENGTH], segment = row[SUPER_SEGMENT_LENGTH];
  int32_t ip_header = row[SUPER_IP_HEADER_LENGTH], transport_header = row[SUPER_TRANSPORT_HEADER_LENGTH];
  int32_t smallest = row[SUPER_PROTOCOL] == TCP ? 20 : 8;
  if (row[SUPER_PROTOCOL] != TCP && row[SUPER_PROTOCOL] != UDP) return false;
  if (ip_header < 20 || ip_header > 60 || transport_header < smallest || transport_header > 60) return false;
  if ((row[SUPER_FLAGS] & SUPER_FLAG_IPV6) && ip_header != 40) return false;
  return offset >= 0 && segment > 0 && length > ip_header + transport_header && length <= LARGEST_PACKET &&
         (size_t)offset + (size_t)ip_header + (size_t)transport_header <= batch->slab_length;
}

// Collects the payloads; false if the rows contradict each other.
static bool collect(const struct receive_batch *batch, const int32_t *row, struct chain *chain) {
  if (!are_headers_sane(batch, row)) return false;
  int32_t offset = row[SUPER_OFFSET], length = row[SUPER_LENGTH], segment = row[SUPER_SEGMENT_LENGTH];
  int32_t headers = row[SUPER_IP_HEADER_LENGTH] + row[SUPER_TRANSPORT_HEADER_LENGTH];
  chain->row = row;
  chain->packet = batch->slab + offset;
  chain->headers = (uint32_t)headers;
  chain->segment = (uint32_t)segment;
  chain->count = 0;
  int32_t left = length - headers, datagram = row[SUPER_FIRST_DATAGRAM];
  while (left > 0) {
    if (datagram < 0 || datagram >= batch->max_datagrams || chain->count == MAX_CHAIN) return false;
    const int32_t *source = batch->datagrams + datagram * DATAGRAM_STRIDE;
    int32_t payload = left < segment ? left : segment;
    // The first segment's place follows the super-packet's offset, should the role have moved the header.
    int32_t start = chain->count == 0 ? offset : source[DATAGRAM_OFFSET];
    if (start < 0 || (size_t)start + (size_t)headers + (size_t)payload > batch->slab_length) return false;
    chain->payloads[chain->count++] = (struct iovec){batch->slab + start + headers, (size_t)payload};
    left -= payload;
    datagram = source[DATAGRAM_NEXT];
  }
  return true;
}

static int write_parts(struct tun *tun, struct iovec *parts, int part_count) {
  ssize_t written = writev(tun->fd, parts, part_count);
  if (written >= 0) {
    count(TUN_WRITTEN_BYTES, (double)(written - VIRTIO_HEADER));
    return 0;
  }
  return -errno;
}

static void count_write(int error, double packets) {
  if (error == 0)
    count(TUN_WRITTEN, packets);
  else
    count(error == -EAGAIN ? TUN_WRITE_WOULD_BLOCK : TUN_WRITE_ERRORS, packets);
}

// One write; the kernel segments and completes the checksum, for which the field holds the pseudo-header's sum.
static int write_whole(struct tun *tun, struct chain *chain) {
  const int32_t *row = chain->row;
  uint8_t *ip = chain->packet;
  bool is_ipv6 = row[SUPER_FLAGS] & SUPER_FLAG_IPV6;
  uint32_t length = (uint32_t)row[SUPER_LENGTH], ip_header = (uint32_t)row[SUPER_IP_HEADER_LENGTH];
  uint32_t transport_length = length - ip_header;
  uint8_t protocol = (uint8_t)row[SUPER_PROTOCOL];
  uint8_t *transport = ip + ip_header;
  if (is_ipv6) {
    write16(ip + 4, transport_length);
  } else {
    write16(ip + 2, length);
    write16(ip + 10, 0);
    checksum_store(ip + 10, (uint16_t)~checksum_fold(checksum_add(ip, ip_header)));
  }
  if (protocol == UDP) write16(transport + 4, transport_length);
  uint32_t field = protocol == TCP ? 16 : 6;
  checksum_store(transport + field, checksum_fold(checksum_pseudo(ip, is_ipv6, protocol, transport_length)));
  struct virtio_net_hdr virtio = {
      .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
      .gso_type = protocol == UDP ? VIRTIO_NET_HDR_GSO_UDP_L4
                  : is_ipv6       ? VIRTIO_NET_HDR_GSO_TCPV6
                                  : VIRTIO_NET_HDR_GSO_TCPV4,
      .hdr_len = (uint16_t)chain->headers,
      .gso_size = (uint16_t)chain->segment,
      .csum_start = (uint16_t)ip_header,
      .csum_offset = (uint16_t)field,
  };
  struct iovec parts[2 + MAX_CHAIN] = {{&virtio, sizeof virtio}, {ip, chain->headers}};
  memcpy(parts + 2, chain->payloads, chain->count * sizeof *parts);
  return write_parts(tun, parts, (int)chain->count + 2);
}

// Where the kernel does not segment: one write per segment, complete.
static void write_segments(struct tun *tun, struct chain *chain) {
  const int32_t *row = chain->row;
  struct segmenter segmenter;
  segmenter_start(&segmenter, chain->packet, (uint32_t)row[SUPER_IP_HEADER_LENGTH], chain->headers,
                  (uint8_t)row[SUPER_PROTOCOL], row[SUPER_FLAGS] & SUPER_FLAG_IPV6);
  struct virtio_net_hdr virtio = {0};
  uint32_t position = 0;
  for (size_t i = 0; i < chain->count; i++) {
    const struct iovec *payload = &chain->payloads[i];
    uint32_t length = (uint32_t)payload->iov_len;
    uint8_t headers[MAX_HEADERS];
    segmenter_headers(&segmenter, headers, (uint32_t)i, position, length, checksum_add(payload->iov_base, length),
                      i + 1 == chain->count);
    struct iovec parts[3] = {{&virtio, sizeof virtio}, {headers, chain->headers}, *payload};
    count_write(write_parts(tun, parts, 3), 1);
    position += length;
  }
}

static void write_super(struct tun *tun, struct receive_batch *batch, const int32_t *row) {
  if (row[SUPER_SEGMENTS] <= 1) {
    int32_t offset = row[SUPER_OFFSET], length = row[SUPER_LENGTH];
    if (offset < 0 || length < 20 || (size_t)offset + (size_t)length > batch->slab_length) return;
    tun_write_packet(tun, batch->slab + offset, (size_t)length);
    return;
  }
  struct chain chain;
  if (!collect(batch, row, &chain)) {
    count(TUN_WRITE_ERRORS, row[SUPER_SEGMENTS]);
    return;
  }
  bool *can_segment = row[SUPER_PROTOCOL] == UDP ? &tun->can_segment_udp : &tun->can_segment_tcp;
  if (*can_segment) {
    int error = write_whole(tun, &chain);
    if (error != -EINVAL) {
      count_write(error, row[SUPER_SEGMENTS]);
      return;
    }
    *can_segment = false;
    count(TUN_COALESCING_OFF, 1);
  }
  write_segments(tun, &chain);
}

void tun_write(struct tun *tun, struct receive_batch *batch, int32_t super_count) {
  for (int32_t i = 0; i < super_count; i++) {
    const int32_t *row = batch->supers + i * SUPER_STRIDE;
    if (row[SUPER_VERDICT] == VERDICT_FORWARD) write_super(tun, batch, row);
  }
}

int tun_write_packet(struct tun *tun, const uint8_t *packet, size_t length) {
  struct virtio_net_hdr virtio = {0};
  struct iovec parts[2] = {{&virtio, sizeof virtio}, {(void *)packet, length}};
  int error = write_parts(tun, parts, 2);
  count_write(error, 1);
  return error;
}
