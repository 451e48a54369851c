// A sandbox's copies of the zygote's descriptors: each is closed or replaced by a fresh one of the same kind. Event loops of
// languages differ, so this file knows kinds of descriptors and no language.
#include "sandbox.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

// Mark on the open files of the zygote. fcntl(2) sets it on the open file, not on the descriptor: a process that finds it set still
// holds the zygote's file. To all kinds below, and to /dev/null, the flag means nothing else.
#define ZYGOTE_MARK O_APPEND

// A sandbox may have descriptors of these kinds when it is audited, and no others. The link in /proc/self/fd begins with the text.
static const struct kind {
  const char *link;
  enum fd_action action;
} kinds[] = {
    {"anon_inode:[eventpoll]", FD_FRESH_EPOLL},
    {"anon_inode:[eventfd]", FD_FRESH_EVENT},
    {"anon_inode:[timerfd]", FD_FRESH_TIMER},
    // Pipes to oneself wake an event loop. libuv takes the bytes of one for a pointer, and a thread of the zygote does read: a shared
    // pipe would let a sandbox run code in the zygote.
    {"pipe:[", FD_FRESH_PIPE},
    // As above, by socketpair(2). Any other socket leads to another process.
    {"socket:[", FD_FRESH_SOCKET},
    // A process of the zygote has no counterpart in a sandbox, which may keep only a pidfd of itself.
    {"anon_inode:[pidfd]", FD_CLOSE},
    {"pidfd:[", FD_CLOSE},
};

static const struct kind *kind_of(const char *link) {
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (strncmp(link, kinds[i].link, strlen(kinds[i].link)) == 0) return &kinds[i];
  }
  return NULL;
}

// Reads a number of /proc/self/fdinfo, whose fields depend on the kind of descriptor. Returns `otherwise` when it is not there.
static int fact(int fd, const char *name, int otherwise) {
  char path[48], line[256];
  snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
  FILE *facts = fopen(path, "re");
  if (!facts) return otherwise;
  int value = otherwise;
  while (fgets(line, sizeof line, facts)) {
    if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
      value = atoi(line + strlen(name) + 1);
  }
  fclose(facts);
  return value;
}

static int socket_option(int fd, int option) {
  int value = -1;
  socklen_t length = sizeof value;
  return getsockopt(fd, SOL_SOCKET, option, &value, &length) == 0 ? value : -1;
}

// True for an end of a socketpair(2) of this very process. The kernel notes the maker of a pair at the making, and shows a process
// of an outer pid namespace as 0.
static bool is_of_own_pair(int fd) {
  struct ucred maker;
  socklen_t length = sizeof maker;
  if (socket_option(fd, SO_DOMAIN) != AF_UNIX || socket_option(fd, SO_ACCEPTCONN) != 0) return false;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &maker, &length) == 0 && maker.pid == getpid();
}

static bool is_marked(int fd) {
  int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && (flags & ZYGOTE_MARK) != 0;
}

static int mark(int fd, int flags, struct failure *failure) {
  if (fcntl(fd, F_SETFL, flags | ZYGOTE_MARK) < 0) return fail_errno(failure, "mark descriptor %d", fd);
  return 0;
}

static int plan_one(struct inherited_fds *plan, int fd, const char *link, bool is_own,
                    struct failure *failure) {
  if (plan->count == (int)(sizeof plan->entries / sizeof *plan->entries))
    return fail(failure, "the runtime has more than %d descriptors open", plan->count);
  const struct kind *kind = kind_of(link);
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return fail_errno(failure, "look at descriptor %d", fd);
  struct stat facts;
  if (fstat(fd, &facts) < 0) return fail_errno(failure, "look at descriptor %d", fd);
  struct inherited_fd entry = {
      .fd = fd,
      .action = kind && !is_own ? kind->action : FD_CLOSE,
      .inode = facts.st_ino,
      .partner = -1,
      .non_blocking = flags & O_NONBLOCK,
      .writes = (flags & O_ACCMODE) == O_WRONLY,
  };
  if (entry.action == FD_FRESH_TIMER) entry.type = fact(fd, "clockid", CLOCK_MONOTONIC);
  if (entry.action == FD_FRESH_EVENT) entry.type = fact(fd, "eventfd-semaphore", 0) ? EFD_SEMAPHORE : 0;
  if (entry.action == FD_FRESH_SOCKET) {
    entry.type = socket_option(fd, SO_TYPE);
    if (!is_of_own_pair(fd)) entry.action = FD_CLOSE;
  }
  plan->entries[plan->count++] = entry;
  return mark(fd, flags, failure);
}

