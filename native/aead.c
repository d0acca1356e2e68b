// ChaCha20-Poly1305 (RFC 8439) by the OpenSSL inside the Node binary: its EVP functions are looked up at load, so that a Node
// without them is a clear message and not a crash. One cipher context per slot and direction, keyed once; keys live nowhere else
// and are wiped with the context. A second backend (several messages at a time) would replace seal_jobs and open_jobs.
#include "aead.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"

enum { GET_TAG = 0x10, SET_TAG = 0x11 };  // EVP_CTRL_AEAD_GET_TAG, EVP_CTRL_AEAD_SET_TAG

static struct {
  void *(*context_new)(void);
  void (*context_free)(void *);
  int (*control)(void *, int, int, void *);
  const void *(*cipher)(void);
  int (*encrypt_init)(void *, const void *, void *, const uint8_t *, const uint8_t *);
  int (*encrypt_update)(void *, uint8_t *, int *, const uint8_t *, int);
  int (*encrypt_final)(void *, uint8_t *, int *);
  int (*decrypt_init)(void *, const void *, void *, const uint8_t *, const uint8_t *);
  int (*decrypt_update)(void *, uint8_t *, int *, const uint8_t *, int);
  int (*decrypt_final)(void *, uint8_t *, int *);
} evp;

const char *aead_load(void) {
  const struct {
    void *target;
    const char *name;
  } wanted[] = {
      {&evp.context_new, "EVP_CIPHER_CTX_new"},     {&evp.context_free, "EVP_CIPHER_CTX_free"},
      {&evp.control, "EVP_CIPHER_CTX_ctrl"},        {&evp.cipher, "EVP_chacha20_poly1305"},
      {&evp.encrypt_init, "EVP_EncryptInit_ex"},    {&evp.encrypt_update, "EVP_EncryptUpdate"},
      {&evp.encrypt_final, "EVP_EncryptFinal_ex"},  {&evp.decrypt_init, "EVP_DecryptInit_ex"},
      {&evp.decrypt_update, "EVP_DecryptUpdate"},   {&evp.decrypt_final, "EVP_DecryptFinal_ex"},
  };
  for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
    void *symbol = dlsym(RTLD_DEFAULT, wanted[i].name);
    if (!symbol) return wanted[i].name;
    memcpy(wanted[i].target, &symbol, sizeof symbol);
  }
  return NULL;
}

struct key_slot {
  bool used;
  uint32_t remote_index;
  void *seal;
  void *open;
};

bool aead_init(struct aead *aead, int32_t capacity, double *send_counters, int32_t *paths) {
  *aead = (struct aead){.capacity = capacity, .send_counters = send_counters, .paths = paths};
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
    target->seal = evp.context_new();
    target->open = evp.context_new();
    target->remote_index = remote_index;
    target->used = true;
    aead->send_counters[slot] = 0;
    memset(aead->paths + slot * PATH_STRIDE, 0, PATH_STRIDE * sizeof(int32_t));
    if (target->seal && target->open && evp.encrypt_init(target->seal, evp.cipher(), NULL, send_key, NULL) == 1 &&
        evp.decrypt_init(target->open, evp.cipher(), NULL, receive_key, NULL) == 1)
      return slot;
    aead_remove(aead, slot);
    return -2;
  }
  return -1;
}

void aead_remove(struct aead *aead, int32_t slot) {
  if (!aead_has(aead, slot)) return;
  struct key_slot *target = &aead->slots[slot];
  evp.context_free(target->seal);
  evp.context_free(target->open);
  *target = (struct key_slot){0};
  aead->paths[slot * PATH_STRIDE + PATH_USABLE] = 0;
}

static void make_nonce(uint8_t nonce[12], const struct aead_job *job) {
  uint32_t words[3] = {0, job->counter_low, job->counter_high};
  for (int i = 0; i < 12; i++) nonce[i] = (uint8_t)(words[i / 4] >> (8 * (i % 4)));
}

void aead_seal(struct aead *aead, int32_t slot, struct aead_job *jobs, size_t job_count) {
  void *context = aead->slots[slot].seal;
  for (size_t i = 0; i < job_count; i++) {
    struct aead_job *job = &jobs[i];
    uint8_t nonce[12];
    int length;
    make_nonce(nonce, job);
    evp.encrypt_init(context, NULL, NULL, NULL, nonce);
    if (job->length > 0) evp.encrypt_update(context, job->text, &length, job->text, (int)job->length);
    evp.encrypt_final(context, job->text + job->length, &length);
    evp.control(context, GET_TAG, TAG_LENGTH, job->text + job->length);
  }
}

void aead_open(struct aead *aead, int32_t slot, struct aead_job *jobs, size_t job_count) {
  void *context = aead->slots[slot].open;
  for (size_t i = 0; i < job_count; i++) {
    struct aead_job *job = &jobs[i];
    uint8_t nonce[12];
    int length;
    make_nonce(nonce, job);
    evp.decrypt_init(context, NULL, NULL, NULL, nonce);
    evp.control(context, SET_TAG, TAG_LENGTH, job->text + job->length);
    if (job->length > 0) evp.decrypt_update(context, job->text, &length, job->text, (int)job->length);
    job->authentic = evp.decrypt_final(context, job->text + job->length, &length) == 1;
  }
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
  write_le32(header, DATA_MESSAGE_TYPE);
  write_le32(header + 4, aead->slots[slot].remote_index);
  write_le32(header + 8, job->counter_low);
  write_le32(header + 12, job->counter_high);
}

bool aead_message(uint8_t *message, size_t length, struct aead_job *job) {
  if (length < MESSAGE_HEADER + TAG_LENGTH || read_le32(message) != DATA_MESSAGE_TYPE) return false;
  job->text = message + MESSAGE_HEADER;
  job->length = (uint32_t)(length - MESSAGE_HEADER - TAG_LENGTH);
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
