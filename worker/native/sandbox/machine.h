// Files by which a sandbox tells programs their limits and its name: those of a cgroup in /sys/fs/cgroup, and /etc/hosts. Each
// text is made of the limits that the worker has set; none is the host's.
#pragma once

#include "sandbox.h"

// Before the overlay is mounted: makes the directories in its upper layer `upper`, and what is the same in every sandbox.
int machine_prepare(const char *upper, struct failure *failure);

// Below the sandbox's root `root`, once its function is known. The files belong to root, and no function can change them.
int machine_tell(const char *root, const char *hostname, const struct sandbox_limits *limits,
                 struct failure *failure);
