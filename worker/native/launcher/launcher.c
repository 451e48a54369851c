// The launcher makes the outer user namespace of a runtime image and starts a zygote in it. It runs as the
// worker's ordinary user and owns nothing that outlives it.
//
//   worker                launcher                  init (PID 1)                zygote (PID 2)
//     | spawn --------------->|                          |                           |
//     |                       | clone(user,mnt,pid,...)->|                           |
//     |                       | newuidmap, newgidmap     | waits on the gate         |
//     |                       | gate ------------------->|                           |
//     |                       |                          | mounts, pivot_root        |
//     |                       |                          | fork -------------------->| no_new_privs, fork filter
//     |                       | waits for init           | reaps orphans             | exec of the runtime
//     |<==================== control socket (descriptor 3) =========================>|
//
// When the zygote ends, init ends, and with PID 1 every process of the namespace. When the worker or the
// launcher ends, init is killed by its parent-death signal; and the zygote sees its control socket close.
//
// Usage: launcher IMAGE STORE DEVICES UID_BASE UID_COUNT GID_BASE GID_COUNT -- PROGRAM [ARGUMENT...]
//
//   IMAGE    directory of the runtime image's root.
//   STORE    directory of the code of one namespace.
//   DEVICES  directory of sets of device files, 0/0 to 0/15, 1/0 to 1/15 and so on; the launcher takes one of them.
//   PROGRAM  path inside the image; the program gets descriptor 3 (control socket) and no environment.
#include "common.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CONTROL_FD = 3, FIRST_UNKNOWN_FD = 4 };

struct plan {
  const char *image;
  const char *store;
  const char *device_sets;
  const char *uid_base, *uid_count, *gid_base, *gid_count;
  char **program;
};

// One mount of the launcher's tree. Paths are relative to the image, which is the working directory then.
struct mount_step {
  const char *source, *target, *type;
  unsigned long flags;
  const char *options;
  enum { ALWAYS, MAKE_FILE } target_kind;
};

// The devices of a sandbox, in the order of their sources in build_root().
static const char *const device_names[] = {"null", "zero", "full", "random", "urandom"};
#define DEVICES (sizeof device_names / sizeof *device_names)
#define DEVICE_PATH_BYTES 4200
// Sets in a directory; infra/host/privileged.sh copies whole directories of them.
#define GROUP 16

// Ends a process that cannot go on. Three processes share this program's standard error, so each names itself.
static _Noreturn void exit_with(struct failure *failure, const char *process) {
  fail_in(failure, process);
  dprintf(STDERR_FILENO, "%s\n", failure->message);
  _exit(1);
}

static int run_helper(const char *helper, char *const arguments[], struct failure *failure) {
  pid_t pid = fork();
  if (pid < 0) return fail_errno(failure, "fork for %s", helper);
  if (pid == 0) {
    execvp(helper, arguments);
    _exit(127);
  }
  int status;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return fail_errno(failure, "wait for %s", helper);
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return fail(failure,
                "%s %s ended with status %d (is it installed, and has this user the range in /etc/subuid and "
                "/etc/subgid?)",
                helper, arguments[1], WIFEXITED(status) ? WEXITSTATUS(status) : -1);
  }
  return 0;
}

// Maps 0 to the worker's own id, and 1 and up to its sub-ids. The kernel lets only the setuid helpers write a map of
// more than one line. They check /etc/subuid, so the range was granted.
static int map_ids(const struct plan *plan, pid_t init, struct failure *failure) {
  char pid[16], uid[16], gid[16];
  snprintf(pid, sizeof pid, "%d", init);
  snprintf(uid, sizeof uid, "%u", getuid());
  snprintf(gid, sizeof gid, "%u", getgid());
  char *const uid_arguments[] = {
      "newuidmap", pid, "0", uid, "1", "1", (char *)plan->uid_base, (char *)plan->uid_count, NULL};
  if (run_helper("newuidmap", uid_arguments, failure) < 0) return -1;
  char *const gid_arguments[] = {
      "newgidmap", pid, "0", gid, "1", "1", (char *)plan->gid_base, (char *)plan->gid_count, NULL};
  return run_helper("newgidmap", gid_arguments, failure);
}

