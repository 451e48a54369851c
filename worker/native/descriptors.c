// What a sandbox has inherited of the zygote's descriptors, closed or put in the place of fresh ones.
#include "sandbox.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

// Puts the ends of a pipe of this sandbox's own in place of those of the zygote's.
static int renew_pipe(const struct inherited_fds *inherited, const struct inherited_fd *entry,
                      struct failure *failure) {
  struct stat facts;
  if (fstat(entry->fd, &facts) < 0) return fail(failure, "look at pipe %d", entry->fd);
  // Renewed already, with its other end, or by libuv's own fork handler.
  if (facts.st_ino != entry->pipe) return 0;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) return fail(failure, "renew pipe %d", entry->fd);
  FD_CLEANUP int read_end = ends[0];
  FD_CLEANUP int write_end = ends[1];
  for (int i = 0; i < inherited->count; i++) {
    const struct inherited_fd *end = &inherited->entries[i];
    if (end->action != FD_FRESH_PIPE || end->pipe != entry->pipe) continue;
    if (dup3(end->writes ? write_end : read_end, end->fd, O_CLOEXEC) < 0)
      return fail(failure, "put a fresh pipe on %d", end->fd);
  }
  return 0;
}

int sandbox_renew_descriptors(const struct sandbox_order *order, const struct inherited_fds *inherited,
                              struct failure *failure) {
  for (int i = 0; i < inherited->count; i++) {
    const struct inherited_fd *entry = &inherited->entries[i];
    if (entry->fd == order->channel || entry->fd == order->turns || entry->fd == order->refusals) continue;
    if (entry->action == FD_CLOSE) {
      close(entry->fd);
      continue;
    }
    if (entry->action == FD_FRESH_PIPE) {
      if (renew_pipe(inherited, entry, failure) < 0) return -1;
      continue;
    }
    // The number must stay valid, because the runtime writes to it; what is behind it must not stay shared.
    FD_CLEANUP int fresh = entry->action == FD_FRESH_EPOLL ? epoll_create1(EPOLL_CLOEXEC)
                                                           : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fresh < 0) return fail(failure, "renew descriptor %d", entry->fd);
    if (dup3(fresh, entry->fd, O_CLOEXEC) < 0)
      return fail(failure, "put a fresh descriptor on %d", entry->fd);
  }
  return 0;
}
