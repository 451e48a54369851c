// The zygote's loop: a warm runtime blocks in zygote_serve(), which returns once in each sandbox that it forks.
#pragma once

#include "common.h"
#include "runtime/turns.h"
#include "sandbox/sandbox.h"

// Additions of a language to the life of its zygote. Any of them may be NULL. They run in the thread that serves.
struct runtime_hooks {
  // In the zygote, right before each fork, and right after it in `before_fork`'s process, also when the fork failed. Locks that
  // the first takes, the second gives back.
  void (*before_fork)(void *runtime);
  void (*after_fork_in_zygote)(void *runtime);
  // In the sandbox, once it has joined its cgroups and before it waits for its function: memory counts for the sandbox, and
  // the time is that of the preparation. No byte of a tenant is there yet. It may start no thread.
  void (*after_fork_in_sandbox)(void *runtime);
  // In the sandbox, when the inherited descriptors have been renewed and before the audit: makes the event loop the sandbox's
  // own, for example registers the renewed descriptors with the renewed, empty epoll set. Returns 0, or another value on failure.
  int (*renew_loop)(void *runtime);
  void *runtime; // passed to each of them
};

struct zygote {
  int control;      // socket to the worker
  int child_events; // read end of the pipe to which the SIGCHLD handler writes
  int pid_namespace;
  pid_t *pids; // by slot; 0 where there is no sandbox
  uint32_t slots;
  struct inherited_fds inherited;
  struct runtime_hooks hooks;
  struct wire_prepared prepared; // in a sandbox: the report of its preparation
  struct turns *turns;           // in a sandbox: the count of calls that were handed ahead
};

// Takes over the control socket. Called once, when the runtime is warm and nothing is in flight.
int zygote_open(struct zygote *zygote, int control, struct failure *failure);

// Serves orders until the worker closes the control socket, and returns 0 then. Returns 1 in a new sandbox, prepared,
// with its order in `*order`. Returns -1 with a failure when it cannot go on.
int zygote_serve(struct zygote *zygote, struct sandbox_order *order, struct failure *failure);

// In a prepared sandbox: true if the worker has already named the function to run.
bool zygote_is_told(const struct sandbox_order *order);

// In a prepared sandbox: reports PREPARED, waits for its function, and returns when it is isolated and may run it.
// Ends the process if that fails, or if the worker does not need it any more. Before this call no byte of a tenant
// may have been read. Nor may a thread have been started: a process with threads cannot change its user namespace.
void zygote_isolate(struct zygote *zygote, const struct sandbox_order *order);
