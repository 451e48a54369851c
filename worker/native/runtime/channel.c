#include "channel.h"

#include <stdlib.h>

// Removes the bytes that were written from the front of the parts.
static void advance(struct iovec **parts, int *count, size_t written) {
  while (*count > 0 && written >= (*parts)->iov_len) {
    written -= (*parts)->iov_len;
    (*parts)++;
    (*count)--;
  }
  if (*count == 0) return;
  (*parts)->iov_base = (char *)(*parts)->iov_base + written;
  (*parts)->iov_len -= written;
}

int channel_send(int channel, uint8_t kind, uint32_t handle, const struct wire_parts *payload,
                 struct failure *failure) {
  size_t length = 0;
  for (int i = 0; i < payload->count; i++)
    length += payload->parts[i].iov_len;
  const struct wire_channel_prefix prefix = {(uint32_t)(length + CHANNEL_PREFIX_BYTES - sizeof prefix.length),
                                             kind, handle};
  struct wire_parts head;
  wire_put_channel_prefix(&head, &prefix);
  struct iovec all[1 + sizeof payload->parts / sizeof *payload->parts] = {head.parts[0]};
  memcpy(all + 1, payload->parts, sizeof *all * (size_t)payload->count);
  struct iovec *left = all;
  int count = 1 + payload->count;
  // Parts of no bytes would make the loop ask for nothing for ever.
  for (advance(&left, &count, 0); count > 0;) {
    // One system call for the whole frame, where the socket has room.
    ssize_t written = writev(channel, left, count);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail_errno(failure, "send frame %d of %zu bytes", kind, length);
    advance(&left, &count, (size_t)written);
  }
  return 0;
}

int channel_receive(int channel, struct channel_frame *frame, struct failure *failure) {
  unsigned char bytes[CHANNEL_PREFIX_BYTES];
  struct wire_channel_prefix prefix;
  const int got = read_exactly(channel, bytes, sizeof bytes, failure);
  if (got <= 0) return got;
  const size_t behind_length = sizeof bytes - sizeof prefix.length;
  if (!wire_read_channel_prefix(bytes, sizeof bytes, &prefix) || prefix.length < behind_length ||
      prefix.length > MAX_WORKER_FRAME_BYTES)
    return fail(failure, "a channel frame of %u bytes", prefix.length);
  *frame = (struct channel_frame){prefix.kind, prefix.handle, NULL, prefix.length - behind_length};
  // malloc(0) may be NULL.
  frame->payload = malloc(frame->length + 1);
  if (!frame->payload) return fail_errno(failure, "allocate a frame of %zu bytes", frame->length);
  if (frame->length == 0) return 1;
  const int rest = read_exactly(channel, frame->payload, frame->length, failure);
  if (rest == 1) return 1;
  free(frame->payload);
  return rest == 0 ? fail(failure, "the channel closed within a frame of %zu bytes", frame->length) : -1;
}
