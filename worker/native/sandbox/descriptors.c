// A sandbox's copies of the zygote's descriptors: each is closed or replaced by a fresh one.
#include "sandbox.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

// Replaces both ends of one of the zygote's pipes by those of a new pipe.
static int renew_pipe(const struct inherited_fds *inherited, const struct inherited_fd *entry,
                      struct failure *failure) {
  struct stat facts;
  if (fstat(entry->fd, &facts) < 0) return fail_errno(failure, "look at pipe %d", entry->fd);
  // This end was renewed with its other end, or by libuv's own fork handler.
  if (facts.st_ino != entry->pipe) return 0;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) return fail_errno(failure, "renew pipe %d", entry->fd);
  FD_CLEANUP int read_end = ends[0];
  FD_CLEANUP int write_end = ends[1];
  for (int i = 0; i < inherited->count; i++) {
    const struct inherited_fd *end = &inherited->entries[i];
    if (end->action != FD_FRESH_PIPE || end->pipe != entry->pipe) continue;
    if (dup3(end->writes ? write_end : read_end, end->fd, O_CLOEXEC) < 0)
      return fail_errno(failure, "put a fresh pipe on %d", end->fd);
  }
  return 0;
}

// Mark on the zygote's standard input. fcntl(2) sets it on the open file, not on the descriptor: a process that finds
// it set still holds the zygote's file.
#define ZYGOTE_MARK O_APPEND

int sandbox_note_stdio(struct inherited_fds *inherited, struct failure *failure) {
  for (int i = 0; i < 2; i++) {
    struct stat facts;
    if (fstat(STDOUT_FILENO + i, &facts) < 0)
      return fail_errno(failure, "look at descriptor %d", STDOUT_FILENO + i);
    inherited->output[i] = facts.st_ino;
  }
  if (fcntl(STDIN_FILENO, F_SETFL, ZYGOTE_MARK) < 0) return fail_errno(failure, "mark descriptor 0");
  return 0;
}

bool sandbox_stdin_is_own(void) {
  int flags = fcntl(STDIN_FILENO, F_GETFL);
  return flags >= 0 && (flags & ZYGOTE_MARK) == 0;
}

// All sandboxes inherit one open file from the zygote: flags and locks set by one of them would hold for all the
// others.
static int renew_stdin(struct failure *failure) {
  FD_CLEANUP int fresh = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (fresh < 0) return fail_errno(failure, "open /dev/null anew");
  // Without close-on-exec, since child processes expect a descriptor 0.
  if (dup2(fresh, STDIN_FILENO) < 0) return fail_errno(failure, "put a fresh /dev/null on descriptor 0");
  return 0;
}

int sandbox_renew_descriptors(const struct sandbox_order *order, const struct inherited_fds *inherited,
                              struct failure *failure) {
  if (renew_stdin(failure) < 0) return -1;
  for (int i = 0; i < inherited->count; i++) {
    const struct inherited_fd *entry = &inherited->entries[i];
    if (entry->fd == order->channel || entry->fd == order->refusals) continue;
    if (entry->action == FD_CLOSE) {
      close(entry->fd);
      continue;
    }
    if (entry->action == FD_FRESH_PIPE) {
      if (renew_pipe(inherited, entry, failure) < 0) return -1;
      continue;
    }
    // The runtime writes to this number, so it stays valid; the object behind it must not stay shared.
    FD_CLEANUP int fresh = entry->action == FD_FRESH_EPOLL ? epoll_create1(EPOLL_CLOEXEC)
                                                           : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fresh < 0) return fail_errno(failure, "renew descriptor %d", entry->fd);
    if (dup3(fresh, entry->fd, O_CLOEXEC) < 0)
      return fail_errno(failure, "put a fresh descriptor on %d", entry->fd);
  }
  return 0;
}
