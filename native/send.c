// Sending datagrams, one by one or many with UDP_SEGMENT. See udp.h.
#include <errno.h>
#include <netinet/udp.h>
#include <string.h>

#include "layout.h"
#include "udp.h"

#ifndef SOL_UDP
#define SOL_UDP 17
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

enum {
  IP_AND_UDP_V4 = 60 + 8,
  IP_AND_UDP_V6 = 40 + 8,
  LARGEST_PACKET = 65535,
  CHANNEL_HEADER = 4,
  CONTROL_SPACE = 128,
  PARTS_PER_DATAGRAM = 2,
};

size_t udp_max_segments(int family, size_t segment) {
  size_t room = LARGEST_PACKET - (family == 4 ? IP_AND_UDP_V4 : IP_AND_UDP_V6);
  size_t most = segment > 0 ? room / segment : 1;
  if (most > MAX_SEGMENTS_PER_SEND) return MAX_SEGMENTS_PER_SEND;
  return most > 0 ? most : 1;
}

static bool is_v4(const int32_t *words) { return words[0] == 0 && words[1] == 0 && words[2] == 0xffff; }

bool route_from_words(struct route *route, int family, const int32_t *remote, int32_t port, const int32_t *local,
                      uint8_t ecn) {
  if (is_v4(remote) != (family == 4)) return false;
  memset(&route->remote, 0, sizeof route->remote);
  if (family == 4) {
    route->remote.v4.sin_family = AF_INET;
    route->remote.v4.sin_port = htons((uint16_t)port);
    route->remote.v4.sin_addr.s_addr = htonl((uint32_t)remote[3]);
  } else {
    route->remote.v6.sin6_family = AF_INET6;
    route->remote.v6.sin6_port = htons((uint16_t)port);
    for (int i = 0; i < 4; i++) write32(route->remote.v6.sin6_addr.s6_addr + 4 * i, (uint32_t)remote[i]);
  }
  memcpy(route->local, local, sizeof route->local);
  route->ecn = ecn & 3;
  return true;
}

static void *add_control(struct msghdr *message, int level, int type, size_t length) {
  struct cmsghdr *c = (struct cmsghdr *)((uint8_t *)message->msg_control + message->msg_controllen);
  memset(c, 0, CMSG_SPACE(length));
  c->cmsg_level = level;
  c->cmsg_type = type;
  c->cmsg_len = CMSG_LEN(length);
  message->msg_controllen += CMSG_SPACE(length);
  return CMSG_DATA(c);
}

static void add_source(struct msghdr *message, int family, const struct route *route) {
  const uint32_t *local = route->local;
  if ((local[0] | local[1] | local[2] | local[3]) == 0) return;
  if (family == 4) {
    if (local[3] == 0) return;
    struct in_pktinfo info = {.ipi_spec_dst.s_addr = htonl(local[3])};
    memcpy(add_control(message, IPPROTO_IP, IP_PKTINFO, sizeof info), &info, sizeof info);
  } else {
    struct in6_pktinfo info = {0};
    for (int i = 0; i < 4; i++) write32(info.ipi6_addr.s6_addr + 4 * i, local[i]);
    memcpy(add_control(message, IPPROTO_IPV6, IPV6_PKTINFO, sizeof info), &info, sizeof info);
  }
}

static void add_ecn(struct msghdr *message, int family, const struct route *route) {
  if (route->ecn == 0) return;
  int value = route->ecn;
  if (family == 4)
    memcpy(add_control(message, IPPROTO_IP, IP_TOS, sizeof value), &value, sizeof value);
  else
    memcpy(add_control(message, IPPROTO_IPV6, IPV6_TCLASS, sizeof value), &value, sizeof value);
}

static bool is_unreachable(int error) {
  return error == ENETUNREACH || error == EHOSTUNREACH || error == ECONNREFUSED || error == ENETDOWN;
}

