// Builds a sandbox out of a fresh fork of the zygote. The order is the security:
//
//   prepare   The cgroup comes first, so that nothing of the sandbox is ever unlimited. The cgroup namespace comes after it, so
//             that its root is the sandbox's own cgroup; the other namespaces are made together with it. Then the file system,
//             while this process is still root of the launcher's user namespace, which will own the mounts.
//   (wait)    A prepared sandbox rests here, in C, without a byte of a tenant.
//   isolate   Code, new root, then another identity and a user namespace of its own. That one is made last, so the sandbox has
//             no power over the namespaces around it. Then every privilege goes, the process looks at itself, and the system
//             call filter closes the door.
//
// Usually the parent writes the id maps. Here the process writes its own: user_namespaces(7) allows that for a single line that
// maps its own id. So each sandbox saves a round trip through the zygote.
#include "sandbox.h"

#include "layers.h"
#include "machine.h"
#include "network.h"
#include "runtime/channel.h"
#include "seccomp_filter.gen.h"
#include "zygote/messages.h"

#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/seccomp.h>

// Of Linux 6.16.
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

#define SCRATCH "/run/offshoot/scratch"
#define STORE "/run/offshoot/store"
// The overlay lies one level below the root of the mount namespace; see enter_root().
#define ROOT SCRATCH "/root"

// Id under which a function sees itself; every sandbox maps it to another id of the host.
#define INNER_ID 1000
#define SCRATCH_INODES "16384"

// A sandbox while it is built: the input of its stages, and the facts that they collect for ISOLATED.
struct build {
  const struct sandbox_order *order;
  const struct inherited_fds *inherited;
  const char *code, *hostname;
  const struct sandbox_limits *limits;
  int (*renew_loop)(void *);
  void *runtime;
  struct wire_isolated report;
};

struct stage {
  const char *name;
  int (*run)(struct build *build, struct failure *failure);
};

// Runs stages in their order, and fills in the microseconds of each. A failure begins with the name of its stage.
static int run_stages(const struct stage *stages, size_t count, struct build *build, uint32_t *took,
                      struct failure *failure) {
  for (size_t i = 0; i < count; i++) {
    uint64_t start = now_us();
    if (stages[i].run(build, failure) < 0) return fail_in(failure, stages[i].name);
    took[i] = (uint32_t)(now_us() - start);
  }
  return 0;
}

static int join_cgroups(struct build *build, struct failure *failure) {
  const struct sandbox_order *order = build->order;
  // The inherited stdio is the zygote's. The worker attributes output to a sandbox by these pipes.
  if (dup2(order->stdout_fd, STDOUT_FILENO) < 0 || dup2(order->stderr_fd, STDERR_FILENO) < 0)
    return fail_errno(failure, "take over stdout and stderr");
  // Programs open these pipes a second time, as /dev/stdout and /dev/stderr, and then the pipe's mode counts: the owner is the
  // worker's user, and the sandbox will be another. Nobody may open them for reading.
  if (fchmod(STDOUT_FILENO, 0222) < 0 || fchmod(STDERR_FILENO, 0222) < 0)
    return fail_errno(failure, "open stdout and stderr to writers");
  close(order->stdout_fd);
  close(order->stderr_fd);
  for (int i = 0; i < order->cgroup_count; i++) {
    // "0" names the writer itself. The worker opened the file, and its right to write came with the descriptor.
    if (write(order->cgroup_fds[i], "0", 1) != 1)
      return fail_errno(failure, "join cgroup %d of %d", i + 1, order->cgroup_count);
    close(order->cgroup_fds[i]);
  }
  // If the host runs out of memory, the kernel ends a sandbox first. Any process may raise this number; only a
  // privileged one may lower it again.
  return write_file("/proc/self/oom_score_adj", "1000", failure);
}

static int make_directories(const char *const *paths, size_t count, struct failure *failure) {
  for (size_t i = 0; i < count; i++) {
    if (mkdir(paths[i], 0755) < 0) return fail_errno(failure, "make directory %s", paths[i]);
  }
  return 0;
}

static int unshare_namespaces(struct build *build, struct failure *failure) {
  (void)build;
  // After joining: the root of a cgroup namespace is the cgroup at the moment of its creation, cgroup_namespaces(7).
  if (unshare(CLONE_NEWCGROUP | CLONE_NEWNS | (WITH_NETNS ? CLONE_NEWNET : 0) | CLONE_NEWIPC | CLONE_NEWUTS) <
      0)
    return fail_namespaces(failure, "unshare namespaces");
  return 0;
}

