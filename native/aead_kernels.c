// ChaCha20-Poly1305 (RFC 8439 §2.8) composed here from OpenSSL's own kernels, which do the work inside its public interface as
// well: without that interface's cost per message, and with the Poly1305 key from the same pass as the text. The kernels are not
// public: they are looked up at load, and a known-answer test against aead_evp.c decides whether they are what they seem to be.
#include <dlfcn.h>
#include <string.h>

#include "aead.h"

enum {
  BLOCK = 64,
  ONE_TIME_KEY = 32,
  LARGEST_TEXT = 65536,
  MAC_STATE_ROOM = 1024,
};

static struct {
  void (*chacha20)(uint8_t *out, const uint8_t *in, size_t length, const uint32_t key[8], const uint32_t counter[4]);
  size_t (*mac_size)(void);
  void (*mac_init)(void *state, const uint8_t key[32]);
  void (*mac_update)(void *state, const uint8_t *bytes, size_t length);
  void (*mac_final)(void *state, uint8_t tag[16]);
} kernels;

// Plaintext until its tag is known to be right, with the key block in front.
static _Thread_local _Alignas(64) uint8_t scratch[BLOCK + LARGEST_TEXT];

static void load_key(uint32_t words[8], const uint8_t key[KEY_LENGTH]) {
  for (int i = 0; i < 8; i++) {
    const uint8_t *p = key + 4 * i;
    words[i] = (uint32_t)p[0] | ((uint32_t)p[1] << 8) | ((uint32_t)p[2] << 16) | ((uint32_t)p[3] << 24);
  }
}

static void compute_tag(uint8_t tag[TAG_LENGTH], const uint8_t *one_time_key, const uint8_t *text, size_t length) {
  _Alignas(64) uint8_t state[MAC_STATE_ROOM];
  // Padding to 16 bytes, then the lengths of associated data (none) and text.
  uint8_t end[15 + 16] = {0};
  size_t padding = (16 - length % 16) % 16;
  for (int i = 0; i < 8; i++) end[padding + 8 + (size_t)i] = (uint8_t)((uint64_t)length >> (8 * i));
  kernels.mac_init(state, one_time_key);
  kernels.mac_update(state, text, length);
  kernels.mac_update(state, end, padding + 16);
  kernels.mac_final(state, tag);
}

static bool is_equal(const uint8_t *a, const uint8_t *b, size_t length) {
  uint8_t difference = 0;
  for (size_t i = 0; i < length; i++) difference |= a[i] ^ b[i];
  return difference == 0;
}

static void seal_one(const uint32_t key[8], struct aead_job *job) {
  uint32_t counter[4] = {0, 0, job->counter_low, job->counter_high};
  uint8_t one_time_key[ONE_TIME_KEY];
  if (job->headroom >= BLOCK) {
    // Key block and text in one pass; what stands in front of the text comes back.
    uint8_t saved[BLOCK], *front = job->text - BLOCK;
    memcpy(saved, front, BLOCK);
    memset(front, 0, BLOCK);
    kernels.chacha20(front, front, BLOCK + job->length, key, counter);
    memcpy(one_time_key, front, ONE_TIME_KEY);
    memcpy(front, saved, BLOCK);
  } else {
    uint8_t block[BLOCK] = {0};
    kernels.chacha20(block, block, BLOCK, key, counter);
    memcpy(one_time_key, block, ONE_TIME_KEY);
    counter[0] = 1;
    if (job->length > 0) kernels.chacha20(job->text, job->text, job->length, key, counter);
  }
  compute_tag(job->text + job->length, one_time_key, job->text, job->length);
}

static void open_one(const uint32_t key[8], struct aead_job *job) {
  uint32_t counter[4] = {0, 0, job->counter_low, job->counter_high};
  uint8_t one_time_key[ONE_TIME_KEY], tag[TAG_LENGTH];
  job->authentic = false;
  if (job->length > LARGEST_TEXT) return;
  if (job->headroom >= BLOCK) {
    const uint8_t *front = job->text - BLOCK;
    kernels.chacha20(scratch, front, BLOCK + job->length, key, counter);
    for (int i = 0; i < ONE_TIME_KEY; i++) one_time_key[i] = scratch[i] ^ front[i];
  } else {
    memset(scratch, 0, BLOCK);
    kernels.chacha20(scratch, scratch, BLOCK, key, counter);
    memcpy(one_time_key, scratch, ONE_TIME_KEY);
    counter[0] = 1;
    if (job->length > 0) kernels.chacha20(scratch + BLOCK, job->text, job->length, key, counter);
  }
  compute_tag(tag, one_time_key, job->text, job->length);
  job->authentic = is_equal(tag, job->text + job->length, TAG_LENGTH);
  if (job->authentic) memcpy(job->text, scratch + BLOCK, job->length);
}