// Finds the other end of a pair: the one at which a byte arrives. No system call of every kernel names it.
static int find_partner(struct inherited_fds *plan, int index, struct failure *failure) {
  struct inherited_fd *entry = &plan->entries[index];
  char byte = 0;
  if (send(entry->fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1) return 0;
  for (int i = 0; i < plan->count; i++) {
    struct inherited_fd *other = &plan->entries[i];
    if (i == index || other->action != FD_FRESH_SOCKET || other->partner >= 0) continue;
    if (recv(other->fd, &byte, 1, MSG_DONTWAIT) != 1) continue;
    if (byte != 0) return fail(failure, "descriptor %d has unread bytes", other->fd);
    entry->partner = i;
    other->partner = index;
    return 0;
  }
  return 0;
}

static int plan_pairs(struct inherited_fds *plan, struct failure *failure) {
  for (int i = 0; i < plan->count; i++) {
    int waiting = 0;
    if (plan->entries[i].action != FD_FRESH_SOCKET) continue;
    // They would be taken for the byte by which the partner is found. A runtime that serves has nothing in flight.
    if (ioctl(plan->entries[i].fd, FIONREAD, &waiting) < 0 || waiting > 0)
      return fail(failure, "descriptor %d has unread bytes", plan->entries[i].fd);
  }
  for (int i = 0; i < plan->count; i++) {
    struct inherited_fd *entry = &plan->entries[i];
    if (entry->action != FD_FRESH_SOCKET || entry->partner >= 0) continue;
    if (find_partner(plan, i, failure) < 0) return -1;
    // Its other end is closed, so the runtime cannot use this one either.
    if (entry->partner < 0) entry->action = FD_CLOSE;
  }
  return 0;
}

static int plan_open(struct inherited_fds *plan, DIR *directory, const int *own, int own_count,
                     struct failure *failure) {
  const struct dirent *entry;
  while ((entry = readdir(directory))) {
    int fd = atoi(entry->d_name);
    if (entry->d_name[0] == '.' || fd <= STDERR_FILENO || fd == dirfd(directory)) continue;
    char link[128];
    ssize_t length = readlinkat(dirfd(directory), entry->d_name, link, sizeof link - 1);
    if (length < 0) return fail_errno(failure, "read descriptor %d", fd);
    link[length] = '\0';
    bool is_own = false;
    for (int i = 0; i < own_count; i++)
      is_own = is_own || fd == own[i];
    if (plan_one(plan, fd, link, is_own, failure) < 0) return -1;
  }
  return 0;
}

int sandbox_plan_descriptors(struct inherited_fds *plan, const int *own, int own_count,
                             struct failure *failure) {
  for (int i = 0; i < 2; i++) {
    struct stat facts;
    if (fstat(STDOUT_FILENO + i, &facts) < 0)
      return fail_errno(failure, "look at descriptor %d", STDOUT_FILENO + i);
    plan->output[i] = facts.st_ino;
  }
  if (mark(STDIN_FILENO, 0, failure) < 0) return -1;
  DIR *directory = opendir("/proc/self/fd");
  if (!directory) return fail_errno(failure, "list own descriptors");
  int result = plan_open(plan, directory, own, own_count, failure);
  closedir(directory);
  return result < 0 ? -1 : plan_pairs(plan, failure);
}

bool sandbox_stdin_is_own(void) {
  return fcntl(STDIN_FILENO, F_GETFL) >= 0 && !is_marked(STDIN_FILENO);
}

// Puts a fresh object on the number that the runtime uses. The number stays valid; the object behind it must not stay shared.
static int put(int fresh, const struct inherited_fd *entry, struct failure *failure) {
  const int flags = fcntl(fresh, F_GETFL);
  if (flags < 0 || fcntl(fresh, F_SETFL, entry->non_blocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) < 0)
    return fail_errno(failure, "set the flags of descriptor %d", entry->fd);
  if (dup3(fresh, entry->fd, O_CLOEXEC) < 0)
    return fail_errno(failure, "put a fresh descriptor on %d", entry->fd);
  return 0;
}

// Replaces both ends of one of the zygote's pipes by those of a new pipe.
static int renew_pipe(const struct inherited_fds *inherited, const struct inherited_fd *entry,
                      struct failure *failure) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return fail_errno(failure, "renew pipe %d", entry->fd);
  FD_CLEANUP int read_end = ends[0];
  FD_CLEANUP int write_end = ends[1];
  for (int i = 0; i < inherited->count; i++) {
    const struct inherited_fd *end = &inherited->entries[i];
    if (end->action != FD_FRESH_PIPE || end->inode != entry->inode) continue;
    if (put(end->writes ? write_end : read_end, end, failure) < 0) return -1;
  }
  return 0;
}

