#include "common.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// Adds to the message; the part that does not fit is dropped.
static void append(struct failure *failure, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));

static void append(struct failure *failure, const char *format, va_list arguments) {
  size_t length = strlen(failure->message);
  vsnprintf(failure->message + length, sizeof failure->message - length, format, arguments);
}

static void append_text(struct failure *failure, const char *separator, const char *text) {
  size_t length = strlen(failure->message);
  snprintf(failure->message + length, sizeof failure->message - length, "%s%s", separator, text);
}

int fail(struct failure *failure, const char *format, ...) {
  if (failure->message[0] != '\0') return -1;
  va_list arguments;
  va_start(arguments, format);
  append(failure, format, arguments);
  va_end(arguments);
  return -1;
}

int fail_errno(struct failure *failure, const char *format, ...) {
  const char *cause = strerror(errno);
  if (failure->message[0] != '\0') return -1;
  va_list arguments;
  va_start(arguments, format);
  append(failure, format, arguments);
  va_end(arguments);
  append_text(failure, ": ", cause);
  return -1;
}

// The causes are those of clone(2), unshare(2) and user_namespaces(7).
static const char *namespace_remedy(int error) {
  switch (error) {
  case EPERM:
  case EACCES: // AppArmor's answer
    return "the host refuses it: set kernel.unprivileged_userns_clone to 1; if "
           "kernel.apparmor_restrict_unprivileged_userns is 1, npm run setup installs the AppArmor profile";
  case EINVAL:
    return "the kernel lacks a kind of namespace: it needs CONFIG_USER_NS, PID_NS, NET_NS, IPC_NS and UTS_NS";
  case ENOSPC:
    return "a limit is reached: raise user.max_user_namespaces and the other user.max_*_namespaces";
  default:
    return "";
  }
}

int fail_namespaces(struct failure *failure, const char *operation) {
  const char *remedy = namespace_remedy(errno);
  if (failure->message[0] != '\0') return -1;
  fail_errno(failure, "%s", operation);
  if (remedy[0] != '\0') append_text(failure, "; ", remedy);
  return -1;
}

int fail_in(struct failure *failure, const char *name) {
  const struct failure cause = *failure;
  failure->message[0] = '\0';
  return fail(failure, "%s: %s", name, cause.message);
}

void close_cleanup(const int *fd) {
  if (*fd >= 0) close(*fd);
}

int write_file(const char *path, const char *text, struct failure *failure) {
  FD_CLEANUP int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return fail_errno(failure, "open %s for writing", path);
  if (write(fd, text, strlen(text)) < 0) return fail_errno(failure, "write \"%s\" to %s", text, path);
  return 0;
}

int write_all(int fd, const void *bytes, size_t length, struct failure *failure) {
  const char *at = bytes;
  while (length > 0) {
    ssize_t written = write(fd, at, length);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail_errno(failure, "write %zu bytes to descriptor %d", length, fd);
    at += written;
    length -= (size_t)written;
  }
  return 0;
}

int read_exactly(int fd, void *bytes, size_t length, struct failure *failure) {
  char *at = bytes;
  size_t left = length;
  while (left > 0) {
    ssize_t got = read(fd, at, left);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(failure, "read %zu bytes from descriptor %d", left, fd);
    if (got == 0 && left == length) return 0;
    if (got == 0) return fail(failure, "read from descriptor %d: closed with %zu bytes missing", fd, left);
    at += got;
    left -= (size_t)got;
  }
  return 1;
}

uint64_t now_us(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000u + (uint64_t)time.tv_nsec / 1000u;
}