static int apply_mounts(const struct mount_step *steps, size_t count, struct failure *failure) {
  for (size_t i = 0; i < count; i++) {
    const struct mount_step *step = &steps[i];
    if (step->target_kind == MAKE_FILE) {
      FD_CLEANUP int fd = open(step->target, O_CREAT | O_WRONLY | O_CLOEXEC, 0444);
      if (fd < 0) return fail_errno(failure, "create mount point %s", step->target);
    }
    if (mount(step->source, step->target, step->type, step->flags, step->options) < 0) {
      return fail_errno(failure, "mount %s on %s", step->source ? step->source : step->type, step->target);
    }
    // A bind takes its flags only by a remount. A device on a read-only mount can still be written to.
    const unsigned long seal = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC;
    if (step->target_kind == MAKE_FILE && mount(NULL, step->target, NULL, seal, NULL) < 0)
      return fail_errno(failure, "seal %s", step->target);
  }
  return 0;
}

// True if a set has the same devices as the host's /dev, and its file system allows opening devices.
static bool is_set_of_devices(int set) {
  for (size_t i = 0; i < DEVICES; i++) {
    char of_host[32];
    struct stat wanted, found;
    snprintf(of_host, sizeof of_host, "/dev/%s", device_names[i]);
    FD_CLEANUP int fd = openat(set, device_names[i], O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &found) < 0 || stat(of_host, &wanted) < 0) return false;
    if (!S_ISCHR(found.st_mode) || found.st_rdev != wanted.st_rdev) return false;
  }
  return true;
}

// Takes a set of device files that no other launcher uses. All tenants would share the inodes of the host's own
// files: by locks on them they could pass each other messages, or block the host. A lock on the set's directory marks
// it as taken. This process and init hold the lock, so it ends with them. Without a free set, sandboxes get the
// host's devices.
static void take_devices(const struct plan *plan, char directory[DEVICE_PATH_BYTES]) {
  for (int number = 0;; number++) {
    snprintf(directory, DEVICE_PATH_BYTES, "%.4000s/%d/%d", plan->device_sets, number / GROUP,
             number % GROUP);
    int set = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (set < 0) break;
    // Stays open, because the lock ends with the descriptor.
    if (flock(set, LOCK_EX | LOCK_NB) == 0 && is_set_of_devices(set)) return;
    close(set);
  }
  fprintf(stderr, "launcher: no set of device files is free in %s: locks on devices are shared with others\n",
          plan->device_sets);
  snprintf(directory, DEVICE_PATH_BYTES, "/dev");
}