static int renew_pair(const struct inherited_fds *inherited, const struct inherited_fd *entry,
                      struct failure *failure) {
  int ends[2];
  if (socketpair(AF_UNIX, entry->type | SOCK_CLOEXEC, 0, ends) < 0)
    return fail_errno(failure, "renew socket pair %d", entry->fd);
  FD_CLEANUP int one = ends[0];
  FD_CLEANUP int other = ends[1];
  if (put(one, entry, failure) < 0) return -1;
  return put(other, &inherited->entries[entry->partner], failure);
}

static int renew_single(int fresh, const struct inherited_fd *entry, struct failure *failure) {
  FD_CLEANUP int owned = fresh;
  if (owned < 0) return fail_errno(failure, "renew descriptor %d", entry->fd);
  return put(owned, entry, failure);
}

static int renew(const struct inherited_fds *inherited, const struct inherited_fd *entry,
                 struct failure *failure) {
  switch (entry->action) {
  case FD_FRESH_EPOLL:
    return renew_single(epoll_create1(EPOLL_CLOEXEC), entry, failure);
  case FD_FRESH_EVENT:
    return renew_single(eventfd(0, EFD_CLOEXEC | entry->type), entry, failure);
  case FD_FRESH_TIMER:
    return renew_single(timerfd_create(entry->type, TFD_CLOEXEC), entry, failure);
  case FD_FRESH_PIPE:
    return renew_pipe(inherited, entry, failure);
  case FD_FRESH_SOCKET:
    return renew_pair(inherited, entry, failure);
  case FD_CLOSE:
    close(entry->fd);
    return 0;
  }
  return fail(failure, "descriptor %d has no plan", entry->fd);
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
    // Renewed with its other end, or closed or renewed by the runtime itself after the fork.
    if (!is_marked(entry->fd)) continue;
    if (renew(inherited, entry, failure) < 0) return -1;
  }
  return 0;
}

int sandbox_check_descriptor(const struct inherited_fds *inherited, int fd, const char *link,
                             struct failure *failure) {
  const struct kind *kind = kind_of(link);
  if (!kind) return fail(failure, "unexpected descriptor %d (%s)", fd, link);
  if (is_marked(fd)) return fail(failure, "descriptor %d (%s) is the zygote's as well", fd, link);
  if (kind->action == FD_FRESH_SOCKET && !is_of_own_pair(fd))
    return fail(failure, "descriptor %d (%s) leads to another process", fd, link);
  if (kind->action == FD_CLOSE && fact(fd, "Pid", -1) != getpid())
    return fail(failure, "descriptor %d (%s) is another process", fd, link);
  if (kind->action != FD_FRESH_PIPE) return 0;
  // Another open file of the zygote's pipe would have no mark. Its threads or other sandboxes could read the bytes.
  struct stat facts;
  if (fstat(fd, &facts) < 0) return fail_errno(failure, "look at descriptor %d", fd);
  for (int i = 0; i < inherited->count; i++) {
    const struct inherited_fd *entry = &inherited->entries[i];
    if (entry->action == FD_FRESH_PIPE && entry->inode == facts.st_ino)
      return fail(failure, "descriptor %d (%s) is the zygote's as well", fd, link);
  }
  return 0;
}
