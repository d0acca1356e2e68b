// WireGuard transport keys by slot, and ChaCha20-Poly1305 over batches of messages (WireGuard paper §5.4.6).
#pragma once
#include <stdbool.h>
#include "batch.h"

enum { MESSAGE_HEADER = 16, TAG_LENGTH = 16, KEY_LENGTH = 32, DATA_MESSAGE_TYPE = 4, MAX_JOBS = 64 };

// One message to seal or open in place. The 16 bytes behind `text` are the tag's.
struct aead_job {
  uint8_t *text;
  uint32_t length;    // of the plaintext
  uint32_t headroom;  // bytes in front of `text` that belong to the same memory
  uint32_t counter_low;
  uint32_t counter_high;
  bool authentic;  // result of opening
};

// Datagrams of one run that wait to be opened together.
struct opening {
  struct aead_job jobs[MAX_JOBS];
  int32_t *rows[MAX_JOBS];
  size_t count;
};

// One session: what a backend needs for both directions.
struct key_slot {
  bool used;
  uint32_t remote_index;
  void *seal;
  void *open;
  uint8_t send_key[KEY_LENGTH];
  uint8_t receive_key[KEY_LENGTH];
};

// A way to do the cipher. Both functions take whole batches of one slot, so that a backend may work on several messages at a time.
struct aead_backend {
  const char *name;
  bool (*install)(struct key_slot *slot, const uint8_t *send_key, const uint8_t *receive_key);
  void (*remove)(struct key_slot *slot);
  void (*seal)(struct key_slot *slot, struct aead_job *jobs, size_t job_count);
  void (*open)(struct key_slot *slot, struct aead_job *jobs, size_t job_count);
};

extern const struct aead_backend aead_evp;
extern const struct aead_backend aead_kernels;

// Each looks for its functions in this process. NULL if they are there, else the name of what is missing.
const char *aead_evp_load(void);
const char *aead_kernels_load(void);

struct aead {
  const struct aead_backend *backend;
  int32_t capacity;
  double *send_counters;
  int32_t *paths;
  struct key_slot *slots;
  int32_t next_slot;
  struct opening opening;
};

bool aead_init(struct aead *aead, const struct aead_backend *backend, int32_t capacity, double *send_counters,
               int32_t *paths);
void aead_free(struct aead *aead);

// A slot, -1 if none is free, -2 if the cipher refuses.
int32_t aead_install(struct aead *aead, const uint8_t *send_key, const uint8_t *receive_key, uint32_t remote_index);
void aead_remove(struct aead *aead, int32_t slot);
bool aead_has(const struct aead *aead, int32_t slot);
uint32_t aead_remote_index(const struct aead *aead, int32_t slot);

void aead_seal(struct aead *aead, int32_t slot, struct aead_job *jobs, size_t job_count);
void aead_open(struct aead *aead, int32_t slot, struct aead_job *jobs, size_t job_count);

// Writes the 16-byte header of the slot's next message and fills in the job's counter.
void aead_begin_message(struct aead *aead, int32_t slot, uint8_t *header, struct aead_job *job);

// The job of one whole data message; false if it is none.
bool aead_message(uint8_t *message, size_t length, struct aead_job *job);

// Opens every run that has a slot; fills datagram rows and returns their number.
int32_t aead_open_runs(struct aead *aead, struct receive_batch *batch, int32_t run_count);