static int build_file_system(struct build *build, struct failure *failure) {
  const int scratch_mb = build->order->scratch_mb;
  char options[160];
  snprintf(options, sizeof options, "mode=755,size=%dm,nr_inodes=" SCRATCH_INODES, scratch_mb);
  // All that the sandbox writes lands in this file system and in /tmp. Both are bounded in bytes and in inodes. Their
  // memory counts for the sandbox's own cgroup, and they end with its mount namespace.
  if (mount("tmpfs", SCRATCH, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0)
    return fail_errno(failure, "mount tmpfs on " SCRATCH);
  static const char *const directories[] = {SCRATCH "/upper", SCRATCH "/work", ROOT};
  if (make_directories(directories, sizeof directories / sizeof *directories, failure) < 0) return -1;
  if (machine_prepare(SCRATCH "/upper", failure) < 0) return -1;
  // "/" is the image, read-only; an overlay does not show the mounts in it (proc, dev, store). An overlay inside a
  // user namespace needs userxattr, which also keeps trusted.* attributes out of use.
  if (mount("overlay", ROOT, "overlay", MS_NOSUID | MS_NODEV,
            "lowerdir=/,upperdir=" SCRATCH "/upper,workdir=" SCRATCH "/work,userxattr") < 0)
    return fail_errno(failure, "mount overlay on " ROOT);
  // Only processes, no files about the kernel; and only processes of this sandbox.
  if (mount("proc", ROOT "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "subset=pid,hidepid=ptraceable") <
      0)
    return fail_errno(failure, "mount proc");
  // The launcher's five devices and their read-only seal, as a whole.
  if (mount("/dev", ROOT "/dev", NULL, MS_BIND | MS_REC, NULL) < 0) return fail_errno(failure, "bind /dev");
  snprintf(options, sizeof options, "mode=1777,size=%dm,nr_inodes=" SCRATCH_INODES, scratch_mb);
  if (mount("tmpfs", ROOT "/tmp", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0)
    return fail_errno(failure, "mount tmpfs on /tmp");
  return 0;
}

static int bring_up_loopback(struct build *build, struct failure *failure) {
  (void)build;
  if (network_raise_loopback(failure) < 0) return -1;
  return network_limit_pending(NETWORK_LOOPBACK, failure);
}

int sandbox_prepare(const struct sandbox_order *order, uint32_t phases[PREPARED_PHASES],
                    struct failure *failure) {
  static const struct stage stages[] = {
      {"cgroup", join_cgroups},
      {"namespaces", unshare_namespaces},
      {"file system", build_file_system},
      {"loopback", bring_up_loopback},
  };
  _Static_assert(sizeof stages / sizeof *stages == PREPARED_PHASES, "PREPARED has a number for each stage");
  struct build build = {.order = order};
  return run_stages(stages, PREPARED_PHASES, &build, phases, failure);
}

int sandbox_await_function(const struct sandbox_order *order, char *code, char *hostname,
                           struct sandbox_limits *limits, struct failure *failure) {
  unsigned char frame[SPECIALISE_FRAME_BYTES];
  FD_CLEANUP int network = -1;
  int got = network_read_order(order->channel, frame, sizeof frame, &network, failure);
  if (got <= 0) return got;
  if (message_read_specialise(frame, code, hostname, limits, failure) < 0) return -1;
  // While this process still has power over the launcher's namespaces, and before a byte of the tenant's code.
  if (network < 0) return 1;
  if (network_join(network, ROOT, failure) < 0) return -1;
  // This is another network namespace, with the kernel's default buffers.
  if (network_limit_pending(NETWORK_OUTSIDE, failure) < 0) return -1;
  return 1;
}

static int mount_code(const char *code, struct failure *failure) {
  char source[sizeof STORE + SPECIALISE_CODE_BYTES + 1];
  snprintf(source, sizeof source, STORE "/%s", code);
  if (mount(source, ROOT "/var/task", NULL, MS_BIND, NULL) < 0)
    return fail_errno(failure, "bind code %s", source);
  // A bind takes its flags only by a remount.
  if (mount(NULL, ROOT "/var/task", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) < 0)
    return fail_errno(failure, "seal code %s", source);
  return 0;
}

// A sandbox is prepared before its function is known, and with that the sizes that the function may write. A tmpfs
// that is almost empty can be resized at any time. Both file systems are limited: besides /tmp, an image may have
// other directories that every user may write to, such as /var/tmp.
static int resize_writable(const struct sandbox_limits *limits, struct failure *failure) {
  char options[64];
  snprintf(options, sizeof options, "size=%um,nr_inodes=%u", limits->tmp_mb, limits->tmp_inodes);
  // A remount replaces all flags, so those of the first mount are repeated.
  if (mount(NULL, SCRATCH, NULL, MS_REMOUNT | MS_NOSUID | MS_NODEV, options) < 0)
    return fail_errno(failure, "limit " SCRATCH " to %s", options);
  const unsigned long programs = limits->tmp_programs ? 0 : MS_NOEXEC;
  if (mount(NULL, ROOT "/tmp", NULL, MS_REMOUNT | MS_NOSUID | MS_NODEV | programs, options) < 0)
    return fail_errno(failure, "limit /tmp to %s", options);
  return 0;
}

// The scratch file system becomes the root of the mount namespace, with the overlay as a directory in it. After the
// chroot below, this process's root differs from its namespace's root. To such a process the kernel refuses any
// further user namespace (user_namespaces(7), EPERM). That is the second barrier beside the system call filter.
static int enter_root(struct failure *failure) {
  if (chdir(SCRATCH) < 0) return fail_errno(failure, "enter " SCRATCH);
  if (syscall(SYS_pivot_root, ".", ".") < 0) return fail_errno(failure, "pivot_root to " SCRATCH);
  // The launcher's root now lies on top of the new one. Without it, no path leads to the store or to the image's own
  // mounts.
  if (umount2(".", MNT_DETACH) < 0) return fail_errno(failure, "detach the launcher's root");
  if (chdir("/") < 0) return fail_errno(failure, "enter the new root");
  return 0;
}

static int change_identity(struct build *build, struct failure *failure) {
  const uid_t id = build->order->uid;
  // Groups first: after the change of uid there is no right to drop them.
  if (setgroups(0, NULL) < 0) return fail_errno(failure, "drop groups");
  if (setresgid(id, id, id) < 0) return fail_errno(failure, "become group %u", id);
  if (setresuid(id, id, id) < 0) return fail_errno(failure, "become user %u", id);
  // An id without power in the launcher's user namespace makes this one, so it owns no namespace around it.
  if (unshare(CLONE_NEWUSER) < 0) return fail_namespaces(failure, "unshare the user namespace");
  // Every change of identity makes a process non-dumpable, and then its /proc files belong to root.
  if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0) return fail_errno(failure, "become dumpable");
  char map[48];
  snprintf(map, sizeof map, "%d %u 1", INNER_ID, id);
  // "deny" must precede an unprivileged gid map, user_namespaces(7).
  if (write_file("/root/proc/self/setgroups", "deny", failure) < 0) return -1;
  if (write_file("/root/proc/self/gid_map", map, failure) < 0) return -1;
  if (write_file("/root/proc/self/uid_map", map, failure) < 0) return -1;
  // Only now: a process in a chroot may not make a user namespace, and the one above is such a namespace.
  if (chroot("/root") < 0) return fail_errno(failure, "chroot into the overlay");
  if (chdir("/var/task") < 0) return fail_errno(failure, "enter /var/task");
  return 0;
}

// The kernel reports refused calls to the holder of the filter's listener, which answers them. The holder could also
// answer "go on". So the listener must leave this process before any code of a tenant runs.
static int send_listener(int socket, int listener, struct failure *failure) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof listener)];
  } ancillary = {0};
  struct iovec part = {"l", 1};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = sizeof ancillary};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof listener);
  memcpy(CMSG_DATA(header), &listener, sizeof listener);
  if (sendmsg(socket, &message, MSG_NOSIGNAL) != 1)
    return fail_errno(failure, "send the listener of the filter");
  return 0;
}

