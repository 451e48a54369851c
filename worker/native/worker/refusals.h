// Refused system calls by their names. The filter of a sandbox tells the worker of them, seccomp_unotify(2):
// the kernel holds the caller until the worker has answered. It answers by EPERM, but for listen(2), which it
// lets through as long as there are not too many listeners (listeners.h); a caller that changes its memory
// meanwhile gains nothing, since no argument of listen is a pointer.
#pragma once

#include "common.h"
#include "listeners.h"

#include <linux/seccomp.h>

// One refusal of seccomp/policy.h: the number of the call, what its arguments are compared with, and its
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

// `socket(AF_VSOCK)`; never NULL.
const char *refusal_name(const struct seccomp_data *call);

// What a sandbox may cost its worker by calls that are refused, or that it has to count: so many at once, and
// so many a second in the long run. Returns false when it is used up.
struct refusal_budget {
  double left;
  uint64_t at_us;
};
bool refusal_spend(struct refusal_budget *budget, uint64_t at_us);

struct refusal_state {
  struct refusal_budget budget;
  struct listener_count listeners;
};

// Answers one call that waits at the listener, and gives its name, or NULL when there is none or it was let
// through. Never blocks. Sets `*over` when nobody is left who could make calls, or the budget is used up.
const char *refusal_answer(int listener, struct refusal_state *state, bool *over);
