// A: Linux namespaces, processes, credentials.
#include "attack.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static const struct {
  const char *name;
  unsigned long flag;
} namespaces[] = {
    {"user", CLONE_NEWUSER}, {"pid", CLONE_NEWPID}, {"mnt", CLONE_NEWNS},        {"net", CLONE_NEWNET},
    {"ipc", CLONE_NEWIPC},   {"uts", CLONE_NEWUTS}, {"cgroup", CLONE_NEWCGROUP},
};
#define NAMESPACES (sizeof namespaces / sizeof *namespaces)

static void namespace_ids(const struct attack *attack) {
  for (size_t i = 0; i < NAMESPACES; i++) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/ns/%s", namespaces[i].name);
    tell_link(attack, path);
  }
}

static void status(const struct attack *attack) {
  tell_file(attack, "/proc/self/status");
}

static void identity(const struct attack *attack) {
  tell_file(attack, "/proc/self/uid_map");
  tell_file(attack, "/proc/self/gid_map");
  tell_file(attack, "/proc/self/setgroups");
  TRY(attack, "write uid_map", write_to("/proc/self/uid_map", "0 0 1"));
  TRY(attack, "write gid_map", write_to("/proc/self/gid_map", "0 0 1"));
  TRY(attack, "write setgroups", write_to("/proc/self/setgroups", "allow"));
  TRY(attack, "setuid(0)", syscall(SYS_setuid, 0));
  TRY(attack, "setgid(0)", syscall(SYS_setgid, 0));
  TRY(attack, "setresuid(0)", syscall(SYS_setresuid, 0, 0, 0));
  TRY(attack, "setresgid(0)", syscall(SYS_setresgid, 0, 0, 0));
  const gid_t groups[] = {0};
  TRY(attack, "setgroups(0)", syscall(SYS_setgroups, 1, groups));
  TRY(attack, "chown to root",
      write_to("/tmp/a3", "x") < 0 && creat("/tmp/a3", 0600) < 0 ? -1 : chown("/tmp/a3", 0, 0));
}

// Started from a file with the set-id bits or with capabilities.
static void effective_identity(const struct attack *attack) {
  fact_number(attack, "ruid", getuid());
  fact_number(attack, "euid", geteuid());
  fact_number(attack, "egid", getegid());
  status(attack);
}

// On the host's side: gives a file every capability, so that A4 has something to exec.
static void plant_capabilities(const struct attack *attack) {
  const struct vfs_cap_data all = {
      .magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE,
      .data = {{~0U, ~0U}, {0x1ff, 0x1ff}},
  };
  TRY(attack, "setxattr", setxattr(attack->argv[0], "security.capability", &all, sizeof all, 0));
}

static long clone_with(const void *argument) {
  unsigned long flags = *(const unsigned long *)argument;
  long pid = syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, NULL);
  if (pid == 0) _exit(0);
  return pid;
}

static long clone3_with(const void *argument) {
  struct clone_args arguments = {.flags = *(const unsigned long *)argument, .exit_signal = SIGCHLD};
  long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid == 0) _exit(0);
  return pid;
}

static long unshare_flags(const void *argument) {
  return syscall(SYS_unshare, *(const unsigned long *)argument);
}

static void nested_namespaces(const struct attack *attack) {
  for (size_t i = 0; i < NAMESPACES; i++) {
    const unsigned long flags[] = {namespaces[i].flag, namespaces[i].flag | CLONE_NEWUSER};
    for (size_t with = 0; with < 2; with++) {
      char call[64];
      const char *user = with ? "user+" : "";
      snprintf(call, sizeof call, "unshare(%s%s)", user, namespaces[i].name);
      in_child(attack, call, unshare_flags, &flags[with]);
      snprintf(call, sizeof call, "clone(%s%s)", user, namespaces[i].name);
      in_child(attack, call, clone_with, &flags[with]);
      snprintf(call, sizeof call, "clone3(%s%s)", user, namespaces[i].name);
      in_child(attack, call, clone3_with, &flags[with]);
    }
  }
  // The filter inspects the lower half of the flags.
  const unsigned long high = CLONE_NEWUSER | (1UL << 32);
  in_child(attack, "unshare(user) with the upper half set", unshare_flags, &high);
}

static void join_namespaces(const struct attack *attack) {
  const char *const owners[] = {"self", "1", "thread-self"};
  for (size_t owner = 0; owner < 3; owner++) {
    for (size_t i = 0; i < NAMESPACES; i++) {
      char path[64];
      snprintf(path, sizeof path, "/proc/%s/ns/%s", owners[owner], namespaces[i].name);
      int fd = open(path, O_RDONLY | O_CLOEXEC);
      if (fd < 0) {
        told(attack, path, -1, errno);
        continue;
      }
      TRY(attack, path, syscall(SYS_setns, fd, 0));
      close(fd);
    }
  }
  for (int pid = 1; pid <= 4; pid++) {
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0) continue;
    TRY(attack, "setns(pidfd)", syscall(SYS_setns, fd, CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWNET));
    close(fd);
  }
}

static void see_processes(const struct attack *attack) {
  for (pid_t pid = 1; pid <= 32768; pid++) {
    if (kill(pid, 0) == 0)
      fact_number(attack, "alive", pid);
    else if (errno != ESRCH)
      fact_number(attack, "signal forbidden, so it is there", pid);
  }
  DIR *directory = opendir("/proc");
  const struct dirent *entry;
  while (directory && (entry = readdir(directory))) {
    if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9') fact(attack, "listed", entry->d_name);
  }
  if (directory) closedir(directory);
  fact_number(attack, "self", getpid());
  fact_number(attack, "parent", getppid());
}

