// Refused system calls by their names. The filter of a sandbox reports them to the worker, seccomp_unotify(2): the
// kernel holds the caller until the worker has answered. The answer is EPERM. Only listen(2) is allowed below a
// number of listeners (listeners.h). No argument of listen is a pointer, so a caller gains nothing by changing its
// memory meanwhile.
#pragma once

#include "common.h"
#include "listeners.h"

#include <linux/seccomp.h>

// One refusal of seccomp/policy.h: the number of the call, the values that its arguments are compared with, and its
// name.
struct refused_call {
  int number;
  unsigned comparison_count;
  struct {
    unsigned argument;
    uint64_t mask, value;
  } comparisons[2];
  const char *name;
};

// Name of a refused call, as in `socket(AF_VSOCK)`; never NULL.
const char *refusal_name(const struct seccomp_data *call);

// Budget of a sandbox for calls that the worker refuses or counts: a burst, refilled at a fixed rate. refusal_spend()
// returns false when it is used up.
struct refusal_budget {
  double left;
  uint64_t at_us;
};
bool refusal_spend(struct refusal_budget *budget, uint64_t at_us);

struct refusal_state {
  struct refusal_budget budget;
  struct listener_count listeners;
};

// Answers one call that waits at the listener. Returns its name, or NULL if there was no call or it was allowed.
// Never blocks. Sets `*over` if no process is left that could make calls, or if the budget is used up.
const char *refusal_answer(int listener, struct refusal_state *state, bool *over);
