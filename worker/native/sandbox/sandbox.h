// One sandbox, from the fork until it may run a function. See sandbox.c for the order and its reasons.
#pragma once

#include "common.h"
#include "protocol.gen.h"

#include <stdbool.h>
#include <sys/types.h>

// The zygote's own descriptors at the moment it starts to serve, when nothing is in flight, and a plan for each. A
// sandbox inherits all of them and carries out the plan, so that none stays shared. A shared epoll instance, for
// example, would let a sandbox change the set of events that the zygote waits for.
enum fd_action { FD_CLOSE, FD_FRESH_EVENT, FD_FRESH_EPOLL, FD_FRESH_TIMER, FD_FRESH_PIPE, FD_FRESH_SOCKET };
struct inherited_fds {
  int count;
  struct inherited_fd {
    int fd;
    enum fd_action action;
    int type;    // flags of an eventfd, clock of a timer, or type of a socket
    ino_t inode; // the same for both ends of a pipe
    int partner; // of a socket: index of the other end
    bool writes; // the write end of a pipe
    bool non_blocking;
  } entries[64];
  // Inodes of the zygote's own output, which no sandbox may keep.
  ino_t output[2];
};

// The content of a FORK message.
struct sandbox_order {
  uint32_t slot;
  uid_t uid;
  int scratch_mb;
  int channel, stdout_fd, stderr_fd;
  int turns;    // descriptor of the page of turns.h
  int refusals; // socket for the listener of the system call filter, see refusals.h
  int cgroup_count;
  int cgroup_fds[7];
};

// The limits in a SPECIALISE frame, in the order of its numbers.
struct sandbox_limits {
  uint32_t tmp_mb, tmp_inodes, open_files, pending_signals;
  uint32_t memory_mb, cpu_percent; // those of its cgroup, to be told to programs
  bool tmp_programs;               // may programs in /tmp be run?
};

// The first stages: cgroup, namespaces, root file system, loopback. Fills in the microseconds of each.
int sandbox_prepare(const struct sandbox_order *order, uint32_t phases[PREPARED_PHASES],
                    struct failure *failure);

// Waits, in C, until the worker names the function of this sandbox. Returns 1, or 0 if the worker has closed the
// channel.
int sandbox_await_function(const struct sandbox_order *order, char *code, char *hostname,
                           struct sandbox_limits *limits, struct failure *failure);

// The other stages: code, root, identity, descriptors, capabilities, self-audit, system call filter. Then reports
// ISOLATED. `renew_loop` replaces the parts of the runtime's event loop that are shared with the zygote; it runs after
// the renewal of the inherited descriptors and before the audit.
int sandbox_isolate(const struct sandbox_order *order, const struct inherited_fds *inherited,
                    const char *code, const char *hostname, const struct sandbox_limits *limits,
                    int (*renew_loop)(void *), void *runtime, struct failure *failure);

// In the zygote: plans what a future sandbox does with each descriptor that is open now, and marks each, so that a sandbox
// recognises it. `own`: those of the zygote itself, which a sandbox closes. Fails if a socket pair has unread bytes.
// descriptors.c
int sandbox_plan_descriptors(struct inherited_fds *plan, const int *own, int own_count,
                             struct failure *failure);

// Carries out the plan for the inherited descriptors, except the sandbox's own channel and refusals; opens descriptor
// 0 anew. descriptors.c
int sandbox_renew_descriptors(const struct sandbox_order *order, const struct inherited_fds *inherited,
                              struct failure *failure);

// For the audit: true if descriptor 0 is no open file of the zygote's. descriptors.c
bool sandbox_stdin_is_own(void);

// For the audit: refuses a descriptor beyond 2 whose kind has no place in a sandbox, that the zygote holds too, or that leads to
// another process. `link` is its text in /proc/self/fd. descriptors.c
int sandbox_check_descriptor(const struct inherited_fds *inherited, int fd, const char *link,
                             struct failure *failure);

// Parts of sandbox_isolate(). The first two are best effort and return the resulting state. privileges.c
uint32_t sandbox_leave_session_keyring(void);
uint32_t sandbox_restrict_speculation(void);
int sandbox_limit_resources(const struct sandbox_limits *asked, struct failure *failure);
int sandbox_drop_privileges(struct failure *failure);

// Fills in the inode numbers of the process's own namespaces, in the order of contract/functions/isolation.ts.
// audit.c
int sandbox_namespaces(uint32_t *numbers, int count, struct failure *failure);

// Puts the rules of landlock.c on this process and on all that it will start. Returns the ABI of the rules, or 0 if
// the kernel has none of use.
int landlock_restrict(struct failure *failure);

// The self-audit: descriptors, capabilities, no_new_privs, nested user namespaces, root, and Landlock if it is in
// force. audit.c
int sandbox_audit(const struct sandbox_order *order, const struct inherited_fds *inherited, int landlock_abi,
                  struct failure *failure);