// The tree that every sandbox starts from: the image read-only, a /proc and a /dev of its own, and the code of one
// namespace. Sandboxes bind /dev as a whole, with five harmless devices. Nothing else of the host can be reached.
static int build_root(const struct plan *plan, const char *devices, struct failure *failure) {
  // First of all: nothing that is mounted here may travel back to the host. AppArmor may allow a user namespace and
  // yet refuse all power in it; this call is the first to fail then.
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
    return fail_namespaces(failure, "make / private");
  // pivot_root(2) needs a mount point. A bind of the image on itself is one, and it can be read-only in this mount
  // namespace alone.
  if (mount(plan->image, plan->image, NULL, MS_BIND, NULL) < 0)
    return fail_errno(failure, "bind image %s", plan->image);
  if (chdir(plan->image) < 0) return fail_errno(failure, "enter image %s", plan->image);

  char sources[DEVICES][DEVICE_PATH_BYTES + 16];
  for (size_t i = 0; i < DEVICES; i++)
    snprintf(sources[i], sizeof sources[i], "%s/%s", devices, device_names[i]);
  const struct mount_step steps[] = {
      // Code is read-only, and device files and set-id bits in it have no effect.
      {plan->store, "run/offshoot/store", NULL, MS_BIND, NULL, ALWAYS},
      {NULL, "run/offshoot/store", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL,
       ALWAYS},
      // A full /proc must be visible here. Otherwise the kernel refuses a /proc to the sandboxes
      // (mount_too_revealing).
      {"proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, ALWAYS},
      {"tmpfs", "dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k,nr_inodes=32", ALWAYS},
      {sources[0], "dev/null", NULL, MS_BIND, NULL, MAKE_FILE},
      {sources[1], "dev/zero", NULL, MS_BIND, NULL, MAKE_FILE},
      {sources[2], "dev/full", NULL, MS_BIND, NULL, MAKE_FILE},
      {sources[3], "dev/random", NULL, MS_BIND, NULL, MAKE_FILE},
      {sources[4], "dev/urandom", NULL, MS_BIND, NULL, MAKE_FILE},
  };
  if (apply_mounts(steps, sizeof steps / sizeof *steps, failure) < 0) return -1;
  const char *const links[][2] = {
      {"/proc/self/fd", "dev/fd"},
      {"/proc/self/fd/0", "dev/stdin"},
      {"/proc/self/fd/1", "dev/stdout"},
      {"/proc/self/fd/2", "dev/stderr"},
      // For shm_open(3) and browsers. The limits of /tmp hold for it as well.
      {"/tmp", "dev/shm"},
  };
  for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
    if (symlink(links[i][0], links[i][1]) < 0) return fail_errno(failure, "link %s", links[i][1]);
  }
  const struct mount_step seals[] = {
      // /dev is complete and can be sealed; sandboxes bind it and inherit the seal.
      {NULL, "dev", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC, NULL, ALWAYS},
      // The image comes last: the mounts above needed mount points inside it while it was still writable.
      {NULL, ".", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL, ALWAYS},
  };
  if (apply_mounts(seals, sizeof seals / sizeof *seals, failure) < 0) return -1;
  // From here on the host's tree is gone: the old root is stacked under the new one and detached, pivot_root(2).
  if (syscall(SYS_pivot_root, ".", ".") < 0) return fail_errno(failure, "pivot_root to %s", plan->image);
  if (umount2(".", MNT_DETACH) < 0) return fail_errno(failure, "detach the host's root");
  if (chdir("/") < 0) return fail_errno(failure, "enter the new root");
  return 0;
}

// Answers two calls of a runtime before it starts, because its forks would not survive them; all others pass.
//
//   madvise(.., MADV_DONTFORK)  V8 marks its heap so, and the child of a fork then lacks the heap. The answer is success,
//                               and the advice is not carried out.
//   io_uring_setup              libuv's rings are memory shared with the kernel: a fork would share them with the zygote.
//                               The answer is ENOSYS, from which libuv falls back.
//
// See ARCHITECTURE.md, "Fork, don't boot".
static int install_fork_filter(struct failure *failure) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 5),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 5, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 2),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MADV_DONTFORK, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
  };
  const struct sock_fprog program = {sizeof code / sizeof *code, code};
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
    return fail_errno(failure, "install the fork filter");
  return 0;
}

static int start_zygote(const struct plan *plan, struct failure *failure) {
  // The zygote dies with init, even if init is killed before it can do anything.
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) return fail_errno(failure, "set the parent-death signal");
  // Before the filter: an unprivileged process may install one only with no_new_privs. It also holds for every later
  // sandbox.
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return fail_errno(failure, "set no_new_privs");
  if (install_fork_filter(failure) < 0) return -1;
  // Besides stdio, the runtime gets descriptor 3 and no other.
  if (fcntl(CONTROL_FD, F_SETFD, 0) < 0) return fail_errno(failure, "pass on the control socket");
  char *const no_environment[] = {NULL};
  execve(plan->program[0], plan->program, no_environment);
  return fail_errno(failure, "exec %s in the image", plan->program[0]);
}

