// See sender.h. Segments are copied once, from the slab of the TUN to the place from which they are sent, and summed on the way;
// sealing happens in that place. An output holds datagrams of one slot and ECN and of equal size, across packets; a shorter one
// closes it (operations 9.1). Up to OPEN_OUTPUTS grow at a time, so that two peers whose packets alternate do not break each
// other's groups. Order towards one peer is kept, but between packets with ECN and those without: a flow's data has it or not, also
// where a router marked some of it, while its pure acknowledgements have none (RFC 3168 §6.1.4) and should not break groups either.
#include "sender.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "checksum.h"
#include "layout.h"
#include "segment.h"

enum { CHANNEL_HEADER = 4 };

bool sender_init(struct sender *sender, struct udp_socket *v4, struct udp_socket *v6) {
  *sender = (struct sender){.sockets = {v4, v6}};
  const size_t stride = OUTPUT_HEADROOM + OUTPUT_CAPACITY;
  sender->memory = calloc(OUTPUTS, stride);
  if (!sender->memory) return false;
  for (size_t i = 0; i < OUTPUTS; i++) {
    sender->outputs[i].data = sender->memory + i * stride + OUTPUT_HEADROOM;
    sender->unused[sender->unused_count++] = &sender->outputs[i];
  }
  return true;
}

void sender_free(struct sender *sender) {
  free(sender->memory);
  sender->memory = NULL;
}

static struct output *take_output(struct sender *sender) {
  if (sender->unused_count == 0) return NULL;
  struct output *output = sender->unused[--sender->unused_count];
  output->length = output->datagrams = output->done = 0;
  output->is_closed = false;
  return output;
}

// Sends what is left of an output; true if nothing of it remains.
static bool try_output(struct output *output) {
  struct iovec part = {output->data + output->done, output->length - output->done};
  ssize_t done = udp_send(output->socket, &output->route, &part, 1, part.iov_len, output->segment);
  if (done > 0) output->done += (size_t)done;
  if (output->done == output->length) return true;
  count(UDP_SEND_WOULD_BLOCK, 1);
  return false;
}

static bool is_socket_blocked(const struct sender *sender, const struct udp_socket *socket) {
  for (size_t i = 0; i < sender->waiting_count; i++)
    if (sender->waiting[i]->socket == socket) return true;
  return false;
}

static void send_output(struct sender *sender, struct output *output) {
  if (!is_socket_blocked(sender, output->socket) && try_output(output))
    sender->unused[sender->unused_count++] = output;
  else
    sender->waiting[sender->waiting_count++] = output;
}

static int32_t waiting_sockets(const struct sender *sender) {
  int32_t mask = 0;
  for (size_t i = 0; i < sender->waiting_count; i++) mask |= sender->waiting[i]->socket == sender->sockets[0] ? 1 : 2;
  return mask;
}

int32_t sender_flush(struct sender *sender) {
  size_t count = sender->waiting_count;
  sender->waiting_count = 0;
  for (size_t i = 0; i < count; i++) send_output(sender, sender->waiting[i]);
  return waiting_sockets(sender);
}

static void close_output(struct sender *sender, struct aead *aead, size_t index) {
  struct output *output = sender->open[index];
  sender->open_count--;
  memmove(sender->open + index, sender->open + index + 1, (sender->open_count - index) * sizeof *sender->open);
  aead_seal(aead, output->slot, output->jobs, output->datagrams);
  count(SEAL_SEALED, (double)output->datagrams);
  send_output(sender, output);
}

struct destination {
  struct aead *aead;
  int32_t slot;
  uint8_t ecn;
  const int32_t *path;
  struct udp_socket *socket;
};

static struct output *open_output(struct sender *sender, const struct destination *to, size_t segment) {
  if (sender->open_count == OPEN_OUTPUTS) close_output(sender, to->aead, 0);
  struct output *output = take_output(sender);
  if (!output) return NULL;
  route_from_words(&output->route, to->socket->family, to->path + PATH_REMOTE, to->path[PATH_REMOTE_PORT],
                   to->path + PATH_LOCAL, to->ecn);
  output->socket = to->socket;
  output->slot = to->slot;
  output->segment = segment;
  output->most = udp_max_segments(to->socket->family, segment);
  sender->open[sender->open_count++] = output;
  return output;
}

// The output that takes the next datagram of `size` bytes; NULL if the queue is full.
static struct output *output_for(struct sender *sender, const struct destination *to, size_t size) {
  for (size_t i = 0; i < sender->open_count; i++) {
    struct output *output = sender->open[i];
    if (output->slot != to->slot || !output->route.ecn != !to->ecn) continue;
    if (output->route.ecn == to->ecn && !output->is_closed && size <= output->segment && output->datagrams < output->most) return output;
    close_output(sender, to->aead, i);
    break;
  }
  return open_output(sender, to, size);
}

// Room for a packet of `length` bytes, headers before it written; NULL if it is dropped.
static uint8_t *begin_datagram(struct sender *sender, const struct destination *to, size_t length) {
  size_t channel_header = to->path[PATH_CHANNEL] ? CHANNEL_HEADER : 0;
  size_t message = MESSAGE_HEADER + length + TAG_LENGTH;
  struct output *output = output_for(sender, to, channel_header + message);
  if (!output) {
    count(UDP_SEND_QUEUE_FULL, 1);
    return NULL;
  }
  uint8_t *out = output->data + output->length;
  if (channel_header) {
    write16(out, (uint32_t)to->path[PATH_CHANNEL]);
    write16(out + 2, (uint32_t)message);
    out += CHANNEL_HEADER;
  }
  struct aead_job *job = &output->jobs[output->datagrams++];
  aead_begin_message(to->aead, to->slot, out, job);
  job->text = out + MESSAGE_HEADER;
  job->length = (uint32_t)length;
  job->headroom = (uint32_t)(OUTPUT_HEADROOM + (job->text - output->data));
  output->length += channel_header + message;
  output->is_closed = channel_header + message < output->segment;
  return job->text;
}

