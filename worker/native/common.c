#include "common.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int fail(struct failure *failure, const char *format, ...) {
  int error = errno;
  if (failure->message[0] != '\0') return -1;
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(failure->message, sizeof failure->message, format, arguments);
  va_end(arguments);
  if (error != 0 && length >= 0 && (size_t)length < sizeof failure->message) {
    snprintf(failure->message + length, sizeof failure->message - (size_t)length, ": %s", strerror(error));
  }
  return -1;
}

void close_cleanup(const int *fd) {
  if (*fd >= 0) close(*fd);
}

int write_file(const char *path, const char *text, struct failure *failure) {
  FD_CLEANUP int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return fail(failure, "open %s for writing", path);
  if (write(fd, text, strlen(text)) < 0) return fail(failure, "write \"%s\" to %s", text, path);
  return 0;
}

int write_all(int fd, const void *bytes, size_t length, struct failure *failure) {
  const char *at = bytes;
  while (length > 0) {
    ssize_t written = write(fd, at, length);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail(failure, "write %zu bytes to descriptor %d", length, fd);
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
    if (got < 0) return fail(failure, "read %zu bytes from descriptor %d", left, fd);
    if (got == 0 && left == length) return 0;
    if (got == 0) {
      errno = 0;
      return fail(failure, "read from descriptor %d: closed with %zu bytes missing", fd, left);
    }
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
