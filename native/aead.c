// Key slots, message headers and runs (WireGuard paper §5.4.6). The cipher itself is a backend's: aead_evp.c or aead_kernels.c.
#include "aead.h"

#include <stdlib.h>
#include <string.h>

#include "layout.h"

bool aead_init(struct aead *aead, const struct aead_backend *backend, int32_t capacity, double *send_counters,
               int32_t *paths) {
  *aead = (struct aead){.backend = backend, .capacity = capacity, .send_counters = send_counters, .paths = paths};
  aead->slots = calloc((size_t)capacity, sizeof *aead->slots);
  return aead->slots != NULL;
}

void aead_free(struct aead *aead) {
  for (int32_t slot = 0; aead->slots && slot < aead->capacity; slot++) aead_remove(aead, slot);
  free(aead->slots);
  aead->slots = NULL;
}

bool aead_has(const struct aead *aead, int32_t slot) {
  return slot >= 0 && slot < aead->capacity && aead->slots[slot].used;
}

uint32_t aead_remote_index(const struct aead *aead, int32_t slot) { return aead->slots[slot].remote_index; }

int32_t aead_install(struct aead *aead, const uint8_t *send_key, const uint8_t *receive_key, uint32_t remote_index) {
  for (int32_t tried = 0; tried < aead->capacity; tried++) {
    int32_t slot = aead->next_slot;
    struct key_slot *target = &aead->slots[slot];
    aead->next_slot = (slot + 1) % aead->capacity;
    if (target->used) continue;
    target->remote_index = remote_index;
    target->used = true;
    aead->send_counters[slot] = 0;
    memset(aead->paths + slot * PATH_STRIDE, 0, PATH_STRIDE * sizeof(int32_t));
    if (aead->backend->install(target, send_key, receive_key)) return slot;
    aead_remove(aead, slot);
    return -2;
  }
  return -1;
}

void aead_remove(struct aead *aead, int32_t slot) {
  if (!aead_has(aead, slot)) return;
  struct key_slot *target = &aead->slots[slot];
  aead->backend->remove(target);
  *target = (struct key_slot){0};
  aead->paths[slot * PATH_STRIDE + PATH_USABLE] = 0;
}

void aead_seal(struct aead *aead, int32_t slot, struct aead_job *jobs, size_t job_count) {
  aead->backend->seal(&aead->slots[slot], jobs, job_count);
}

void aead_open(struct aead *aead, int32_t slot, struct aead_job *jobs, size_t job_count) {
  aead->backend->open(&aead->slots[slot], jobs, job_count);
}