static void seal_whole(struct sender *sender, const struct destination *to, uint8_t *packet, const int32_t *row) {
  uint32_t length = (uint32_t)row[TUN_LENGTH];
  if (length > MAX_INNER_PACKET) {
    count(SEAL_OVERSIZED, 1);
    return;
  }
  if ((row[TUN_FLAGS] & TUN_FLAG_CHECKSUM_NEEDED) &&
      !checksum_complete(packet, length, (uint32_t)row[TUN_CHECKSUM_START], (uint32_t)row[TUN_CHECKSUM_OFFSET])) {
    count(SEAL_MALFORMED, 1);
    return;
  }
  uint8_t *out = begin_datagram(sender, to, length);
  if (out) memcpy(out, packet, length);
}

static void seal_segments(struct sender *sender, const struct destination *to, const uint8_t *packet,
                          const int32_t *row) {
  bool is_ipv6 = row[TUN_FLAGS] & TUN_FLAG_IPV6;
  uint32_t length = (uint32_t)row[TUN_LENGTH], headers = (uint32_t)row[TUN_HEADER_LENGTH];
  uint32_t ip_header = is_ipv6 ? 40 : (packet[0] & 15u) * 4, segment = (uint32_t)row[TUN_GSO_SEGMENT];
  uint8_t protocol = row[TUN_GSO_TYPE] == GSO_TYPE_UDP ? UDP : TCP;
  uint32_t smallest = ip_header + (protocol == UDP ? 8 : 20);
  if (segment == 0 || headers > MAX_HEADERS || headers < smallest || ip_header < 20 || headers >= length ||
      is_ipv6 != (packet[0] >> 4 == 6)) {
    count(SEAL_MALFORMED, 1);
    return;
  }
  uint32_t payload = length - headers;
  if (headers + (payload < segment ? payload : segment) > MAX_INNER_PACKET) {
    count(SEAL_OVERSIZED, (payload + segment - 1) / segment);
    return;
  }
  struct segmenter segmenter;
  segmenter_start(&segmenter, packet, ip_header, headers, protocol, is_ipv6);
  uint32_t index = 0;
  for (uint32_t position = 0; position < payload; position += segment, index++) {
    uint32_t size = payload - position < segment ? payload - position : segment;
    uint8_t *out = begin_datagram(sender, to, headers + size);
    if (!out) continue;
    uint64_t sum = checksum_copy(out + headers, packet + headers + position, size);
    segmenter_headers(&segmenter, out, index, position, size, sum, position + size == payload);
  }
}

static bool is_path_v4(const int32_t *path) {
  return path[PATH_REMOTE] == 0 && path[PATH_REMOTE + 1] == 0 && path[PATH_REMOTE + 2] == 0xffff;
}

static void seal_packet(struct sender *sender, struct aead *aead, struct tun_batch *batch, const int32_t *row) {
  int32_t slot = row[TUN_SLOT], offset = row[TUN_OFFSET], length = row[TUN_LENGTH];
  if (slot < 0) return;
  if (!aead_has(aead, slot)) {
    count(SEAL_NO_KEY, 1);
    return;
  }
  const int32_t *path = aead->paths + slot * PATH_STRIDE;
  if (path[PATH_USABLE] != 1) {
    count(SEAL_NO_PATH, 1);
    return;
  }
  struct udp_socket *socket = sender->sockets[is_path_v4(path) ? 0 : 1];
  if (!socket || socket->fd < 0) {
    count(SEAL_NO_SOCKET, 1);
    return;
  }
  if (offset < 0 || length < 20 || (size_t)offset + (size_t)length > batch->slab_length) {
    count(SEAL_MALFORMED, 1);
    return;
  }
  struct destination to = {aead, slot, (uint8_t)(row[TUN_ECN] & 3), path, socket};
  if (row[TUN_GSO_TYPE] == GSO_TYPE_NONE)
    seal_whole(sender, &to, batch->slab + offset, row);
  else
    seal_segments(sender, &to, batch->slab + offset, row);
}

int32_t sender_seal(struct sender *sender, struct aead *aead, struct tun_batch *batch, int32_t packet_count) {
  if (sender->waiting_count > 0) sender_flush(sender);
  for (int32_t i = 0; i < packet_count && i < batch->max_packets; i++)
    seal_packet(sender, aead, batch, batch->packets + i * TUN_STRIDE);
  while (sender->open_count > 0) close_output(sender, aead, 0);
  return waiting_sockets(sender);
}

int sender_send(struct sender *sender, const int32_t *remote, int32_t port, const int32_t *local, uint8_t ecn,
                const uint8_t *payload, size_t length) {
  struct udp_socket *socket = sender->sockets[is_path_v4(remote) ? 0 : 1];
  if (!socket || socket->fd < 0) return -ENOTCONN;
  if (length == 0 || length > OUTPUT_CAPACITY) return -EMSGSIZE;
  struct output *output = take_output(sender);
  if (!output) {
    count(UDP_SEND_QUEUE_FULL, 1);
    return -ENOBUFS;
  }
  route_from_words(&output->route, socket->family, remote, port, local, ecn);
  output->socket = socket;
  output->length = output->segment = length;
  memcpy(output->data, payload, length);
  send_output(sender, output);
  return 0;
}
