// A sandbox checks itself before the last step, and ends if the check fails. So a mistake in the order, or a kernel
// that behaves otherwise, costs one function a start and no tenant its isolation.
#include "sandbox.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int audit_descriptors(const struct sandbox_order *order, const struct inherited_fds *inherited,
                             struct failure *failure) {
  DIR *directory = opendir("/proc/self/fd");
  if (!directory) return fail_errno(failure, "list descriptors");
  int result = 0;
  const struct dirent *entry;
  while (result == 0 && (entry = readdir(directory))) {
    if (entry->d_name[0] == '.') continue;
    int fd = atoi(entry->d_name);
    if (fd <= STDERR_FILENO || fd == order->channel || fd == order->refusals || fd == dirfd(directory))
      continue;
    char target[128];
    ssize_t length = readlinkat(dirfd(directory), entry->d_name, target, sizeof target - 1);
    if (length < 0) {
      result = fail_errno(failure, "read descriptor %d", fd);
      break;
    }
    target[length] = '\0';
    result = sandbox_check_descriptor(inherited, fd, target, failure);
  }
  closedir(directory);
  return result;
}

static int audit_stdio(const struct inherited_fds *inherited, struct failure *failure) {
  if (!sandbox_stdin_is_own()) return fail(failure, "descriptor 0 is the zygote's as well");
  for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
    struct stat facts;
    if (fstat(fd, &facts) < 0) return fail_errno(failure, "look at descriptor %d", fd);
    if (!S_ISFIFO(facts.st_mode)) return fail(failure, "descriptor %d is no pipe", fd);
    if (facts.st_ino == inherited->output[0] || facts.st_ino == inherited->output[1])
      return fail(failure, "descriptor %d is the zygote's as well", fd);
  }
  return 0;
}

static int audit_capabilities(struct failure *failure) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct held[2];
  if (syscall(SYS_capget, &header, held) < 0) return fail_errno(failure, "read capabilities");
  for (int i = 0; i < 2; i++) {
    if (held[i].effective || held[i].permitted || held[i].inheritable)
      return fail(failure, "capabilities are left");
  }
  for (unsigned long capability = 0;; capability++) {
    int bound = prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
    if (bound < 0) return 0;
    if (bound > 0) return fail(failure, "capability %lu is still in the bounding set", capability);
  }
}

// This process is still dumpable, so it may write its files under /proc by their owner and mode. Only Landlock
// refuses that.
static int audit_landlock(struct failure *failure) {
  FD_CLEANUP int fd = open("/proc/self/comm", O_WRONLY | O_CLOEXEC);
  if (fd < 0 && errno == EACCES) return 0;
  return fail(failure, "Landlock does not hold");
}

int sandbox_audit(const struct sandbox_order *order, const struct inherited_fds *inherited, int landlock_abi,
                  struct failure *failure) {
  if (audit_descriptors(order, inherited, failure) < 0) return -1;
  if (audit_stdio(inherited, failure) < 0) return -1;
  if (audit_capabilities(failure) < 0) return -1;
  int no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
  if (no_new_privs != 1) return fail(failure, "no_new_privs is not set");
  if (landlock_abi > 0 && audit_landlock(failure) < 0) return -1;
  // Tries the chroot barrier for real, before the filter would answer in its place.
  if (unshare(CLONE_NEWUSER) == 0) return fail(failure, "a nested user namespace could be made");
  char directory[64];
  if (!getcwd(directory, sizeof directory)) return fail_errno(failure, "read the working directory");
  if (strcmp(directory, "/var/task") != 0) return fail(failure, "working directory is %s", directory);
  if (getuid() != 1000 || getgid() != 1000) return fail(failure, "runs as %u:%u", getuid(), getgid());
  return 0;
}

int sandbox_namespaces(uint32_t *numbers, int count, struct failure *failure) {
  static const char *const names[] = {"user", "pid", "mnt", "net", "ipc", "uts", "cgroup"};
  if (count != (int)(sizeof names / sizeof *names)) return fail(failure, "%d namespaces asked for", count);
  for (int i = 0; i < count; i++) {
    char path[32], target[48];
    snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length < 0) return fail_errno(failure, "read %s", path);
    target[length] = '\0';
    // "net:[4026532008]", namespaces(7)
    const char *number = strchr(target, '[');
    if (!number) return fail(failure, "read %s: %s", path, target);
    numbers[i] = (uint32_t)strtoul(number + 1, NULL, 10);
  }
  return 0;
}
