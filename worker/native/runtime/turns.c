#include "turns.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

// Of Linux 6.3. A kernel without the flag answers EINVAL; a kernel that requires the flag answers EACCES when it is
// missing.
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

enum { PAGE_BYTES = 4096, MAX_TRIES = 1000 };

struct turns {
  _Atomic uint32_t count;
};

static struct turns *map_page(int fd, int more, struct failure *failure) {
  void *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | more, fd, 0);
  if (page == MAP_FAILED) {
    fail_errno(failure, "map the page of turns");
    return NULL;
  }
  return page;
}

struct turns *turns_make(int *theirs, struct failure *failure) {
  const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  int made = memfd_create("turns", flags | MFD_NOEXEC_SEAL);
  if (made < 0 && errno == EINVAL) made = memfd_create("turns", flags);
  FD_CLEANUP int own = made;
  if (own < 0) return fail_errno(failure, "make the page of turns"), NULL;
  if (ftruncate(own, PAGE_BYTES) < 0) return fail_errno(failure, "size the page of turns"), NULL;
  // Sealed before any other process has it: a process that shrinks a file ends all others that map it, by SIGBUS.
  if (fcntl(own, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
    return fail_errno(failure, "seal the page of turns"), NULL;
  // A second open file, so that the sandbox cannot change flags of the worker's own.
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", own);
  FD_CLEANUP int other = open(path, O_RDWR | O_CLOEXEC);
  if (other < 0) return fail_errno(failure, "open the page of turns anew"), NULL;
  struct turns *turns = map_page(own, 0, failure);
  if (turns) *theirs = TAKE(other);
  return turns;
}

struct turns *turns_map(int fd, struct failure *failure) {
  // Faulted in at once, so that the page counts for the sandbox's cgroup and not for the worker's.
  return map_page(fd, MAP_POPULATE, failure);
}

void turns_unmap(struct turns *turns) {
  munmap(turns, PAGE_BYTES);
}

void turns_post(struct turns *turns) {
  atomic_fetch_add(&turns->count, 1);
}

uint32_t turns_take_back(struct turns *turns, uint32_t max) {
  uint32_t count = atomic_load(&turns->count);
  // Bounded, because a sandbox that writes without end could keep every try from succeeding.
  for (int tries = 0; tries < MAX_TRIES && count > 0 && max > 0; tries++) {
    uint32_t taken = count < max ? count : max;
    if (atomic_compare_exchange_weak(&turns->count, &count, count - taken)) return taken;
  }
  return 0;
}

bool turns_take(struct turns *turns) {
  uint32_t count = atomic_load(&turns->count);
  while (count > 0) {
    if (atomic_compare_exchange_weak(&turns->count, &count, count - 1)) return true;
  }
  return false;
}
