// The zygote's loop: a warm runtime blocks in zygote_serve(), which returns once in each sandbox that it forks.
#pragma once

#include "common.h"
#include "sandbox/sandbox.h"
#include "sandbox/turns.h"

struct zygote {
  int control;      // socket to the worker
  int child_events; // read end of the pipe to which the SIGCHLD handler writes
  int pid_namespace;
  pid_t *pids; // by slot; 0 where there is no sandbox
  uint32_t slots;
  struct inherited_fds inherited;
  int (*loop_fork)(void *); // makes the runtime's event loop the child's own
  void *loop;
  uint32_t phases[SANDBOX_PREPARE_PHASES]; // in a sandbox: what PREPARED reports
  struct turns *turns;                     // in a sandbox: the count of calls that were handed ahead
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
