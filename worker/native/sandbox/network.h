// A sandbox's way into the network that its function was granted. What may pass there is decided outside, see
// worker/network/; here a sandbox only takes the place that was made ready for it.
#pragma once

#include "common.h"

// Brings up the one interface that a new network namespace holds.
int network_raise_loopback(struct failure *failure);

enum network_kind { NETWORK_LOOPBACK, NETWORK_OUTSIDE };

// Bounds what connections of this process's network namespace may hold that the kernel charges to nobody.
int network_limit_pending(enum network_kind kind, struct failure *failure);

// As read_exactly(), and puts the descriptor that came along into `*network`: a network namespace, or -1 when
// the function has no egress. The caller owns it.
int network_read_order(int channel, void *bytes, size_t length, int *network, struct failure *failure);

// Moves the process into that network namespace and writes `root`/etc/resolv.conf. The namespace of loopback
// only that it leaves behind ends with that.
int network_join(int network, const char *root, struct failure *failure);
