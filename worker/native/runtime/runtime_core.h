// The part of a zygote and of its sandboxes that is the same for every language. A runtime links this, and adds only what its
// language needs: docs/runtime-protocol.md says what, from the fork to the exit. One process has one runtime, so there is one
// state behind these functions.
#pragma once

#include "common.h"
#include "zygote/zygote.h"

// Descriptor at which the launcher puts the control socket.
enum { RUNTIME_CONTROL_FD = 3 };

// In the zygote: serves the worker's orders. Returns 1 in each sandbox, prepared. In the zygote it returns 0 when the worker has
// closed the control socket, and -1 with a failure when it cannot go on. Called once, when the runtime is warm, has one thread and
// nothing in flight.
int runtime_serve(int control, const struct runtime_hooks *hooks, struct failure *failure);

// Descriptor of this sandbox's channel, or -1 in the zygote.
int runtime_channel(void);

// In a prepared sandbox: true if the function to run is known, so a warm-up would delay it.
bool runtime_is_told(void);

// In a prepared sandbox: blocks until the function is known, and returns when the sandbox may run it. Ends the process if the
// isolation fails, or if the worker needs no sandbox any more. No thread may have been started before.
void runtime_isolate(void);

// In a sandbox, before it starts an invocation that was handed ahead. Returns 1 if it may start (its turn is taken), and 0 if the
// worker has taken the invocation back. Returns -1 if the worker has yet to read earlier output: a later look is due.
int runtime_take_turn(void);

// 31 bits of getrandom(2): a seed without any state that is shared with other forks.
uint32_t runtime_random_seed(void);

// In the zygote, before it serves: drops mappings of files from the page table, to be faulted in again where they are used.
void runtime_forget_files(void);

// Two connected stream sockets, for a rehearsal against a fake worker in the zygote.
int runtime_socketpair(int ends[2], struct failure *failure);

// _exit(2): an exit of the language's own may join threads that a forked process does not have.
_Noreturn void runtime_exit(int code);

// Stops this thread for ever; the worker is about to end the sandbox.
_Noreturn void runtime_halt(void);