static bool install(struct key_slot *slot, const uint8_t *send_key, const uint8_t *receive_key) {
  memcpy(slot->send_key, send_key, KEY_LENGTH);
  memcpy(slot->receive_key, receive_key, KEY_LENGTH);
  return true;
}

static void uninstall(struct key_slot *slot) {
  explicit_bzero(slot->send_key, KEY_LENGTH);
  explicit_bzero(slot->receive_key, KEY_LENGTH);
}

static void seal(struct key_slot *slot, struct aead_job *jobs, size_t job_count) {
  uint32_t key[8];
  load_key(key, slot->send_key);
  for (size_t i = 0; i < job_count; i++) seal_one(key, &jobs[i]);
  explicit_bzero(key, sizeof key);
}

static void open_jobs(struct key_slot *slot, struct aead_job *jobs, size_t job_count) {
  uint32_t key[8];
  load_key(key, slot->receive_key);
  for (size_t i = 0; i < job_count; i++) open_one(key, &jobs[i]);
  explicit_bzero(key, sizeof key);
}

// Whether a text of this length gives the same bytes as through the public interface, both ways, and a forged one is refused.
static bool agrees(struct key_slot *ours, struct key_slot *theirs, uint32_t length, uint32_t headroom) {
  enum { ROOM = 4096 };
  uint8_t first[BLOCK + ROOM + TAG_LENGTH], second[BLOCK + ROOM + TAG_LENGTH];
  for (size_t i = 0; i < sizeof first; i++) first[i] = second[i] = (uint8_t)(i * 7 + length);
  struct aead_job a = {.text = first + BLOCK, .length = length, .headroom = headroom};
  a.counter_low = 0xfffffffeu + length;
  a.counter_high = length * 3;
  struct aead_job b = a;
  b.text = second + BLOCK;
  seal(ours, &a, 1);
  aead_evp.seal(theirs, &b, 1);
  if (memcmp(first, second, sizeof first) != 0) return false;
  first[BLOCK + length] ^= 1;
  open_jobs(ours, &a, 1);
  if (a.authentic) return false;
  first[BLOCK + length] ^= 1;
  open_jobs(ours, &a, 1);
  aead_evp.open(theirs, &b, 1);
  return a.authentic && b.authentic && memcmp(first, second, sizeof first) == 0;
}

static bool passes_known_answers(void) {
  static const uint32_t lengths[] = {0, 1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 191, 256, 447, 448, 511, 512, 513, 960, 1228, 1280, 4096};
  uint8_t key[KEY_LENGTH];
  for (int i = 0; i < KEY_LENGTH; i++) key[i] = (uint8_t)(i * 11 + 3);
  struct key_slot ours = {0}, theirs = {0};
  bool passed = install(&ours, key, key) && aead_evp.install(&theirs, key, key);
  for (size_t i = 0; passed && i < sizeof lengths / sizeof lengths[0]; i++)
    passed = agrees(&ours, &theirs, lengths[i], 0) && agrees(&ours, &theirs, lengths[i], BLOCK);
  aead_evp.remove(&theirs);
  return passed;
}

const char *aead_kernels_load(void) {
  const struct {
    void *target;
    const char *name;
  } wanted[] = {
      {&kernels.chacha20, "ChaCha20_ctr32"},    {&kernels.mac_size, "Poly1305_ctx_size"},
      {&kernels.mac_init, "Poly1305_Init"},     {&kernels.mac_update, "Poly1305_Update"},
      {&kernels.mac_final, "Poly1305_Final"},
  };
  for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
    void *symbol = dlsym(RTLD_DEFAULT, wanted[i].name);
    if (!symbol) return wanted[i].name;
    memcpy(wanted[i].target, &symbol, sizeof symbol);
  }
  if (kernels.mac_size() > MAC_STATE_ROOM) return "Poly1305_ctx_size";
  return passes_known_answers() ? NULL : "known answers";
}

const struct aead_backend aead_kernels = {"openssl-kernels", install, uninstall, seal, open_jobs};
