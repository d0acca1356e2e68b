// Opening and receiving. See udp.h; sending is in send.c.
#include "udp.h"

#include <errno.h>
#include <linux/in6.h>
#include <netinet/udp.h>
#include <string.h>
#include <unistd.h>

#include "layout.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef SOL_UDP
#define SOL_UDP 17
#endif
#ifndef IPV6_ADDR_PREFERENCES
#define IPV6_ADDR_PREFERENCES 72
#endif
#ifndef IPV6_PREFER_SRC_PUBLIC
#define IPV6_PREFER_SRC_PUBLIC 2
#endif

enum { SMALLEST_BUFFER = 65536, RECEIVE_TRIES = 3 };

static int set(int fd, int level, int name, int value) { return setsockopt(fd, level, name, &value, sizeof value); }

// The privileged form is not clamped by the host's maximum; a refused request is halved (operations 9).
static int set_buffer(int fd, int forced, int plain, int size) {
  for (; size >= SMALLEST_BUFFER; size /= 2)
    if (set(fd, SOL_SOCKET, forced, size) == 0 || set(fd, SOL_SOCKET, plain, size) == 0) break;
  int actual = 0;
  socklen_t length = sizeof actual;
  getsockopt(fd, SOL_SOCKET, plain, &actual, &length);
  return actual / 2;  // the kernel doubles what was asked for
}

// IP_RECVERR is not set: with it an ICMP error for one destination fails the next send to another.
static void set_options_v4(int fd) {
  set(fd, IPPROTO_IP, IP_PKTINFO, 1);
  set(fd, IPPROTO_IP, IP_RECVTOS, 1);
  set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
}

static void set_options_v6(int fd) {
  set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
  set(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
  set(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
  set(fd, IPPROTO_IPV6, IPV6_ADDR_PREFERENCES, IPV6_PREFER_SRC_PUBLIC);  // RFC 5014
}

static int bind_socket(struct udp_socket *udp, const struct udp_options *options) {
  union socket_address address = {0};
  socklen_t length;
  if (udp->family == 4) {
    address.v4.sin_family = AF_INET;
    address.v4.sin_port = htons(options->port);
    memcpy(&address.v4.sin_addr, options->address, 4);
    length = sizeof address.v4;
  } else {
    address.v6.sin6_family = AF_INET6;
    address.v6.sin6_port = htons(options->port);
    memcpy(&address.v6.sin6_addr, options->address, 16);
    length = sizeof address.v6;
  }
  if (bind(udp->fd, &address.any, length) < 0 || getsockname(udp->fd, &address.any, &length) < 0) return -errno;
  udp->port = ntohs(udp->family == 4 ? address.v4.sin_port : address.v6.sin6_port);
  return 0;
}

int udp_open(struct udp_socket *udp, const struct udp_options *options) {
  udp->family = options->family;
  udp->fd = socket(options->family == 4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (udp->fd < 0) return -errno;
  int error = 0;
  if (options->mark != 0 && set(udp->fd, SOL_SOCKET, SO_MARK, (int)options->mark) < 0) error = -errno;
  if (options->family == 4)
    set_options_v4(udp->fd);
  else
    set_options_v6(udp->fd);
  if (error == 0) error = bind_socket(udp, options);
  if (error != 0) {
    udp_close(udp);
    return error;
  }
  udp->send_buffer = set_buffer(udp->fd, SO_SNDBUFFORCE, SO_SNDBUF, options->send_buffer);
  udp->receive_buffer = set_buffer(udp->fd, SO_RCVBUFFORCE, SO_RCVBUF, options->receive_buffer);
  udp->can_coalesce = set(udp->fd, SOL_UDP, UDP_GRO, 1) == 0;
  int segment = 0;
  socklen_t length = sizeof segment;
  udp->can_segment = getsockopt(udp->fd, SOL_UDP, UDP_SEGMENT, &segment, &length) == 0;
  return 0;
}

void udp_close(struct udp_socket *udp) {
  if (udp->fd >= 0) close(udp->fd);
  udp->fd = -1;
}

static void words_from_v4(int32_t *words, const struct in_addr *address) {
  words[0] = words[1] = 0;
  words[2] = 0xffff;
  words[3] = (int32_t)ntohl(address->s_addr);
}

static void words_from_v6(int32_t *words, const struct in6_addr *address) {
  for (int i = 0; i < 4; i++) words[i] = (int32_t)read32(address->s6_addr + 4 * i);
}

// Destination address, ECN and segment size from the ancillary data.
static void read_control(struct msghdr *message, int32_t *row) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
    const uint8_t *data = CMSG_DATA(c);
    if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
      int segment;
      memcpy(&segment, data, sizeof segment);
      if (segment > 0 && segment < row[RUN_LENGTH]) row[RUN_SEGMENT_LENGTH] = segment;
    } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      struct in_pktinfo info;
      memcpy(&info, data, sizeof info);
      words_from_v4(row + RUN_LOCAL, &info.ipi_addr);
    } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
      row[RUN_ECN] = data[0] & 3;
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
      struct in6_pktinfo info;
      memcpy(&info, data, sizeof info);
      words_from_v6(row + RUN_LOCAL, &info.ipi6_addr);
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
      int traffic_class;
      memcpy(&traffic_class, data, sizeof traffic_class);
      row[RUN_ECN] = traffic_class & 3;
    }
  }
}

