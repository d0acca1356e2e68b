// Stands in for libFuzzer where it is not installed: runs the files of the corpora that are named, and then mutations of them, for as long as is said.
//
//   target [-max_total_time=SECONDS] [-runs=N] [-seed=N] FOLDER...
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LONGEST = 8192, MOST_FILES = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct file {
  uint8_t *bytes;
  size_t size;
} files[MOST_FILES];
static size_t file_count;
static uint64_t state;

static uint32_t chance(uint32_t below) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return (uint32_t)(state >> 33) % below;
}

static void load(const char *folder) {
  DIR *directory = opendir(folder);
  for (struct dirent *entry; directory && file_count < MOST_FILES && (entry = readdir(directory));) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
    FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "rb");
    if (!file) continue;
    uint8_t *bytes = malloc(LONGEST);
    files[file_count++] = (struct file){bytes, fread(bytes, 1, LONGEST, file)};
    fclose(file);
  }
  if (directory) closedir(directory);
}

static size_t mutate(uint8_t *bytes, size_t size) {
  for (uint32_t left = 1 + chance(6); left > 0; left--) {
    if (size == 0) bytes[size++] = 0;
    uint32_t at = chance((uint32_t)size);
    switch (chance(5)) {
      case 0:
        bytes[at] ^= (uint8_t)(1u << chance(8));
        break;
      case 1:
        bytes[at] = (uint8_t)(chance(2) ? chance(256) : (uint8_t[]){0, 1, 127, 128, 255}[chance(5)]);
        break;
      case 2:
        size = at;
        break;
      case 3: {
        const struct file *other = &files[chance((uint32_t)file_count)];
        size_t length = other->size < LONGEST - at ? other->size : LONGEST - at;
        memcpy(bytes + at, other->bytes, length);
        if (at + length > size) size = at + length;
        break;
      }
      default: {
        size_t room = LONGEST - size, length = 1 + chance(64);
        if (length > room) length = room;
        memmove(bytes + at + length, bytes + at, size - at);
        size += length;
      }
    }
  }
  return size;
}

int main(int count, char **arguments) {
  long seconds = 0, runs = 0, done = 0;
  state = 88172645463325252u;
  for (int i = 1; i < count; i++) {
    if (sscanf(arguments[i], "-max_total_time=%ld", &seconds) == 1 || sscanf(arguments[i], "-runs=%ld", &runs) == 1) continue;
    if (sscanf(arguments[i], "-seed=%lu", &state) == 1 || arguments[i][0] == '-') continue;
    load(arguments[i]);
  }
  LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
  for (size_t i = 0; i < file_count; i++, done++) LLVMFuzzerTestOneInput(files[i].bytes, files[i].size);
  if (file_count == 0) return 1;
  static uint8_t bytes[LONGEST];
  for (time_t end = time(NULL) + seconds; seconds > 0 ? time(NULL) < end : done < runs; done++) {
    const struct file *file = &files[chance((uint32_t)file_count)];
    memcpy(bytes, file->bytes, file->size);
    LLVMFuzzerTestOneInput(bytes, mutate(bytes, file->size));
  }
  fprintf(stderr, "Done %ld runs in %ld second(s)\n", done, seconds);
  return 0;
}