// The worker would close a socket that is sent down the channel, and close(2) may take as long as SO_LINGER says.
// Since Linux 6.16 the worker's end takes no descriptors (SO_PASSRIGHTS). On older kernels a socket may not linger:
// programs get the answer that there is no such option. This filter stands beside the main one: the stricter answer
// of the two counts, seccomp(2).
static int forbid_linger(struct failure *failure) {
  int any = 0;
  socklen_t length = sizeof any;
  FD_CLEANUP int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (probe < 0) return fail_errno(failure, "make a socket to ask for SO_PASSRIGHTS");
  if (getsockopt(probe, SOL_SOCKET, SO_PASSRIGHTS, &any, &length) == 0) return 0;
  // Compares the low halves of the arguments: level and option are 32 bits to the kernel.
  static struct sock_filter instructions[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_setsockopt, 0, 5),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SOL_SOCKET, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SO_LINGER, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOPROTOOPT),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const struct sock_fprog program = {sizeof instructions / sizeof *instructions, instructions};
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
    return fail_errno(failure, "forbid sockets to linger");
  return 0;
}

static int install_filter(const struct sandbox_order *order, struct failure *failure) {
  const struct sock_fprog program = {sizeof seccomp_filter / sizeof *seccomp_filter, seccomp_filter};
  // The kernel does not restart a call for every signal while the worker answers it (Linux 5.19).
  FD_CLEANUP int listener =
      (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                   SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program);
  if (listener < 0 && errno == EINVAL)
    listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
  // A process has one listener at most, and a container around the whole platform may hold it (EBUSY). Without a
  // listener, the kernel answers ENOSYS to the calls that would be reported.
  if (listener < 0 && errno == EBUSY) {
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
      return fail_errno(failure, "install the system call filter");
  } else if (listener < 0) {
    return fail_errno(failure, "install the system call filter with a listener");
  } else if (send_listener(order->refusals, listener, failure) < 0) {
    return -1;
  }
  close(order->refusals);
  return 0;
}

