// What a sandbox gives up of its own: keys, speculation with its neighbours, resources, and every privilege.
#include "sandbox.h"

#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOCKED_BYTES (64 * 1024)

// An anonymous session keyring in place of the one that came down from the worker's own session, in which a
// key of its user may be: a process that possesses a keyring may read what is in it. Made under the sandbox's
// own id, whose quota it counts for. Best effort, since not every kernel has keys; the filter refuses all
// access to keys anyway. Returns its number, or 0.
uint32_t sandbox_leave_session_keyring(void) {
  long serial = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
  return serial > 0 ? (uint32_t)serial : 0;
}

// Asks that branch predictors be kept apart from whoever else runs on this processor (IBPB and STIBP), for
// good. Best effort: many hosts decide it for all or not at all, so what holds in the end is reported. Store
// bypass (PR_SPEC_STORE_BYPASS) is left as it is: it leaks within one address space, where a sandbox holds
// nothing but its own, and the cure would slow down all memory accesses of a function. A flush of the L1D
// cache (PR_SPEC_L1D_FLUSH) protects whoever has a secret, which a sandbox has not; the host decides about
// it.
uint32_t sandbox_restrict_speculation(void) {
  prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH, PR_SPEC_FORCE_DISABLE, 0, 0);
  int state = prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH, 0, 0, 0);
  return state > 0 ? (uint32_t)state : 0;
}

// What the cgroup does not count, or counts too late. Left out on purpose:
//   RLIMIT_FSIZE     every file system that can be written to has its own size, and counts for the cgroup
//   RLIMIT_STACK     a stack is memory of the cgroup as any other
//   RLIMIT_AS        V8 reserves much more than it uses
//   RLIMIT_NPROC     counts an id, which is the sandbox's own; pids.max counts the sandbox
int sandbox_limit_resources(const struct sandbox_limits *asked, struct failure *failure) {
  // Nobody without power over the host may raise a hard limit: where the host gives fewer files than asked
  // for, that is the limit.
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
      // Queued signals and timers count for the id, and for the service user above it, whom all sandboxes
      // share: the worker gives each its part (worker/cgroup/user-limits.ts).
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
  // While CAP_SETPCAP is still held: root means nothing any more, and nothing can bring that back.
  const unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                             SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                             SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
  if (prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) < 0) return fail_errno(failure, "lock the secure bits");
  // The bounding set also needs CAP_SETPCAP, so it goes before the capabilities themselves. The first number
  // that the kernel does not know ends the list.
  for (unsigned long capability = 0; prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0; capability++) {
  }
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
    return fail_errno(failure, "clear ambient capabilities");
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct none[2] = {0};
  if (syscall(SYS_capset, &header, none) < 0) return fail_errno(failure, "drop capabilities");
  return 0;
}