// Until the kernel has looked at the datagram: a signal says nothing about it.
static ssize_t send_now(struct udp_socket *udp, const struct msghdr *message) {
  for (;;) {
    ssize_t sent = sendmsg(udp->fd, message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) return sent;
    if (errno != EINTR) return -errno;
    count(UDP_SEND_RETRIED, 1);
  }
}

// A pending error of the socket (from an earlier datagram) fails a send that has nothing to do with it, and a shortage of
// memory passes: try once more.
static ssize_t send_once_or_twice(struct udp_socket *udp, const struct msghdr *message) {
  ssize_t sent = send_now(udp, message);
  if (sent >= 0 || !(is_unreachable((int)-sent) || sent == -ENOBUFS || sent == -ENOMEM)) return sent;
  count(UDP_SEND_RETRIED, 1);
  return send_now(udp, message);
}

static void count_failure(ssize_t error, double datagrams) {
  if (error == -EMSGSIZE)
    count(UDP_SEND_TOO_BIG, datagrams);
  else if (is_unreachable((int)-error))
    count(UDP_SEND_UNREACHABLE, datagrams);
  else if (error == -ENOBUFS || error == -ENOMEM)
    count(UDP_SEND_NO_BUFFERS, datagrams);
  else
    count(UDP_SEND_ERRORS, datagrams);
}

static void prepare(struct msghdr *message, uint8_t *control, const struct udp_socket *udp, const struct route *route) {
  *message = (struct msghdr){
      .msg_name = (void *)&route->remote,
      .msg_namelen = udp->family == 4 ? sizeof route->remote.v4 : sizeof route->remote.v6,
      .msg_control = control,
      .msg_controllen = 0,
  };
  add_source(message, udp->family, route);
  add_ecn(message, udp->family, route);
}

// Takes `length` bytes off the front of a list of parts into `taken`; returns how many parts that took.
static size_t take_parts(struct iovec **parts, size_t *part_count, size_t length, struct iovec *taken, size_t room) {
  size_t count = 0;
  while (length > 0 && *part_count > 0 && count < room) {
    struct iovec *part = *parts;
    size_t piece = part->iov_len < length ? part->iov_len : length;
    taken[count++] = (struct iovec){part->iov_base, piece};
    part->iov_base = (uint8_t *)part->iov_base + piece;
    part->iov_len -= piece;
    length -= piece;
    if (part->iov_len == 0) {
      (*parts)++;
      (*part_count)--;
    }
  }
  return count;
}

// Returns the bytes that are done with; adds the datagrams of full size that the kernel took to `accepted`.
static ssize_t send_separately(struct udp_socket *udp, const struct route *route, struct iovec *parts,
                               size_t part_count, size_t length, size_t segment, size_t *accepted) {
  _Alignas(struct cmsghdr) uint8_t control[CONTROL_SPACE];
  size_t done = 0;
  while (done < length) {
    struct iovec datagram[PARTS_PER_DATAGRAM];
    struct msghdr message;
    size_t size = length - done < segment ? length - done : segment;
    prepare(&message, control, udp, route);
    message.msg_iov = datagram;
    message.msg_iovlen = take_parts(&parts, &part_count, size, datagram, PARTS_PER_DATAGRAM);
    ssize_t sent = send_once_or_twice(udp, &message);
    if (sent == -EAGAIN) return done > 0 ? (ssize_t)done : -EAGAIN;
    if (sent >= 0) {
      if (size == segment) (*accepted)++;
      count(UDP_SENT, 1);
      count(UDP_SENT_BYTES, (double)sent);
    } else {
      count_failure(sent, 1);
    }
    done += size;
  }
  return (ssize_t)done;
}