static int enter_code_root(struct build *build, struct failure *failure) {
  if (mount_code(build->code, failure) < 0) return -1;
  // While this process is still root of the namespace that owns the mounts.
  if (resize_writable(build->limits, failure) < 0) return -1;
  if (machine_tell(ROOT, build->hostname, build->limits, failure) < 0) return -1;
  // Needs power over the uts namespace, which ends with the change of identity.
  if (sethostname(build->hostname, strlen(build->hostname)) < 0) return fail_errno(failure, "set host name");
  return enter_root(failure);
}

static int part_from_zygote(struct build *build, struct failure *failure) {
  build->report.session_keyring = sandbox_leave_session_keyring();
  // A session of its own: no controlling terminal can reach it.
  if (setsid() < 0) return fail_errno(failure, "start a session");
  umask(022);
  if (WITH_CLOSE_RANGE && sandbox_renew_descriptors(build->order, build->inherited, failure) < 0) return -1;
  if (build->renew_loop && build->renew_loop(build->runtime) != 0)
    return fail(failure, "renew the event loop");
  return 0;
}

static int give_up_privileges(struct build *build, struct failure *failure) {
  if (sandbox_limit_resources(build->limits, failure) < 0) return -1;
  if (WITH_PRIVILEGE_DROP && sandbox_drop_privileges(failure) < 0) return -1;
  // The changes of identity have cleared this signal: the sandbox ends with its zygote.
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) return fail_errno(failure, "set the parent-death signal");
  // Before the filter, which does not allow this request; children inherit the setting.
  build->report.branch_speculation = sandbox_restrict_speculation();
  return 0;
}

static int restrict_files(struct build *build, struct failure *failure) {
  const int abi = WITH_LANDLOCK ? landlock_restrict(failure) : 0;
  build->report.landlock_abi = abi < 0 ? 0 : (uint32_t)abi;
  return abi < 0 ? -1 : 0;
}

static int audit_then_hide(struct build *build, struct failure *failure) {
  if (WITH_AUDIT &&
      sandbox_audit(build->order, build->inherited, (int)build->report.landlock_abi, failure) < 0)
    return -1;
  // For the isolation receipt. Read now, because soon only this process may read them.
  if (sandbox_namespaces(build->report.namespaces, ISOLATED_NAMESPACES, failure) < 0) return -1;
  // After the audit, which reads /proc/self: from now on no other process of the sandbox can read this one's memory.
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) return fail_errno(failure, "become non-dumpable");
  return 0;
}

static int install_filters(struct build *build, struct failure *failure) {
  if (!WITH_SECCOMP) return 0;
  if (forbid_linger(failure) < 0) return -1;
  return install_filter(build->order, failure);
}

int sandbox_isolate(const struct sandbox_order *order, const struct inherited_fds *inherited,
                    const char *code, const char *hostname, const struct sandbox_limits *limits,
                    int (*renew_loop)(void *), void *runtime, struct failure *failure) {
  static const struct stage stages[] = {
      {"root", enter_code_root},          // while this process is root of the namespace that owns the mounts.
      {"identity", change_identity},      // makes the last namespace, which has no power over the others.
      {"descriptors", part_from_zygote},  // as the new user, because a keyring counts for its owner.
      {"privileges", give_up_privileges}, // after the last step that needs one.
      {"landlock", restrict_files},       // after all that opens files for writing; needs only no_new_privs.
      {"audit", audit_then_hide},         // reads /proc/self, so before the process is non-dumpable.
      {"filter", install_filters},        // last, because it refuses the calls of the stages above.
  };
  _Static_assert(sizeof stages / sizeof *stages == ISOLATED_PHASES, "ISOLATED has a number for each stage");
  struct build build = {
      .order = order,
      .inherited = inherited,
      .code = code,
      .hostname = hostname,
      .limits = limits,
      .renew_loop = renew_loop,
      .runtime = runtime,
  };
  if (run_stages(stages, ISOLATED_PHASES, &build, build.report.phases, failure) < 0) return -1;
  struct wire_parts report;
  wire_put_isolated(&report, &build.report);
  return channel_send(order->channel, CHANNEL_ISOLATED, 0, &report, failure);
}
