// The target of libFuzzer: all native code that reads what another process has written. The first byte of an
// input says which reader gets the rest. Beside the sanitizers, each reader is held to what its callers rely
// on.
#include "worker/refusals.h"
#include "zygote/messages.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define HOLDS(condition)                                                                                     \
  do {                                                                                                       \
    if (!(condition)) abort();                                                                               \
  } while (0)

// Has exactly this size, so that the sanitizer sees a read beyond it.
static void *copy(const void *bytes, size_t size) {
  void *copied = malloc(size ? size : 1);
  HOLDS(copied);
  memcpy(copied, bytes, size);
  return copied;
}

static void specialise(const uint8_t *bytes, size_t size) {
  if (size < SPECIALISE_FRAME_BYTES) return;
  unsigned char *frame = copy(bytes, SPECIALISE_FRAME_BYTES);
  char *code = malloc(SPECIALISE_CODE_BYTES), *hostname = malloc(SPECIALISE_HOSTNAME_BYTES);
  HOLDS(code && hostname);
  struct failure failure = {0};
  struct sandbox_limits limits;
  if (message_read_specialise(frame, code, hostname, &limits, &failure) == 0) {
    HOLDS(limits.tmp_mb > 0 && limits.tmp_inodes > 0 && limits.open_files > 0);
    HOLDS(strnlen(code, SPECIALISE_CODE_BYTES) < SPECIALISE_CODE_BYTES);
    HOLDS(strnlen(hostname, SPECIALISE_HOSTNAME_BYTES) < SPECIALISE_HOSTNAME_BYTES);
    HOLDS(code[0] != '\0' && strcmp(code, ".") != 0 && strcmp(code, "..") != 0 && !strchr(code, '/'));
  } else {
    HOLDS(failure.message[0] != '\0');
  }
  free(frame);
  free(code);
  free(hostname);
}

static void order(const uint8_t *bytes, size_t size) {
  struct wire_control message;
  if (size < CONTROL_BYTES + 1) return;
  HOLDS(wire_read_control(bytes, CONTROL_BYTES, &message));
  int fd_count = bytes[CONTROL_BYTES] % (FORK_MAX_FDS + 4);
  int present = fd_count < FORK_MAX_FDS ? fd_count : FORK_MAX_FDS;
  int *fds = malloc(sizeof(int) * (size_t)(present + 1));
  HOLDS(fds);
  for (int i = 0; i < present; i++)
    fds[i] = 100 + i;
  struct sandbox_order read = {0};
  struct failure failure = {0};
  if (message_read_order(&message, MAX_SLOTS, fds, fd_count, &read, &failure) < 0) {
    HOLDS(failure.message[0] != '\0');
  } else if (message.kind == CONTROL_FORK) {
    HOLDS(read.slot < MAX_SLOTS && read.uid >= FIRST_SANDBOX_UID && read.scratch_mb > 0);
    HOLDS(read.channel == 100 && read.cgroup_count == fd_count - FORK_FIXED_FDS);
    for (int i = 0; i < read.cgroup_count; i++)
      HOLDS(read.cgroup_fds[i] == 100 + FORK_FIXED_FDS + i);
  }
  free(fds);
}

static void descriptors(const uint8_t *bytes, size_t size) {
  void *control = copy(bytes, size);
  struct msghdr message = {.msg_control = size ? control : NULL, .msg_controllen = size};
  int *fds = malloc(sizeof(int) * FORK_MAX_FDS);
  HOLDS(fds);
  HOLDS(message_descriptors(&message, fds) <= (int)(size / sizeof(int)));
  free(fds);
  free(control);
}

static void refusal(const uint8_t *bytes, size_t size) {
  struct seccomp_data call = {0};
  memcpy(&call, bytes, size < sizeof call ? size : sizeof call);
  const char *name = refusal_name(&call);
  HOLDS(name && name[0] != '\0');
}

static void budget(const uint8_t *bytes, size_t size) {
  struct refusal_budget spent = {0};
  uint64_t at_us = 1, granted = 0;
  for (; size >= 4; bytes += 4, size -= 4) {
    uint32_t later;
    memcpy(&later, bytes, sizeof later);
    at_us += later;
    granted += refusal_spend(&spent, at_us);
    // The budget at the start, and four refusals a second.
    HOLDS(granted <= 128 + at_us / 250000 + 1);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  static void (*const readers[])(const uint8_t *, size_t) = {specialise, order, descriptors, refusal, budget};
  if (size > 0) readers[bytes[0] % (sizeof readers / sizeof *readers)](bytes + 1, size - 1);
  return 0;
}
