// From UDP to TUN: hostile datagrams of one receive are opened, gathered and written, as udp.c would have received them. Every byte that is read lies in
// the slab, every super-packet is a chain of its own datagrams, and what is written is whole.
#include <errno.h>
#include <sys/uio.h>

#include "../../../native/gather.h"
#include "../../../native/tun.h"
#include "harness.h"

enum { MOST = 48, ROOM = 96 * 1024, WRITE_ROOM = 70000 };

// How a datagram is made of the input; the first two bits are its slot.
enum { WRAPPED = 4, IN_CHANNEL = 8, CORRECTED = 16, CONTINUED = 32, JOINED = 64 };

static uint8_t written[WRITE_ROOM];
static size_t written_segments, written_payload;
static bool is_refusing;

ssize_t __real_writev(int fd, const struct iovec *parts, int count);
ssize_t __wrap_writev(int fd, const struct iovec *parts, int count) {
  if (fd != FAKE_FD) return __real_writev(fd, parts, count);
  size_t length = 0;
  for (int i = 0; i < count; i++) {
    REQUIRE(length + parts[i].iov_len <= sizeof written);
    memcpy(written + length, parts[i].iov_base, parts[i].iov_len);
    length += parts[i].iov_len;
  }
  REQUIRE(length > VIRTIO_HEADER);
  const uint8_t *packet = written + VIRTIO_HEADER;
  length -= VIRTIO_HEADER;
  uint16_t headers, segment;
  memcpy(&headers, written + 2, 2);
  memcpy(&segment, written + 4, 2);
  if (written[1] == 0) {
    written_segments++;
    written_payload += length;
    return (ssize_t)(length + VIRTIO_HEADER);
  }
  if (is_refusing) {
    errno = EINVAL;
    return -1;
  }
  // As the kernel takes it: the pseudo-header's sum stands in the field.
  REQUIRE(segment > 0 && headers < length && (length - headers + segment - 1) / segment > 1);
  REQUIRE(packet[0] >> 4 == 6 ? read16(packet + 4) == length - 40 : read16(packet + 2) == length);
  if (packet[0] >> 4 == 4) REQUIRE(slow_sum(packet, ip_header_of(packet)) == 0xffff);
  written_segments += (length - headers + segment - 1) / segment;
  written_payload += length;
  return (ssize_t)(length + VIRTIO_HEADER);
}

struct making {
  struct receive_batch batch;
  size_t used;
  int32_t run_count;
  const uint8_t *last;  // the inner packet before
  size_t last_length;
};

// Lengths and checksums as a friendly sender has them, so that packets can be gathered at all.
static void correct(uint8_t *packet, size_t length) {
  if (length < 40) return;
  bool is_v6 = packet[0] & 1;
  packet[0] = is_v6 ? 0x60 : 0x45;
  size_t header = is_v6 ? 40 : 20;
  uint8_t *protocol = packet + (is_v6 ? 6 : 9);
  *protocol = *protocol & 1 ? 17 : 6;
  size_t least = *protocol == 17 ? 8 : 20;
  if (length < header + least) return;
  uint8_t *transport = packet + header;
  if (is_v6) {
    write16(packet + 4, (uint32_t)(length - 40));
  } else {
    write16(packet + 2, (uint32_t)length);
    packet[6] = 0x40, packet[7] = 0;
    write16(packet + 10, 0);
    write16(packet + 10, ~slow_sum(packet, 20));
  }
  if (*protocol == 17) write16(transport + 4, (uint32_t)(length - header));
  else transport[12] = 0x50, transport[13] = (transport[13] & 8) | 16;
  uint8_t *field = transport + (*protocol == 17 ? 6 : 16);
  write16(field, 0);
  uint32_t sum = ~transport_sum(packet, length) & 0xffff;
  write16(field, *protocol == 17 && sum == 0 ? 0xffff : sum);
}

// The packet behind the one before: its sequence goes on.
static void continue_last(const struct making *making, uint8_t *packet, size_t length) {
  if (making->last_length < 60 || length < 60) return;
  memcpy(packet, making->last, 60);
  size_t header = packet[0] >> 4 == 6 ? 40 : 20;
  if (packet[header == 40 ? 6 : 9] == 6)
    write32(packet + header + 4, read32(packet + header + 4) + (uint32_t)(making->last_length - header - 20));
}

