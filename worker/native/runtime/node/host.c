// libuv asks the kernel about the machine, by sysinfo(2) and by files in /proc that a sandbox does not have. So the few functions
// that Node's `os` and `process` call are replaced. They read the limits from the files of sandbox/machine.c, as other programs do.
// A replacement in JavaScript would hold for the main thread only.
#include "host.h"

#include "common.h"
#include "heap.h"
#include "platform.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#define MEMORY_FILE "/sys/fs/cgroup/memory.max"
#define PROCESSOR_FILE "/sys/fs/cgroup/cpu.max"
// The real model would tell of the host.
#define MODEL "virtual processor of the sandbox"

static uint64_t born_us;

void host_begin_life(void) {
  born_us = now_us();
}

// The numbers in a file, up to `count`, or zeros.
static void read_numbers(const char *path, uint64_t *numbers, int count) {
  char text[64];
  memset(numbers, 0, (size_t)count * sizeof *numbers);
  FD_CLEANUP int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (length <= 0) return;
  text[length] = '\0';
  char *at = text;
  for (int i = 0; i < count; i++)
    numbers[i] = strtoull(at, &at, 10);
}

static unsigned int processors(void) {
  uint64_t quota_and_period[2];
  read_numbers(PROCESSOR_FILE, quota_and_period, 2);
  if (quota_and_period[1] == 0) return 1;
  uint64_t count = (quota_and_period[0] + quota_and_period[1] - 1) / quota_and_period[1];
  return count > 0 ? (unsigned int)count : 1;
}

static uint64_t total_memory(void) {
  uint64_t bytes;
  read_numbers(MEMORY_FILE, &bytes, 1);
  return bytes;
}

static uint64_t free_memory(void) {
  uint64_t total = total_memory(), used = heap_charged();
  return total > used ? total - used : 0;
}

// The kernel keeps no figure for a group of processes.
static void load_average(double averages[3]) {
  averages[0] = averages[1] = averages[2] = 0;
}

static int uptime(double *seconds) {
  *seconds = (double)(now_us() - born_us) / 1e6;
  return 0;
}

static uint64_t milliseconds(struct timeval time) {
  return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_usec / 1000;
}

// Freed by uv_free_cpu_info(): each model, then the list.
static int processor_list(uv_cpu_info_t **list, int *count) {
  unsigned int all = processors();
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  uint64_t user = milliseconds(usage.ru_utime) / all, kernel = milliseconds(usage.ru_stime) / all;
  uint64_t alive = (now_us() - born_us) / 1000;
  *list = calloc(all, sizeof **list);
  if (!*list) return UV_ENOMEM;
  for (unsigned int i = 0; i < all; i++) {
    char *model = strdup(MODEL);
    if (!model) {
      uv_free_cpu_info(*list, (int)i);
      return UV_ENOMEM;
    }
    uint64_t idle = alive > user + kernel ? alive - user - kernel : 0;
    (*list)[i] = (uv_cpu_info_t){.model = model, .cpu_times = {.user = user, .sys = kernel, .idle = idle}};
  }
  *count = (int)all;
  return 0;
}

bool host_answer_for_sandbox(void) {
  host_begin_life();
  const struct {
    const char *name;
    const void *answer;
  } functions[] = {
      {"uv_cpu_info", (const void *)processor_list},
      {"uv_available_parallelism", (const void *)processors},
      {"uv_get_total_memory", (const void *)total_memory},
      {"uv_get_constrained_memory", (const void *)total_memory},
      {"uv_get_free_memory", (const void *)free_memory},
      {"uv_get_available_memory", (const void *)free_memory},
      {"uv_loadavg", (const void *)load_average},
      {"uv_uptime", (const void *)uptime},
  };
  bool all = true;
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
    all = platform_replace_function(functions[i].name, functions[i].answer) && all;
  return all;
}