static void write_le32(uint8_t *target, uint32_t value) {
  for (int i = 0; i < 4; i++) target[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t read_le32(const uint8_t *source) {
  return (uint32_t)source[0] | ((uint32_t)source[1] << 8) | ((uint32_t)source[2] << 16) | ((uint32_t)source[3] << 24);
}

void aead_begin_message(struct aead *aead, int32_t slot, uint8_t *header, struct aead_job *job) {
  uint64_t counter = (uint64_t)aead->send_counters[slot];
  aead->send_counters[slot] = (double)(counter + 1);
  job->counter_low = (uint32_t)counter;
  job->counter_high = (uint32_t)(counter >> 32);
  job->headroom = MESSAGE_HEADER;
  write_le32(header, DATA_MESSAGE_TYPE);
  write_le32(header + 4, aead->slots[slot].remote_index);
  write_le32(header + 8, job->counter_low);
  write_le32(header + 12, job->counter_high);
}

bool aead_message(uint8_t *message, size_t length, struct aead_job *job) {
  if (length < MESSAGE_HEADER + TAG_LENGTH || read_le32(message) != DATA_MESSAGE_TYPE) return false;
  job->text = message + MESSAGE_HEADER;
  job->length = (uint32_t)(length - MESSAGE_HEADER - TAG_LENGTH);
  job->headroom = MESSAGE_HEADER;
  job->counter_low = read_le32(message + 8);
  job->counter_high = read_le32(message + 12);
  return true;
}

// Whether a datagram is a data message of the same session as the run's first one, behind a ChannelData header
// (RFC 8656 §12.4) in the same channel and with a length that fits.
static bool belongs_to_run(const uint8_t *raw, const uint8_t *first, uint32_t header_length, uint32_t message_length) {
  if (header_length == 4 && (memcmp(raw, first, 2) != 0 || read16(raw + 2) != message_length)) return false;
  return read_le32(raw + header_length) == DATA_MESSAGE_TYPE &&
         memcmp(raw + header_length + 4, first + header_length + 4, 4) == 0;
}

static void open_pending(struct aead *aead, const struct receive_batch *batch, int32_t slot) {
  struct opening *opening = &aead->opening;
  size_t opened = 0;
  aead_open(aead, slot, opening->jobs, opening->count);
  for (size_t i = 0; i < opening->count; i++) {
    const struct aead_job *job = &opening->jobs[i];
    int32_t *row = opening->rows[i];
    if (job->authentic) {
      row[DATAGRAM_OFFSET] = (int32_t)(job->text - batch->slab);
      row[DATAGRAM_LENGTH] = (int32_t)job->length;
      opened++;
    } else {
      row[DATAGRAM_LENGTH] = OPEN_NOT_AUTHENTICATED;
    }
  }
  count(OPEN_OPENED, (double)opened);
  count(OPEN_NOT_AUTHENTIC, (double)(opening->count - opened));
  opening->count = 0;
}

// Fills the row of one raw datagram; adds a job if it is to be opened.
static void begin_datagram(struct receive_batch *batch, const int32_t *run, uint32_t offset, uint32_t raw_length,
                           int32_t *row, struct opening *opening) {
  uint32_t header_length = (uint32_t)run[RUN_HEADER_LENGTH];
  uint8_t *raw = batch->slab + offset;
  row[DATAGRAM_OFFSET] = (int32_t)offset;
  row[DATAGRAM_COUNTER_LOW] = 0;
  row[DATAGRAM_COUNTER_HIGH] = 0;
  row[DATAGRAM_SLOT] = run[RUN_SLOT];
  row[DATAGRAM_ACCEPTED] = 0;
  row[DATAGRAM_RAW_LENGTH] = (int32_t)raw_length;
  row[DATAGRAM_NEXT] = -1;
  if (raw_length < header_length + MESSAGE_HEADER + TAG_LENGTH) {
    row[DATAGRAM_LENGTH] = OPEN_TRUNCATED;
    count(OPEN_SHORT, 1);
    return;
  }
  uint32_t message_length = raw_length - header_length;
  if (!belongs_to_run(raw, batch->slab + run[RUN_OFFSET], header_length, message_length)) {
    row[DATAGRAM_LENGTH] = OPEN_FOREIGN;
    count(OPEN_FOREIGN_SESSION, 1);
    return;
  }
  uint8_t *message = raw + header_length;
  struct aead_job *job = &opening->jobs[opening->count];
  aead_message(message, message_length, job);
  job->headroom = offset + header_length + MESSAGE_HEADER;
  row[DATAGRAM_COUNTER_LOW] = (int32_t)job->counter_low;
  row[DATAGRAM_COUNTER_HIGH] = (int32_t)job->counter_high;
  opening->rows[opening->count++] = row;
}

static bool is_run_sane(const struct receive_batch *batch, const int32_t *run) {
  int32_t offset = run[RUN_OFFSET], length = run[RUN_LENGTH], header = run[RUN_HEADER_LENGTH];
  return offset >= 0 && length >= 0 && run[RUN_SEGMENT_LENGTH] > 0 && (header == 0 || header == 4) &&
         (size_t)offset + (size_t)length <= batch->slab_length;
}

int32_t aead_open_runs(struct aead *aead, struct receive_batch *batch, int32_t run_count) {
  struct opening *opening = &aead->opening;
  int32_t datagram_count = 0;
  for (int32_t i = 0; i < run_count; i++) {
    int32_t *run = batch->runs + i * RUN_STRIDE;
    int32_t slot = run[RUN_SLOT];
    run[RUN_FIRST_DATAGRAM] = datagram_count;
    run[RUN_DATAGRAM_COUNT] = 0;
    if (!aead_has(aead, slot) || !is_run_sane(batch, run)) continue;
    uint32_t end = (uint32_t)run[RUN_OFFSET] + (uint32_t)run[RUN_LENGTH];
    uint32_t segment = (uint32_t)run[RUN_SEGMENT_LENGTH];
    for (uint32_t offset = (uint32_t)run[RUN_OFFSET]; offset < end; offset += segment) {
      if (datagram_count >= batch->max_datagrams) {
        count(OPEN_NO_ROOM, 1);
        break;
      }
      uint32_t raw_length = end - offset < segment ? end - offset : segment;
      int32_t *row = batch->datagrams + datagram_count * DATAGRAM_STRIDE;
      row[DATAGRAM_RUN] = i;
      begin_datagram(batch, run, offset, raw_length, row, opening);
      datagram_count++;
      if (opening->count == MAX_JOBS) open_pending(aead, batch, slot);
    }
    if (opening->count > 0) open_pending(aead, batch, slot);
    run[RUN_DATAGRAM_COUNT] = datagram_count - run[RUN_FIRST_DATAGRAM];
  }
  return datagram_count;
}
