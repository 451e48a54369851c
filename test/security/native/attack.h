// Shared parts of the attacks. An attack makes attempts and prints the result of each. The test outside
// decides whether that is a breach, because a program that was taken over would not judge itself.
#pragma once

#include <errno.h>
#include <stdio.h>

struct attack {
  // Stream for the attempts, one JSON object a line.
  FILE *out;
  int argc;
  char **argv;
};

// An attempt that ended with `result`; negative is failure, and `error` is then errno.
void told(const struct attack *attack, const char *call, long result, int error);
// A fact that the test compares.
void fact(const struct attack *attack, const char *call, const char *value);
void fact_number(const struct attack *attack, const char *call, long value);
// Runs `work` in a child process, because it may not survive; prints its result, its errno or the signal
// that ended it.
void in_child(const struct attack *attack, const char *call, long (*work)(const void *),
              const void *argument);

long write_to(const char *path, const char *text);
// The content of a small file as a fact, or the failure to read it.
void tell_file(const struct attack *attack, const char *path);
void tell_link(const struct attack *attack, const char *path);

#define TRY(attack, call, expression)                                                                        \
  do {                                                                                                       \
    errno = 0;                                                                                               \
    long result_ = (long)(expression);                                                                       \
    told(attack, call, result_, errno);                                                                      \
  } while (0)

struct scenario {
  const char *id;
  void (*run)(const struct attack *attack);
};
// The last entry has no id.
extern const struct scenario process_scenarios[], file_scenarios[], call_scenarios[], memory_scenarios[],
    quota_scenarios[], shared_scenarios[];

// Runs the scenario of that id; -1 when there is none.
int attack_run(const char *id, const struct attack *attack);
