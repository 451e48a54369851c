// The steps by which a sandbox gives up keys, shared branch prediction, resources, and every privilege.
#include "sandbox.h"

#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOCKED_BYTES (64 * 1024)

// Replaces the session keyring by an anonymous one. The inherited keyring is that of the worker's own session. A key
// of the worker's user may be in it, and a process that possesses a keyring may read its keys. The new one is made
// under the sandbox's own id, and counts for the quota of that id. Best effort, since not every kernel has keys; the
// filter refuses all access to keys anyway. Returns the keyring's number, or 0.
uint32_t sandbox_leave_session_keyring(void) {
  long serial = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
  return serial > 0 ? (uint32_t)serial : 0;
}

// Asks the kernel to keep branch predictors apart from other processes on this processor (IBPB and STIBP), for good.
// Best effort: many hosts decide this for all processes or not at all, so the resulting state is reported.
//
// Store bypass (PR_SPEC_STORE_BYPASS) stays as it is. It leaks within one address space, and a sandbox's holds only
// its own data. The mitigation would slow down all memory accesses of a function. A flush of the L1D cache
// (PR_SPEC_L1D_FLUSH) protects the process that has a secret, and a sandbox has none; the host decides about it.
uint32_t sandbox_restrict_speculation(void) {
  prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH, PR_SPEC_FORCE_DISABLE, 0, 0);
  int state = prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH, 0, 0, 0);
  return state > 0 ? (uint32_t)state : 0;
}

// Limits of resources that the cgroup does not count, or counts too late. These are left out on purpose:
//
//   RLIMIT_FSIZE   Every writable file system has a size of its own, and counts for the cgroup.
//   RLIMIT_STACK   A stack is memory of the cgroup like any other.
//   RLIMIT_AS      V8 reserves much more than it uses.
//   RLIMIT_NPROC   It counts an id, which is the sandbox's own; pids.max counts the sandbox.
int sandbox_limit_resources(const struct sandbox_limits *asked, struct failure *failure) {
  // Only a process with power over the host may raise a hard limit. If the host allows fewer files than the function
  // asks for, the host's number is the limit.
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) < 0) return fail_errno(failure, "read the limit of open files");
  if (files.rlim_max > asked->open_files) files.rlim_max = asked->open_files;
  struct rlimit signals;
  if (getrlimit(RLIMIT_SIGPENDING, &signals) < 0)
    return fail_errno(failure, "read the limit of pending signals");
  if (signals.rlim_max > asked->pending_signals) signals.rlim_max = asked->pending_signals;
  const struct {
    int resource;
    rlim_t value;
    const char *name;
  } limits[] = {
      {RLIMIT_CORE, 0, "core files"},
      {RLIMIT_NOFILE, files.rlim_max, "open files"},
      {RLIMIT_MEMLOCK, LOCKED_BYTES, "locked memory"},
      {RLIMIT_MSGQUEUE, 0, "message queues"},
      // Queued signals and timers count for the id, and for the service user, which all sandboxes share. The worker
      // gives each sandbox a part (worker/cgroup/user-limits.ts).
      {RLIMIT_SIGPENDING, signals.rlim_max, "pending signals"},
      {RLIMIT_RTPRIO, 0, "real-time priority"},
      {RLIMIT_NICE, 0, "nice"},
  };
  for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
    const struct rlimit limit = {limits[i].value, limits[i].value};
    if (setrlimit(limits[i].resource, &limit) < 0) return fail_errno(failure, "limit %s", limits[i].name);
  }
  return 0;
}

int sandbox_drop_privileges(struct failure *failure) {
  // While CAP_SETPCAP is still held. From here on, root has no special power, and no later call can restore it.
  const unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                             SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                             SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
  if (prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) < 0) return fail_errno(failure, "lock the secure bits");
  // The bounding set also needs CAP_SETPCAP, so it goes before the capabilities themselves. The first unknown number
  // ends the list.
  for (unsigned long capability = 0; prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0; capability++) {
  }
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
    return fail_errno(failure, "clear ambient capabilities");
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct none[2] = {0};
  if (syscall(SYS_capset, &header, none) < 0) return fail_errno(failure, "drop capabilities");
  return 0;
}