static bool add_datagram(struct making *making, struct input *input) {
  uint8_t how = take(input);
  uint32_t length = take16(input) % 2048, given = length < input->left ? length : (uint32_t)input->left;
  uint32_t channel = how & IN_CHANNEL ? 4 : 0, extra = how & WRAPPED ? channel + MESSAGE_HEADER + TAG_LENGTH : 0;
  uint32_t whole = length + extra;
  if (whole == 0 || making->used + whole > ROOM || making->run_count == MOST) return false;
  uint8_t *raw = making->batch.slab + making->used, *inner = raw;
  memset(raw, 0, whole);
  if (how & WRAPPED) {
    write16(raw, 0x4000 | (how & 3u));
    if (channel) write16(raw + 2, whole - 4);
    memcpy(raw + channel, (uint8_t[]){4, 0, 0, 0, how & 3, 0, 0, 0, (uint8_t)making->used}, 9);
    inner = raw + channel + MESSAGE_HEADER;
  }
  memcpy(inner, input->bytes, given);
  input->bytes += given;
  input->left -= given;
  if (how & CONTINUED) continue_last(making, inner, length);
  if (how & CORRECTED) correct(inner, length);
  making->last = inner;
  making->last_length = length;
  int32_t *run = making->batch.runs + making->run_count * RUN_STRIDE, *before = run - RUN_STRIDE;
  bool joins = how & JOINED && making->run_count > 0 && before[RUN_SEGMENT_LENGTH] >= (int32_t)whole &&
               before[RUN_LENGTH] % before[RUN_SEGMENT_LENGTH] == 0;
  if (joins) {
    before[RUN_LENGTH] += (int32_t)whole;
  } else {
    memset(run, 0, RUN_STRIDE * sizeof *run);
    run[RUN_OFFSET] = (int32_t)making->used;
    run[RUN_LENGTH] = run[RUN_SEGMENT_LENGTH] = (int32_t)whole;
    run[RUN_SLOT] = how & 3;
    run[RUN_HEADER_LENGTH] = (int32_t)channel;
    making->run_count++;
  }
  making->used += whole;
  return true;
}

// Each super-packet is a chain of accepted datagrams, none is in two, and the rows lie in the slab.
static void check_supers(const struct receive_batch *batch, int32_t datagram_count, int32_t super_count) {
  bool is_used[MOST * 2048 / 32] = {false};
  REQUIRE(super_count <= batch->max_supers);
  for (int32_t i = 0; i < super_count; i++) {
    const int32_t *row = batch->supers + i * SUPER_STRIDE;
    int32_t headers = row[SUPER_IP_HEADER_LENGTH] + row[SUPER_TRANSPORT_HEADER_LENGTH], length = 0;
    int32_t datagram = row[SUPER_FIRST_DATAGRAM];
    for (int32_t n = 0; n < row[SUPER_SEGMENTS]; n++) {
      REQUIRE(datagram >= 0 && datagram < datagram_count && !is_used[datagram]);
      is_used[datagram] = true;
      const int32_t *source = batch->datagrams + datagram * DATAGRAM_STRIDE;
      REQUIRE(source[DATAGRAM_SLOT] == row[SUPER_SLOT] && source[DATAGRAM_ACCEPTED] == 1);
      int32_t payload = row[SUPER_SEGMENTS] == 1 ? row[SUPER_LENGTH] - headers
                        : n + 1 < row[SUPER_SEGMENTS] ? row[SUPER_SEGMENT_LENGTH]
                                                      : row[SUPER_LENGTH] - headers - length;
      REQUIRE(payload >= 0 && headers + payload <= source[DATAGRAM_LENGTH]);
      length += payload;
      datagram = source[DATAGRAM_NEXT];
    }
    REQUIRE(length == row[SUPER_LENGTH] - headers && row[SUPER_LENGTH] <= 65535);
    REQUIRE(row[SUPER_SEGMENTS] == 1 || datagram == -1);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static double send_counters[SLOTS];
  static int32_t paths[SLOTS * PATH_STRIDE];
  static int32_t runs[MOST * RUN_STRIDE], datagrams[256 * DATAGRAM_STRIDE], supers[256 * SUPER_STRIDE];
  static uint8_t drawing[ROOM];
  struct input input = {data, size};
  uint8_t mode = take(&input);
  struct making making = {.batch = {drawing, ROOM, runs, MOST, datagrams, 256, supers, 256}};
  while (input.left > 0 && add_datagram(&making, &input)) continue;
  // As long as what is in it, so that no byte behind it goes unnoticed.
  uint8_t *slab = malloc(making.used + 1);
  memcpy(slab, drawing, making.used);
  making.batch.slab = slab;
  making.batch.slab_length = making.used;
  struct aead aead = new_aead(send_counters, paths);
  int32_t datagram_count = aead_open_runs(&aead, &making.batch, making.run_count);
  for (int32_t i = 0; i < datagram_count; i++) {
    int32_t *row = datagrams + i * DATAGRAM_STRIDE;
    if (row[DATAGRAM_LENGTH] < 0) continue;
    REQUIRE(row[DATAGRAM_OFFSET] >= 0 && (size_t)(row[DATAGRAM_OFFSET] + row[DATAGRAM_LENGTH]) <= making.used);
    row[DATAGRAM_ACCEPTED] = 1;
  }
  int32_t super_count = gather(&making.batch, datagram_count);
  check_supers(&making.batch, datagram_count, super_count);
  struct tun tun = {.fd = FAKE_FD, .can_segment_tcp = mode & 1, .can_segment_udp = mode & 2};
  is_refusing = mode & 4;
  size_t segments = 0;
  written_segments = 0;
  for (int32_t i = 0; i < super_count; i++) {
    int32_t *row = supers + i * SUPER_STRIDE;
    row[SUPER_VERDICT] = (mode >> 3) % 8 == i % 8 ? VERDICT_DROP : VERDICT_FORWARD;
    if (row[SUPER_VERDICT] == VERDICT_FORWARD) segments += (size_t)row[SUPER_SEGMENTS];
  }
  tun_write(&tun, &making.batch, super_count);
  REQUIRE(written_segments == segments);
  aead_free(&aead);
  free(slab);
  return 0;
}