static void fill_run(const struct udp_socket *udp, int32_t *row, size_t offset, size_t length, struct msghdr *message) {
  memset(row, 0, RUN_STRIDE * sizeof *row);
  row[RUN_OFFSET] = (int32_t)offset;
  row[RUN_LENGTH] = row[RUN_SEGMENT_LENGTH] = (int32_t)length;
  row[RUN_LOCAL_PORT] = udp->port;
  row[RUN_SLOT] = -1;
  row[RUN_SOCKET] = udp->id;
  const union socket_address *from = message->msg_name;
  if (udp->family == 4) {
    words_from_v4(row + RUN_REMOTE, &from->v4.sin_addr);
    row[RUN_REMOTE_PORT] = ntohs(from->v4.sin_port);
  } else {
    words_from_v6(row + RUN_REMOTE, &from->v6.sin6_addr);
    row[RUN_REMOTE_PORT] = ntohs(from->v6.sin6_port);
  }
  read_control(message, row);
}

int32_t udp_receive(struct udp_socket *udp, struct receive_batch *batch) {
  struct mmsghdr messages[RECEIVE_SLOTS];
  struct iovec parts[RECEIVE_SLOTS];
  union socket_address from[RECEIVE_SLOTS];
  _Alignas(struct cmsghdr) uint8_t control[RECEIVE_SLOTS][128];
  size_t slots = batch->slab_length / RECEIVE_SLOT;
  if (slots > RECEIVE_SLOTS) slots = RECEIVE_SLOTS;
  if (slots > (size_t)batch->max_runs) slots = (size_t)batch->max_runs;
  for (size_t i = 0; i < slots; i++) {
    parts[i] = (struct iovec){batch->slab + i * RECEIVE_SLOT, RECEIVE_SLOT};
    messages[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
                                          .msg_namelen = sizeof from[i],
                                          .msg_iov = &parts[i],
                                          .msg_iovlen = 1,
                                          .msg_control = control[i],
                                          .msg_controllen = sizeof control[i]};
  }
  // A pending error of the socket is told once, instead of the datagrams behind it: they are asked for again.
  int received = -1;
  for (int tries = 0; received < 0 && tries < RECEIVE_TRIES; tries++) {
    received = recvmmsg(udp->fd, messages, (unsigned)slots, MSG_DONTWAIT, NULL);
    if (received >= 0) break;
    if (errno == EAGAIN) return -EAGAIN;
    if (errno != EINTR) count(UDP_RECEIVE_ERRORS, 1);
  }
  if (received < 0) return -errno;
  int32_t runs = 0;
  for (int i = 0; i < received; i++) {
    size_t length = messages[i].msg_len;
    if (length == 0) {
      count(UDP_RECEIVE_EMPTY, 1);
      continue;
    }
    int32_t *row = batch->runs + runs++ * RUN_STRIDE;
    fill_run(udp, row, (size_t)i * RECEIVE_SLOT, length, &messages[i].msg_hdr);
    count(UDP_RECEIVED, (row[RUN_LENGTH] + row[RUN_SEGMENT_LENGTH] - 1) / row[RUN_SEGMENT_LENGTH]);
    count(UDP_RECEIVED_BYTES, (double)length);
  }
  count(UDP_RECEIVED_RUNS, runs);
  return runs;
}
