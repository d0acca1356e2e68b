// See netlink.h. A socket per request: requests are rare, and dumps of two cannot meet on one socket.
#include "netlink.h"

#include <errno.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { READ_SIZE = 65536, LARGEST_ANSWER = 16 << 20 };

struct answer {
  uint8_t *bytes;
  size_t length;
};

static int keep(struct answer *answer, const struct nlmsghdr *message) {
  size_t size = NLMSG_ALIGN(message->nlmsg_len);
  if (answer->length + size > LARGEST_ANSWER) return -EOVERFLOW;
  uint8_t *bytes = realloc(answer->bytes, answer->length + size);
  if (!bytes) return -ENOMEM;
  memset(bytes + answer->length, 0, size);
  memcpy(bytes + answer->length, message, message->nlmsg_len);
  answer->bytes = bytes;
  answer->length += size;
  return 0;
}

// 1: the last request is answered; 0: more follows; negative: errno.
static int take(struct answer *answer, const uint8_t *buffer, size_t length, uint32_t last_sequence) {
  const struct nlmsghdr *message = (const void *)buffer;
  for (; NLMSG_OK(message, length); message = NLMSG_NEXT(message, length)) {
    if (message->nlmsg_type == NLMSG_DONE) return 1;
    if (message->nlmsg_type == NLMSG_ERROR) {
      const struct nlmsgerr *error = NLMSG_DATA(message);
      if (error->error != 0) return error->error;
      if (message->nlmsg_seq == last_sequence) return 1;
      continue;
    }
    int kept = keep(answer, message);
    if (kept < 0) return kept;
  }
  return 0;
}

static bool find_last_sequence(const uint8_t *request, size_t length, uint32_t *sequence) {
  bool found = false;
  const struct nlmsghdr *message = (const void *)request;
  for (; NLMSG_OK(message, length); message = NLMSG_NEXT(message, length)) {
    *sequence = message->nlmsg_seq;
    found = true;
  }
  return found;
}

static int exchange(int fd, const uint8_t *request, size_t length, struct answer *answer) {
  uint32_t last_sequence = 0;
  if (!find_last_sequence(request, length, &last_sequence)) return -EINVAL;
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  if (sendto(fd, request, length, 0, (void *)&kernel, sizeof kernel) < 0) return -errno;
  uint8_t *buffer = malloc(READ_SIZE);
  if (!buffer) return -ENOMEM;
  int state = 0;
  while (state == 0) {
    ssize_t size = recv(fd, buffer, READ_SIZE, 0);
    if (size < 0 && errno == EINTR) continue;
    state = size < 0 ? -errno : take(answer, buffer, (size_t)size, last_sequence);
  }
  free(buffer);
  return state < 0 ? state : 0;
}

ssize_t netlink_request(const uint8_t *request, size_t length, uint8_t **result) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return -errno;
  struct timeval patience = {.tv_sec = 2};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  struct answer answer = {0};
  int error = exchange(fd, request, length, &answer);
  close(fd);
  if (error < 0) {
    free(answer.bytes);
    return error;
  }
  *result = answer.bytes;
  return (ssize_t)answer.length;
}

int netlink_subscribe(uint32_t groups) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
  if (fd < 0) return -errno;
  struct sockaddr_nl own = {.nl_family = AF_NETLINK, .nl_groups = groups};
  if (bind(fd, (void *)&own, sizeof own) == 0) return fd;
  int error = errno;
  close(fd);
  return -error;
}

ssize_t netlink_hear(int fd, uint8_t *buffer, size_t room) {
  size_t length = 0;
  while (length < room) {
    struct sockaddr_nl sender = {0};
    socklen_t sender_length = sizeof sender;
    ssize_t size = recvfrom(fd, buffer + length, room - length, 0, (void *)&sender, &sender_length);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && (errno == EAGAIN || length > 0)) break;
    if (size < 0) return -errno;
    if (sender.nl_pid == 0) length += (size_t)size;  // of the kernel, not of another process
  }
  return (ssize_t)length;
}

void netlink_close(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}
