// enter PID PROGRAM [ARGUMENT...]: becomes PROGRAM in the user and network namespace of process PID, with
// all capabilities in both. nsenter(1) loses them as it executes a program as any user but root. Here they
// are ambient, capabilities(7), so that newuidmap needs no set-uid bit there.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void check(int result, const char *what) {
  if (result >= 0) return;
  perror(what);
  exit(1);
}

static int open_namespace(const char *pid, const char *kind) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%s/ns/%s", pid, kind);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  check(fd, path);
  return fd;
}

static void keep_capabilities(void) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct sets[2];
  check((int)syscall(SYS_capget, &header, sets), "capget");
  for (int i = 0; i < 2; i++)
    sets[i].inheritable = sets[i].permitted;
  check((int)syscall(SYS_capset, &header, sets), "capset");
  for (unsigned capability = 0; capability < 64; capability++) {
    if (sets[capability / 32].permitted & (1U << capability % 32))
      check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0), "raise an ambient capability");
  }
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  int user = open_namespace(argv[1], "user"), network = open_namespace(argv[1], "net");
  check(setns(user, CLONE_NEWUSER), "enter the user namespace");
  check(setns(network, CLONE_NEWNET), "enter the network namespace");
  keep_capabilities();
  execvp(argv[2], argv + 2);
  perror(argv[2]);
  return 127;
}
