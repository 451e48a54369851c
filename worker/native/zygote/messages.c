#include "messages.h"

#include <string.h>

int message_descriptors(struct msghdr *message, int fds[FORK_MAX_FDS]) {
  int count = 0;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    // The kernel never reports more than it wrote, but this code does not rely on that.
    const char *end = (const char *)message->msg_control + message->msg_controllen;
    size_t room = (size_t)(end - (const char *)CMSG_DATA(header));
    if (header->cmsg_len < CMSG_LEN(0) || header->cmsg_len - CMSG_LEN(0) > room) break;
    size_t sent = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < sent; i++, count++) {
      if (count < FORK_MAX_FDS) memcpy(&fds[count], CMSG_DATA(header) + i * sizeof(int), sizeof(int));
    }
  }
  return count;
}

int message_read_order(const struct control_message *message, uint32_t slots, const int *fds, int fd_count,
                       struct sandbox_order *order, struct failure *failure) {
  if (message->slot >= slots) return fail(failure, "slot %u of %u", message->slot, slots);
  if (message->kind == CONTROL_KILL && fd_count == 0) return 0;
  if (message->kind != CONTROL_FORK || fd_count < FORK_FIXED_FDS || fd_count > FORK_MAX_FDS)
    return fail(failure, "order %u with %d descriptors", message->kind, fd_count);
  // Never 0, which is the worker's own user, and never beyond the ids of sandboxes.
  if (message->a < FIRST_SANDBOX_UID || message->a >= FIRST_SANDBOX_UID + MAX_SLOTS)
    return fail(failure, "a sandbox as user %d", message->a);
  if (message->b <= 0) return fail(failure, "%d MB of scratch space", message->b);
  *order = (struct sandbox_order){
      .slot = message->slot,
      .uid = (uid_t)message->a,
      .scratch_mb = message->b,
      .channel = fds[0],
      .stdout_fd = fds[1],
      .stderr_fd = fds[2],
      .turns = fds[3],
      .refusals = fds[4],
      .cgroup_count = fd_count - FORK_FIXED_FDS,
  };
  _Static_assert(FORK_MAX_FDS - FORK_FIXED_FDS <= (int)(sizeof order->cgroup_fds / sizeof *order->cgroup_fds),
                 "room for every cgroup hierarchy");
  memcpy(order->cgroup_fds, fds + FORK_FIXED_FDS, sizeof(int) * (size_t)order->cgroup_count);
  return 0;
}

// Reads a text that is padded with at least one NUL.
static int read_text(char *text, const unsigned char *bytes, size_t size, const char *name,
                     struct failure *failure) {
  if (bytes[size - 1] != '\0') return fail(failure, "the %s has no end", name);
  memcpy(text, bytes, size);
  return 0;
}

int message_read_specialise(const unsigned char *frame, char code[SPECIALISE_CODE_BYTES],
                            char hostname[SPECIALISE_HOSTNAME_BYTES], struct sandbox_limits *limits,
                            struct failure *failure) {
  uint32_t rest;
  memcpy(&rest, frame, sizeof rest);
  if (frame[4] != CHANNEL_SPECIALISE || rest != SPECIALISE_FRAME_BYTES - sizeof rest)
    return fail(failure, "expected SPECIALISE, got frame kind %d of %u bytes", frame[4], rest);
  const unsigned char *texts = frame + CHANNEL_PREFIX_BYTES;
  if (read_text(code, texts, SPECIALISE_CODE_BYTES, "name of code", failure) < 0) return -1;
  if (read_text(hostname, texts + SPECIALISE_CODE_BYTES, SPECIALISE_HOSTNAME_BYTES, "host name", failure) < 0)
    return -1;
  memcpy(limits, frame + SPECIALISE_FRAME_BYTES - sizeof *limits, sizeof *limits);
  // To tmpfs, 0 means no limit.
  if (limits->tmp_mb == 0 || limits->tmp_inodes == 0 || limits->open_files == 0 ||
      limits->pending_signals == 0)
    return fail(failure, "limits of %u MB, %u files, %u open files and %u pending signals", limits->tmp_mb,
                limits->tmp_inodes, limits->open_files, limits->pending_signals);
  // One path component: a name with a slash or dots could leave the store.
  if (code[0] == '\0' || code[0] == '.' || strchr(code, '/'))
    return fail(failure, "illegal name of code: %s", code);
  return 0;
}
