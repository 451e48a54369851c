// Readers of the worker's messages, as functions of bytes alone. They read and close no descriptor, so all of them
// can be tested and fuzzed by themselves (test/fuzz).
#pragma once

#include "protocol.gen.h"
#include "sandbox/sandbox.h"

#include <sys/socket.h>

// Takes the descriptors out of a received message. Returns their number; the first FORK_MAX_FDS of them are in `fds`.
int message_descriptors(struct msghdr *message, int fds[FORK_MAX_FDS]);

// Reads an order to make or end a sandbox. Fills in `order` for a FORK.
int message_read_order(const struct wire_control *message, uint32_t slots, const int *fds, int fd_count,
                       struct sandbox_order *order, struct failure *failure);

// Reads a SPECIALISE frame of exactly SPECIALISE_FRAME_BYTES, and refuses names and limits that would be no limits.
#define SPECIALISE_FRAME_BYTES (CHANNEL_PREFIX_BYTES + SPECIALISE_BYTES)
int message_read_specialise(const unsigned char *frame, char code[SPECIALISE_CODE_BYTES],
                            char hostname[SPECIALISE_HOSTNAME_BYTES], struct sandbox_limits *limits,
                            struct failure *failure);
