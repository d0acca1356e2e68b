// ChaCha20-Poly1305 (RFC 8439) through the public interface of the OpenSSL inside the Node binary. Its functions are looked up at
// load, so that a Node without them is a clear message and not a crash. One context per slot and direction, keyed once; the keys
// live nowhere else and are wiped with the context.
#include <dlfcn.h>
#include <string.h>

#include "aead.h"

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

const char *aead_evp_load(void) {
  const struct {
    void *target;
    const char *name;
  } wanted[] = {
      {&evp.context_new, "EVP_CIPHER_CTX_new"},    {&evp.context_free, "EVP_CIPHER_CTX_free"},
      {&evp.control, "EVP_CIPHER_CTX_ctrl"},       {&evp.cipher, "EVP_chacha20_poly1305"},
      {&evp.encrypt_init, "EVP_EncryptInit_ex"},   {&evp.encrypt_update, "EVP_EncryptUpdate"},
      {&evp.encrypt_final, "EVP_EncryptFinal_ex"}, {&evp.decrypt_init, "EVP_DecryptInit_ex"},
      {&evp.decrypt_update, "EVP_DecryptUpdate"},  {&evp.decrypt_final, "EVP_DecryptFinal_ex"},
  };
  for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
    void *symbol = dlsym(RTLD_DEFAULT, wanted[i].name);
    if (!symbol) return wanted[i].name;
    memcpy(wanted[i].target, &symbol, sizeof symbol);
  }
  return NULL;
}

static bool install(struct key_slot *slot, const uint8_t *send_key, const uint8_t *receive_key) {
  slot->seal = evp.context_new();
  slot->open = evp.context_new();
  return slot->seal && slot->open && evp.encrypt_init(slot->seal, evp.cipher(), NULL, send_key, NULL) == 1 &&
         evp.decrypt_init(slot->open, evp.cipher(), NULL, receive_key, NULL) == 1;
}

static void uninstall(struct key_slot *slot) {
  evp.context_free(slot->seal);
  evp.context_free(slot->open);
}

static void make_nonce(uint8_t nonce[12], const struct aead_job *job) {
  uint32_t words[3] = {0, job->counter_low, job->counter_high};
  for (int i = 0; i < 12; i++) nonce[i] = (uint8_t)(words[i / 4] >> (8 * (i % 4)));
}

static void seal(struct key_slot *slot, struct aead_job *jobs, size_t job_count) {
  for (size_t i = 0; i < job_count; i++) {
    struct aead_job *job = &jobs[i];
    uint8_t nonce[12];
    int length;
    make_nonce(nonce, job);
    evp.encrypt_init(slot->seal, NULL, NULL, NULL, nonce);
    if (job->length > 0) evp.encrypt_update(slot->seal, job->text, &length, job->text, (int)job->length);
    evp.encrypt_final(slot->seal, job->text + job->length, &length);
    evp.control(slot->seal, GET_TAG, TAG_LENGTH, job->text + job->length);
  }
}

static void open_jobs(struct key_slot *slot, struct aead_job *jobs, size_t job_count) {
  for (size_t i = 0; i < job_count; i++) {
    struct aead_job *job = &jobs[i];
    uint8_t nonce[12];
    int length;
    make_nonce(nonce, job);
    evp.decrypt_init(slot->open, NULL, NULL, NULL, nonce);
    evp.control(slot->open, SET_TAG, TAG_LENGTH, job->text + job->length);
    if (job->length > 0) evp.decrypt_update(slot->open, job->text, &length, job->text, (int)job->length);
    job->authentic = evp.decrypt_final(slot->open, job->text + job->length, &length) == 1;
  }
}

const struct aead_backend aead_evp = {"openssl", install, uninstall, seal, open_jobs};