// PID 1 of the launcher's namespace: it reaps the orphans, and ends with the zygote's status.
static int run_init(const struct plan *plan, const char *devices, int gate, struct failure *failure) {
  char go;
  // The launcher writes the id maps from outside; before that this process has no id at all.
  ssize_t got = read(gate, &go, 1);
  if (got < 0) return fail_errno(failure, "wait for the id maps");
  if (got == 0) return fail(failure, "wait for the id maps: the launcher has closed the gate");
  close(gate);
  // Becomes root of the new user namespace: the zygote makes its privileged calls under these ids.
  if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
    return fail_errno(failure, "become root of the namespace");
  // After the change of ids, which clears it.
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) return fail_errno(failure, "set the parent-death signal");
  if (build_root(plan, devices, failure) < 0) return -1;
  // Standard input comes from the launcher and is the host's /dev/null, which every sandbox would inherit.
  FD_CLEANUP int input = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (input < 0 || dup2(input, STDIN_FILENO) < 0)
    return fail_errno(failure, "put its own /dev/null on descriptor 0");

  pid_t zygote = fork();
  if (zygote < 0) return fail_errno(failure, "fork the zygote");
  if (zygote == 0) {
    start_zygote(plan, failure);
    exit_with(failure, "zygote");
  }
  // Only the zygote may hold the control socket: each side learns of the other's end by its closing.
  close(CONTROL_FD);
  for (;;) {
    int status;
    pid_t pid = wait(&status);
    if (pid < 0 && errno != EINTR) return fail_errno(failure, "wait for the zygote");
    if (pid == zygote) _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  }
}

static int launch(const struct plan *plan, struct failure *failure) {
  // A zygote inherits only stdio and the control socket from the worker.
  if (syscall(SYS_close_range, FIRST_UNKNOWN_FD, ~0U, 0) < 0)
    return fail_errno(failure, "close inherited descriptors");
  if (fcntl(CONTROL_FD, F_SETFD, FD_CLOEXEC) < 0)
    return fail_errno(failure, "find the control socket on descriptor 3");
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) return fail_errno(failure, "set the parent-death signal");

  char devices[DEVICE_PATH_BYTES];
  take_devices(plan, devices);
  int gate[2];
  if (pipe2(gate, O_CLOEXEC) < 0) return fail_errno(failure, "make the gate");
  // One clone makes all namespaces. The kernel makes the user namespace first, so it owns the others,
  // user_namespaces(7).
  long flags =
      CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | SIGCHLD;
  pid_t init = (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);
  if (init < 0) return fail_namespaces(failure, "create namespaces");
  if (init == 0) {
    close(gate[1]);
    run_init(plan, devices, gate[0], failure);
    exit_with(failure, "init");
  }
  close(gate[0]);
  close(CONTROL_FD);
  if (map_ids(plan, init, failure) < 0) {
    kill(init, SIGKILL);
    return -1;
  }
  if (write_all(gate[1], "g", 1, failure) < 0) return -1;
  close(gate[1]);
  int status;
  while (waitpid(init, &status, 0) < 0) {
    if (errno != EINTR) return fail_errno(failure, "wait for init");
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv) {
  if (argc < 10 || strcmp(argv[8], "--") != 0) {
    fputs("usage: launcher IMAGE STORE DEVICES UID_BASE UID_COUNT GID_BASE GID_COUNT -- PROGRAM "
          "[ARGUMENT...]\n",
          stderr);
    return 2;
  }
  const struct plan plan = {argv[1], argv[2], argv[3], argv[4], argv[5], argv[6], argv[7], &argv[9]};
  struct failure failure = {0};
  int status = launch(&plan, &failure);
  if (status < 0) exit_with(&failure, "launcher");
  return status;
}
