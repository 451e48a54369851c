// Listening sockets of a sandbox, counted. A connection that waits at a listener to be accepted is memory
// that the kernel charges to nobody, and its client may have closed and be gone: only the number of
// listeners, and of connections that wait at each (net.core.somaxconn, network.c), bounds what a sandbox can
// take of the host.
#pragma once

#include "common.h"

#include <sys/types.h>

// Sockets that may listen at the same time, IPv4 and IPv6 together.
#define MAX_LISTENERS 64

// Listeners that there may be: those counted last, and each since that was let through.
struct listener_count {
  unsigned most;
};

// May a socket more listen? True takes the place. False where only counting can tell.
bool listener_fits(struct listener_count *count);

// Counts the listeners in the network namespace of `pid`, a process of the sandbox. The kernel looks through
// the table of all connections of the host for it, which takes milliseconds.
void listener_recount(struct listener_count *count, pid_t pid);

// Lines of a table as /proc/PID/net/tcp has them, proc_pid_net(5), whose socket listens.
unsigned listeners_in(const char *table);
