// Count of a sandbox's listening sockets. The kernel charges no cgroup for a connection that waits at a listener, and
// its client may have closed it long ago. So a sandbox's use of the host's memory is bounded only by two numbers: its
// listeners, and the waiting connections of each (net.core.somaxconn, network.c).
#pragma once

#include "common.h"

#include <sys/types.h>

// Upper bound on a sandbox's listening sockets, IPv4 and IPv6 together.
#define MAX_LISTENERS 64

// Upper estimate of the listeners: the last count, plus every listen(2) allowed since then.
struct listener_count {
  unsigned most;
};

// Takes a place for one more listener if there is room. False means that only a recount can tell.
bool listener_fits(struct listener_count *count);

// Counts the listeners in the network namespace of `pid`, a process of the sandbox. The kernel searches the host's
// table of all connections for it, which takes milliseconds.
void listener_recount(struct listener_count *count, pid_t pid);

// Number of lines of a table in the form of /proc/PID/net/tcp, proc_pid_net(5), whose socket listens.
unsigned listeners_in(const char *table);
