// Frames of a sandbox's channel, for a thread that may block. The layouts of their payloads are in protocol.gen.h: wire_put_log()
// gives the parts of a LOG, and wire_read_invoke() takes an INVOKE apart.
#pragma once

#include "common.h"
#include "protocol.gen.h"

struct channel_frame {
  uint8_t kind;
  uint32_t handle;
  unsigned char *payload; // from malloc(3); the receiver frees it
  size_t length;
};

// Sends one frame, through short writes and signals. Threads that share a channel take turns by a lock of their own.
int channel_send(int channel, uint8_t kind, uint32_t handle, const struct wire_parts *payload,
                 struct failure *failure);

// Receives the next frame. Returns 1, or 0 if the worker has closed the channel. A frame of more than MAX_WORKER_FRAME_BYTES is
// a failure.
int channel_receive(int channel, struct channel_frame *frame, struct failure *failure);
