// One sandbox, from the fork to the point where it may run a function. See sandbox.c for the order and its
// reasons.
#pragma once

#include "common.h"

#include <stdbool.h>
#include <sys/types.h>

// What the zygote knows of its own descriptors at the moment it starts to serve, when nothing is in flight. A
// sandbox inherits all of them and carries out this plan, so that none stays shared: a shared epoll instance
// would let a sandbox change what the zygote waits for.
struct inherited_fds {
  int count;
  struct inherited_fd {
    int fd;
    enum { FD_CLOSE, FD_FRESH_EVENT, FD_FRESH_EPOLL, FD_FRESH_PIPE } action;
    // Of a pipe: which one, and which end of it.
    ino_t pipe;
    bool writes;
  } entries[64];
  // The zygote's own output, which no sandbox may keep.
  ino_t output[2];
};

// What a FORK message carries.
struct sandbox_order {
  uint32_t slot;
  uid_t uid;
  int scratch_mb;
  int channel, stdout_fd, stderr_fd;
  int turns;    // the page of turns.h
  int refusals; // takes the listener of the system call filter, see refusals.h
  int cgroup_count;
  int cgroup_fds[7];
};

// What a SPECIALISE frame says of the function's limits, in the order of its numbers.
struct sandbox_limits {
  uint32_t tmp_mb, tmp_inodes, open_files, pending_signals;
};

enum { SANDBOX_PREPARE_PHASES = 4 };

// Steps 3 and 4: cgroup, namespaces, root file system. Gives the microseconds of each phase.
int sandbox_prepare(const struct sandbox_order *order, uint32_t phases[SANDBOX_PREPARE_PHASES],
                    struct failure *failure);

// Waits, in C, until the worker says which function this sandbox shall run. Returns 1, or 0 when the worker
// has closed the channel.
int sandbox_await_function(const struct sandbox_order *order, char *code, char *hostname,
                           struct sandbox_limits *limits, struct failure *failure);

// Steps 5 to 8: code, root, identity, descriptors, capabilities, self-audit, system call filter. Then reports
// ISOLATED. `loop_fork` replaces what the runtime's event loop shares with the zygote; it is called when the
// inherited descriptors have been renewed and before the audit.
int sandbox_isolate(const struct sandbox_order *order, const struct inherited_fds *inherited,
                    const char *code, const char *hostname, const struct sandbox_limits *limits,
                    int (*loop_fork)(void *), void *loop, struct failure *failure);

// In the zygote: notes what its descriptors 0 to 2 are, and marks 0, so that the audit of a sandbox knows
// them again. descriptors.c
int sandbox_note_stdio(struct inherited_fds *inherited, struct failure *failure);
bool sandbox_stdin_is_own(void);

// Carries out the plan for what it has inherited, but for its own channel and refusals; opens descriptor 0
// anew. descriptors.c
int sandbox_renew_descriptors(const struct sandbox_order *order, const struct inherited_fds *inherited,
                              struct failure *failure);

// Parts of sandbox_isolate(), of which the first two are best effort and give what holds in the end.
// privileges.c
uint32_t sandbox_leave_session_keyring(void);
uint32_t sandbox_restrict_speculation(void);
int sandbox_limit_resources(const struct sandbox_limits *asked, struct failure *failure);
int sandbox_drop_privileges(struct failure *failure);

// Fills in the inode numbers of its own namespaces, in the order of contract/isolation.ts. audit.c
int sandbox_namespaces(uint32_t *numbers, int count, struct failure *failure);

// Writes a channel frame, see contract/channel.ts.
int sandbox_send(int channel, uint8_t kind, const void *payload, size_t length, struct failure *failure);

// Puts the rules of landlock.c on this process and all that it will start. Returns the ABI that they are
// written in, or 0 where the kernel has none that is of use.
int landlock_restrict(struct failure *failure);

// Step 7's check of itself: descriptors, capabilities, no_new_privs, nested user namespaces, root, and
// Landlock where it is in force. audit.c
int sandbox_audit(const struct sandbox_order *order, const struct inherited_fds *inherited, int landlock_abi,
                  struct failure *failure);
