// From TUN to UDP: what a hostile kernel or host would hand to the TUN device is read, segmented and sealed. Every datagram that leaves lies in its output,
// counts up, and where it is a segment its lengths and checksums are right.
#include <errno.h>
#include <unistd.h>

#include "../../../native/sender.h"
#include "../../../native/tun.h"
#include "harness.h"

enum { MOST = 8, ROOM = 512 * 1024 };

static struct input input;
static bool is_blocked, are_all_segments;
// Order is kept among packets with ECN and among those without.
static uint64_t next_counter[2][SLOTS];

// What a read of the TUN device gives: a virtio header and a packet, or that nothing is there.
ssize_t __real_read(int fd, void *target, size_t room);
ssize_t __wrap_read(int fd, void *target, size_t room) {
  if (fd != FAKE_FD) return __real_read(fd, target, room);
  size_t length = take16(&input);
  if (input.left == 0) {
    errno = EAGAIN;
    return -1;
  }
  // Long packets without long inputs: what is not given is zero.
  if (length > room) length = room;
  size_t given = length < input.left ? length : input.left;
  memset(target, 0, length);
  memcpy(target, input.bytes, given);
  input.bytes += given;
  input.left -= given;
  return (ssize_t)length;
}

size_t udp_max_segments(int family, size_t segment) {
  size_t most = (65535 - (family == 4 ? 28 : 48)) / segment;
  return most < 1 ? 1 : most > MAX_SEGMENTS_PER_SEND ? MAX_SEGMENTS_PER_SEND : most;
}

bool route_from_words(struct route *route, int family, const int32_t *remote, int32_t port, const int32_t *local,
                      uint8_t ecn) {
  (void)family, (void)remote, (void)port, (void)local;
  route->ecn = ecn;
  return true;
}

static void check_datagram(const uint8_t *datagram, size_t length, bool has_ecn) {
  if (datagram[0] >> 6 == 1) {
    REQUIRE(length >= 4 && read16(datagram + 2) == length - 4);
    datagram += 4, length -= 4;
  }
  REQUIRE(length >= MESSAGE_HEADER + TAG_LENGTH && datagram[0] == 4 && datagram[4] < SLOTS);
  for (size_t i = 0; i < TAG_LENGTH; i++) REQUIRE(datagram[length - 1 - i] == 0xee);
  uint64_t counter = 0;
  for (int i = 7; i >= 0; i--) counter = counter << 8 | datagram[8 + i];
  REQUIRE(counter >= next_counter[has_ecn][datagram[4]]);
  next_counter[has_ecn][datagram[4]] = counter + 1;
  length -= MESSAGE_HEADER + TAG_LENGTH;
  REQUIRE(length >= 20 && length <= MAX_INNER_PACKET);
  if (are_all_segments) require_right(datagram + MESSAGE_HEADER, length);
}

ssize_t udp_send(struct udp_socket *socket, const struct route *route, struct iovec *parts, size_t part_count,
                 size_t length, size_t segment) {
  (void)socket;
  REQUIRE(part_count == 1 && parts->iov_len == length && segment > 0 && length <= OUTPUT_CAPACITY);
  if (is_blocked) return -EAGAIN;
  for (size_t done = 0; done < length; done += segment) {
    size_t size = length - done < segment ? length - done : segment;
    check_datagram((uint8_t *)parts->iov_base + done, size, route->ecn != 0);
  }
  return (ssize_t)length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static double send_counters[SLOTS];
  static int32_t paths[SLOTS * PATH_STRIDE], packets[MOST * TUN_STRIDE];
  static uint8_t *slab;
  if (!slab) slab = malloc(ROOM);
  input = (struct input){data, size};
  uint8_t mode = take(&input);
  struct aead aead = new_aead(send_counters, paths);
  memset(next_counter, 0, sizeof next_counter);
  for (int32_t slot = 0; slot < SLOTS; slot++) {
    int32_t *path = paths + slot * PATH_STRIDE;
    path[PATH_REMOTE + 2] = slot & 1 ? 0xffff : 0;
    path[PATH_CHANNEL] = slot & 2 ? 0x4001 : 0;
    path[PATH_USABLE] = 1;
  }
  struct udp_socket v4 = {.fd = FAKE_FD, .family = 4}, v6 = {.fd = FAKE_FD, .family = 6};
  static struct sender sender;
  if (!sender.memory) REQUIRE(sender_init(&sender, &v4, &v6));
  sender.sockets[0] = &v4, sender.sockets[1] = &v6;
  struct tun tun = {.fd = FAKE_FD, .largest_packet = mode & 1 ? MAX_INNER_PACKET : 1280};
  struct tun_batch batch = {slab, ROOM, packets, MOST};
  for (int32_t count = tun_read(&tun, &batch); count > 0; count = tun_read(&tun, &batch)) {
    are_all_segments = true;
    for (int32_t i = 0; i < count; i++) {
      int32_t *row = packets + i * TUN_STRIDE;
      uint8_t to = take(&input);
      row[TUN_SLOT] = to % (SLOTS + 1) - (to == 255);
      row[TUN_ECN] = to >> 6;
      if (row[TUN_GSO_TYPE] == GSO_TYPE_NONE) are_all_segments = false;
    }
    is_blocked = mode & 2;
    sender_seal(&sender, &aead, &batch, count);
    is_blocked = false;
    REQUIRE(sender_flush(&sender) == 0);
  }
  REQUIRE(sender.unused_count == OUTPUTS && sender.waiting_count == 0 && sender.open_count == 0);
  aead_free(&aead);
  return 0;
}