ssize_t udp_send(struct udp_socket *udp, const struct route *route, struct iovec *parts, size_t part_count,
                 size_t length, size_t segment) {
  size_t accepted = 0;
  if (length <= segment || !udp->can_segment)
    return send_separately(udp, route, parts, part_count, length, segment, &accepted);
  _Alignas(struct cmsghdr) uint8_t control[CONTROL_SPACE];
  struct msghdr message;
  prepare(&message, control, udp, route);
  message.msg_iov = parts;
  message.msg_iovlen = part_count;
  uint16_t size = (uint16_t)segment;
  memcpy(add_control(&message, SOL_UDP, UDP_SEGMENT, sizeof size), &size, sizeof size);
  ssize_t sent = send_once_or_twice(udp, &message);
  if (sent == -EAGAIN) return sent;
  if (sent == -EIO || sent == -EINVAL || sent == -EMSGSIZE) {
    // Perhaps there is no segmentation on this path (operations 9.1): again, datagram by datagram. Where those of full size
    // pass, segmentation is off for this socket; where they do not, something else is wrong: a source address that is gone,
    // or they are too big for the interface (the kernel says EINVAL then), and only a shorter last one passes.
    ssize_t done = send_separately(udp, route, parts, part_count, length, segment, &accepted);
    if (accepted > 0) {
      udp->can_segment = false;
      count(UDP_SEGMENTATION_OFF, 1);
    }
    return done;
  }
  double datagrams = (double)((length + segment - 1) / segment);
  if (sent < 0) count_failure(sent, datagrams);
  if (sent > 0) {
    count(UDP_SENT, datagrams);
    count(UDP_SENT_BYTES, (double)sent);
    count(UDP_SENT_RUNS, 1);
  }
  return (ssize_t)length;
}

int32_t udp_forward(struct udp_socket *udp, struct receive_batch *batch, int32_t run, int32_t first, int32_t datagrams,
                    int32_t header_length, const int32_t *path, uint8_t ecn) {
  if (run < 0 || run >= batch->max_runs || first < 0 || datagrams <= 0 || header_length < 0) return -EINVAL;
  const int32_t *row = batch->runs + run * RUN_STRIDE;
  size_t segment = (size_t)row[RUN_SEGMENT_LENGTH], length = (size_t)row[RUN_LENGTH];
  size_t offset = (size_t)first * segment, cut = (size_t)header_length;
  if (row[RUN_OFFSET] < 0 || row[RUN_SEGMENT_LENGTH] <= header_length || row[RUN_LENGTH] < 0) return -EINVAL;
  if ((size_t)row[RUN_OFFSET] + length > batch->slab_length) return -EINVAL;
  struct route route;
  if (!route_from_words(&route, udp->family, path + PATH_REMOTE, path[PATH_REMOTE_PORT], path + PATH_LOCAL, ecn))
    return -EAFNOSUPPORT;

  uint8_t headers[2][CHANNEL_HEADER];  // of the full datagrams, and of a shorter last one
  struct iovec parts[2 * MAX_SEGMENTS_PER_SEND];
  int32_t channel = path[PATH_CHANNEL];
  size_t added = channel ? CHANNEL_HEADER : 0;
  size_t most = udp_max_segments(udp->family, segment - cut + added);
  int32_t forwarded = 0;
  while (forwarded < datagrams && offset < length) {
    size_t part_count = 0, total = 0, taken = 0;
    for (; taken < most && forwarded + (int32_t)taken < datagrams && offset < length; taken++) {
      size_t raw = length - offset < segment ? length - offset : segment;
      uint8_t *payload = batch->slab + row[RUN_OFFSET] + offset + cut;
      offset += raw;
      if (raw <= cut) continue;
      if (channel) {
        uint8_t *header = headers[raw < segment];
        write16(header, (uint32_t)channel);
        write16(header + 2, (uint32_t)(raw - cut));
        parts[part_count++] = (struct iovec){header, CHANNEL_HEADER};
      }
      parts[part_count++] = (struct iovec){payload, raw - cut};
      total += added + raw - cut;
    }
    ssize_t done = total > 0 ? udp_send(udp, &route, parts, part_count, total, segment - cut + added) : 0;
    if (done < (ssize_t)total) {
      // The kernel's buffer is full. What is left of this run is lost: a relay holds no queue.
      count(FORWARD_DROPPED, (double)(datagrams - forwarded));
      count(UDP_SEND_WOULD_BLOCK, 1);
      return forwarded;
    }
    forwarded += (int32_t)taken;
  }
  return forwarded;
}
