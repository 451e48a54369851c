// The zygote's loop: a warm runtime blocks in zygote_serve() and returns from it once in each sandbox that it
// forks.
#pragma once

#include "common.h"
#include "sandbox.h"
#include "turns.h"

struct zygote {
  int control;      // socket to the worker
  int child_events; // read end of the pipe that SIGCHLD writes to
  int pid_namespace;
  pid_t *pids; // by slot; 0 where there is no sandbox
  uint32_t slots;
  struct inherited_fds inherited;
  int (*loop_fork)(void *); // makes the runtime's event loop the child's own
  void *loop;
  uint32_t phases[SANDBOX_PREPARE_PHASES]; // in a sandbox: what PREPARED reports
  struct turns *turns;                     // in a sandbox: the count of calls handed ahead
};

// Takes over the control socket. To be called once, when the runtime is warm and nothing is in flight.
int zygote_open(struct zygote *zygote, int control, struct failure *failure);

// Serves orders until the worker closes the control socket. Returns 0 then; returns 1 in a new sandbox that
// is prepared, with the order it was made by in `*order`; returns -1 with a failure when it cannot go on.
int zygote_serve(struct zygote *zygote, struct sandbox_order *order, struct failure *failure);

// In a prepared sandbox: has the worker said already which function it shall run?
bool zygote_is_told(const struct sandbox_order *order);

// In a prepared sandbox: reports PREPARED, waits until it is told its function, and returns when it is
// isolated and may run it. Ends the process when that fails, or when the worker wants it no more. Until it is
// called nothing of a tenant may have been read, and no thread may have been started: a process with threads
// cannot change its user namespace.
void zygote_isolate(struct zygote *zygote, const struct sandbox_order *order);