static void look_into(const struct attack *attack, pid_t pid) {
  char call[96], path[64], byte;
  struct iovec here = {&byte, 1}, there = {(void *)0x400000, 1};
#define TRY_PID(name, expression)                                                                            \
  snprintf(call, sizeof call, name " %d", pid);                                                              \
  TRY(attack, call, expression)
  TRY_PID("ptrace attach", ptrace(PTRACE_ATTACH, pid, 0, 0));
  TRY_PID("ptrace seize", ptrace(PTRACE_SEIZE, pid, 0, 0));
  TRY_PID("process_vm_readv", syscall(SYS_process_vm_readv, pid, &here, 1, &there, 1, 0));
  TRY_PID("process_vm_writev", syscall(SYS_process_vm_writev, pid, &here, 1, &there, 1, 0));
  int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  TRY_PID("pidfd_getfd", syscall(SYS_pidfd_getfd, pidfd, 0, 0));
  if (pidfd >= 0) close(pidfd);
  TRY_PID("kcmp", syscall(SYS_kcmp, getpid(), pid, 0, 0, 0));
  const char *const files[] = {"mem", "environ", "fd/0", "root/etc/hostname", "cwd/index.mjs", "map_files"};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    snprintf(path, sizeof path, "/proc/%d/%s", pid, files[i]);
    TRY(attack, path, open(path, O_RDONLY | O_CLOEXEC));
  }
}

// The sandbox's own PID 1, which is not dumpable, and the processes that the test names: those of the host.
static void look_into_others(const struct attack *attack) {
  look_into(attack, 1);
  for (int i = 0; i < attack->argc; i++)
    look_into(attack, atoi(attack->argv[i]));
}

static void kill_all(const struct attack *attack) {
  TRY(attack, "kill(-1, SIGKILL)", kill(-1, SIGKILL));
  TRY(attack, "kill(1, SIGKILL)", kill(1, SIGKILL));
  for (int i = 0; i < attack->argc; i++)
    TRY(attack, "kill(host pid)", kill(atoi(attack->argv[i]), SIGKILL));
}

static void orphans(const struct attack *attack) {
  int made = 0;
  for (int i = 0; i < 500; i++) {
    pid_t parent = fork();
    if (parent == 0) _exit(fork() < 0 ? 1 : 0);
    if (parent < 0) continue;
    int ended = 0;
    waitpid(parent, &ended, 0);
    if (WIFEXITED(ended) && WEXITSTATUS(ended) == 0) made++;
  }
  fact_number(attack, "orphans", made);
}

static void daemonise(const struct attack *attack) {
  fflush(attack->out);
  pid_t child = fork();
  if (child != 0) {
    waitpid(child, NULL, 0);
    fact(attack, "daemon", child > 0 ? "started" : "refused");
    return;
  }
  setsid();
  if (fork() != 0) _exit(0);
  for (int signal_number = 1; signal_number < 65; signal_number++)
    signal(signal_number, SIG_IGN);
  close(0), close(1), close(2);
  for (;;)
    pause();
}

static long connect_to(uint16_t port) {
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  long result = fd < 0 ? -1 : connect(fd, (struct sockaddr *)&address, sizeof address);
  int error = errno;
  if (fd >= 0) close(fd);
  errno = error;
  return result;
}

static void wake_inspector(const struct attack *attack) {
  kill(1, SIGUSR1);
  usleep(300 * 1000);
  TRY(attack, "connect 127.0.0.1:9229", connect_to(9229));
}

static long segfault(const void *argument) {
  (void)argument;
  *(volatile int *)8 = 1;
  return 0;
}

static void dump_core(const struct attack *attack) {
  const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
  struct rlimit core;
  getrlimit(RLIMIT_CORE, &core);
  fact_number(attack, "core limit", (long)core.rlim_max);
  TRY(attack, "raise the core limit", setrlimit(RLIMIT_CORE, &unlimited));
  TRY(attack, "prctl(PR_SET_DUMPABLE)", prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
  TRY(attack, "write coredump_filter of PID 1", write_to("/proc/1/coredump_filter", "0xff"));
  in_child(attack, "SIGSEGV", segfault, NULL);
}

static void directory_links(const struct attack *attack) {
  tell_link(attack, "/proc/self/cwd");
  tell_link(attack, "/proc/self/root");
  tell_link(attack, "/proc/self/exe");
  char directory[4096];
  fact(attack, "getcwd", getcwd(directory, sizeof directory) ? directory : "none");
  struct stat root, above;
  stat("/", &root);
  for (int i = 0; i < 64; i++)
    (void)!chdir("..");
  stat(".", &above);
  fact(attack, "getcwd above", getcwd(directory, sizeof directory) ? directory : "none");
  fact(attack, "above the root",
       root.st_ino == above.st_ino && root.st_dev == above.st_dev ? "the root" : "elsewhere");
  int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  struct stat through;
  fact(attack, "openat above the root",
       fstatat(fd, "../../../../..", &through, 0) == 0 && through.st_ino == root.st_ino ? "the root"
                                                                                        : "elsewhere");
  close(fd);
}

const struct scenario process_scenarios[] = {
    {"A1", namespace_ids},
    {"A2", status},
    {"A3", identity},
    {"A4", effective_identity},
    {"plant-capabilities", plant_capabilities},
    {"A5", nested_namespaces},
    {"A6", join_namespaces},
    {"A7", see_processes},
    {"A8", look_into_others},
    {"A9", kill_all},
    {"A10", orphans},
    {"A11", daemonise},
    {"A12", wake_inspector},
    {"A13", dump_core},
    {"A14", directory_links},
    {NULL, NULL},
};
