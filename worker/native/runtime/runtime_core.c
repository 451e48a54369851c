#include "runtime_core.h"

#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

static struct zygote zygote;
// In a sandbox: the order by which it was made.
static struct sandbox_order order = {.channel = -1};

int runtime_serve(int control, const struct runtime_hooks *hooks, struct failure *failure) {
  if (hooks) zygote.hooks = *hooks;
  int served = zygote_open(&zygote, control, failure);
  if (served == 0) served = zygote_serve(&zygote, &order, failure);
  return served < 0 ? fail_in(failure, "zygote") : served;
}

int runtime_channel(void) {
  return order.channel;
}

bool runtime_is_told(void) {
  return zygote_is_told(&order);
}

void runtime_isolate(void) {
  zygote_isolate(&zygote, &order);
}

int runtime_take_turn(void) {
  const int outputs[] = {STDOUT_FILENO, STDERR_FILENO};
  for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++) {
    // The worker must read the output of native code before the next invocation starts. Otherwise that one could be
    // taken for its author. Either end of a pipe can ask how many bytes it holds.
    int waiting = 0;
    if (ioctl(outputs[i], FIONREAD, &waiting) == 0 && waiting > 0) return -1;
  }
  return turns_take(zygote.turns) ? 1 : 0;
}

uint32_t runtime_random_seed(void) {
  uint32_t seed = 0;
  // getrandom(2) never returns fewer of these few bytes; without them a sandbox must not start.
  if (getrandom(&seed, sizeof seed, 0) != sizeof seed) _exit(1);
  return seed & 0x7fffffffU;
}

// Drops the page table entries of files without private pages: all code and constants. The contents stay in the page
// cache. Pages that are not used again before the first fork need no copy in each fork and no removal at each end of
// a sandbox.
void runtime_forget_files(void) {
  FILE *mappings = fopen("/proc/self/smaps", "re");
  if (!mappings) return;
  char line[512], permissions[5], path[256];
  unsigned long start = 0, end = 0, next_start, next_end, private_kb;
  while (fgets(line, sizeof line, mappings)) {
    // A line "start-end permissions offset device inode path", then lines of figures.
    if (sscanf(line, "%lx-%lx %4s", &next_start, &next_end, permissions) == 3) {
      bool of_file = sscanf(line, "%*s %*s %*s %*s %*s %255s", path) == 1 && path[0] == '/';
      start = next_start;
      end = of_file && permissions[1] != 'w' && permissions[3] == 'p' ? next_end : next_start;
    }
    // The loader has changed a private page (relocations), and the change would be lost.
    if (end > start && sscanf(line, "Anonymous: %lu", &private_kb) == 1 && private_kb == 0)
      (void)madvise((void *)start, end - start, MADV_DONTNEED);
  }
  fclose(mappings);
}

int runtime_socketpair(int ends[2], struct failure *failure) {
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
    return fail_errno(failure, "make a socket pair");
  return 0;
}

void runtime_exit(int code) {
  _exit(code);
}

void runtime_halt(void) {
  for (;;)
    pause();
}
