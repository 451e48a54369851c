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

int message_read_order(const struct wire_control *message, uint32_t slots, const int *fds, int fd_count,
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

int message_read_specialise(const unsigned char *frame, char code[SPECIALISE_CODE_BYTES],
                            char hostname[SPECIALISE_HOSTNAME_BYTES], struct sandbox_limits *limits,
                            struct failure *failure) {
  struct wire_channel_prefix prefix;
  struct wire_specialise told;
  const bool is_frame = wire_read_channel_prefix(frame, CHANNEL_PREFIX_BYTES, &prefix);
  if (!is_frame || prefix.kind != CHANNEL_SPECIALISE ||
      prefix.length != SPECIALISE_FRAME_BYTES - sizeof prefix.length)
    return fail(failure, "expected SPECIALISE, got frame kind %d of %u bytes", prefix.kind, prefix.length);
  if (!wire_read_specialise(frame + CHANNEL_PREFIX_BYTES, SPECIALISE_BYTES, &told))
    return fail(failure, "the name of code or the host name has no end");
  memcpy(code, told.code, sizeof told.code);
  memcpy(hostname, told.hostname, sizeof told.hostname);
  *limits = (struct sandbox_limits){.tmp_mb = told.tmp_mb,
                                    .tmp_inodes = told.tmp_inodes,
                                    .open_files = told.open_files,
                                    .pending_signals = told.pending_signals,
                                    .memory_mb = told.memory_mb,
                                    .cpu_percent = told.cpu_percent,
                                    .tmp_programs = told.tmp_programs == 1};
  // To tmpfs, 0 means no limit.
  if (limits->tmp_mb == 0 || limits->tmp_inodes == 0 || limits->open_files == 0 ||
      limits->pending_signals == 0)
    return fail(failure, "limits of %u MB, %u files, %u open files and %u pending signals", limits->tmp_mb,
                limits->tmp_inodes, limits->open_files, limits->pending_signals);
  if (limits->memory_mb == 0 || limits->cpu_percent == 0)
    return fail(failure, "%u MB of memory and %u hundredths of a core", limits->memory_mb,
                limits->cpu_percent);
  // One path component: a name with a slash or dots could leave the store.
  if (code[0] == '\0' || code[0] == '.' || strchr(code, '/'))
    return fail(failure, "illegal name of code: %s", code);
  return 0;
}
