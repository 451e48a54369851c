// A sandbox's way into the network that its function was granted. The worker decides about its traffic from outside
// (worker/network/); a sandbox only joins the namespace that was prepared for it.
#pragma once

#include "common.h"

// Brings up the one interface that a new network namespace holds.
int network_raise_loopback(struct failure *failure);

enum network_kind { NETWORK_LOOPBACK, NETWORK_OUTSIDE };

// Bounds the memory of connections in this process's network namespace that the kernel charges to no cgroup.
int network_limit_pending(enum network_kind kind, struct failure *failure);

// As read_exactly(). Also puts the descriptor that came along into `*network`: a network namespace, or -1 for a
// function without egress. The caller owns it.
int network_read_order(int channel, void *bytes, size_t length, int *network, struct failure *failure);

// Moves the process into that network namespace and writes `root`/etc/resolv.conf. The namespace that it leaves, with
// loopback only, ends by that.
int network_join(int network, const char *root, struct failure *failure);
