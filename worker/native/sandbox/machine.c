#include "machine.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CGROUP "sys/fs/cgroup"
// Microseconds of the period of a processor limit, and of a hundredth of a core in it.
#define PERIOD "100000"
#define PERCENT_US 1000u

static int make_file(int directory, const char *path, const char *text, struct failure *failure) {
  // An image may have a link here; the file below is new, in the sandbox's own layer.
  if (unlinkat(directory, path, 0) < 0 && errno != ENOENT) return fail_errno(failure, "remove %s", path);
  FD_CLEANUP int file = openat(directory, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444);
  if (file < 0) return fail_errno(failure, "create %s", path);
  // Independent of the zygote's umask: the function, later another id, must be able to read the file.
  if (fchmod(file, 0444) < 0) return fail_errno(failure, "open %s to readers", path);
  return write_all(file, text, strlen(text), failure);
}

int machine_prepare(const char *upper, struct failure *failure) {
  // The overlay is not mounted yet: below a mounted one, the upper layer may not change.
  FD_CLEANUP int directory = open(upper, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return fail_errno(failure, "open %s", upper);
  static const char *const directories[] = {"etc", "sys", "sys/fs", CGROUP};
  for (size_t i = 0; i < sizeof directories / sizeof *directories; i++) {
    if (mkdirat(directory, directories[i], 0755) < 0)
      return fail_errno(failure, "make directory %s", directories[i]);
  }
  // Programs look for files of version 2 in the directory itself, and for those of version 1 in one for each controller.
  static const char *const links[][2] = {
      {".", CGROUP "/memory"},
      {".", CGROUP "/cpu"},
      {".", CGROUP "/cpu,cpuacct"},
      {"memory.max", CGROUP "/memory.limit_in_bytes"},
      {"memory.max", CGROUP "/memory.soft_limit_in_bytes"},
  };
  for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
    if (symlinkat(links[i][0], directory, links[i][1]) < 0)
      return fail_errno(failure, "link %s", links[i][1]);
  }
  if (make_file(directory, CGROUP "/memory.high", "max\n", failure) < 0) return -1;
  return make_file(directory, CGROUP "/cpu.cfs_period_us", PERIOD "\n", failure);
}

int machine_tell(const char *root, const char *hostname, const struct sandbox_limits *limits,
                 struct failure *failure) {
  FD_CLEANUP int directory = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return fail_errno(failure, "open %s", root);
  char memory[32], quota[32], processor[48], hosts[256];
  snprintf(memory, sizeof memory, "%llu\n", (unsigned long long)limits->memory_mb << 20);
  snprintf(quota, sizeof quota, "%u\n", limits->cpu_percent * PERCENT_US);
  snprintf(processor, sizeof processor, "%u " PERIOD "\n", limits->cpu_percent * PERCENT_US);
  // A program that looks up the name of its own host gets loopback, the only address that each sandbox has.
  snprintf(hosts, sizeof hosts, "127.0.0.1 localhost %s\n::1 localhost %s\n", hostname, hostname);
  const char *const files[][2] = {
      {CGROUP "/memory.max", memory},
      {CGROUP "/cpu.max", processor},
      {CGROUP "/cpu.cfs_quota_us", quota},
      {"etc/hosts", hosts},
  };
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    if (make_file(directory, files[i][0], files[i][1], failure) < 0) return -1;
  }
  return 0;
}
