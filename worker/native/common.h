// Conventions of the native code, written once:
//
//   Errors       A function that can fail returns 0 (or a value >= 0) on success and -1 on failure. On failure it has filled in
//                its last parameter, a `struct failure`: operation, operand and the text of errno. It neither prints nor exits;
//                the few top-level functions decide on the consequence.
//   Ownership    A descriptor is owned by the scope that opened it: FD_CLEANUP closes it when the scope is left. TAKE() hands
//                it on.
//   Descriptors  All are opened close-on-exec, without exception, because tenants may exec.
//   Order        A sentence before each system call says why it stands where it stands. The order is the security.
//   Avoided      No shell, no system(), no allocation between the fork and the isolation of a sandbox.
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FAILURE_BYTES 320

struct failure {
  char message[FAILURE_BYTES];
};

// Fills in a failure with a text: "slot 3 of 2". A failure keeps its first message, because that one is the cause. Returns -1, so
// that `return fail(...)` reads well.
int fail(struct failure *failure, const char *format, ...) __attribute__((format(printf, 2, 3)));

// As fail(), for a system call that has failed: appends the text of errno, "mount overlay on /x: Permission denied".
int fail_errno(struct failure *failure, const char *format, ...) __attribute__((format(printf, 2, 3)));

// As fail_errno(), for a call that needs new namespaces or the power over them: appends also the remedy for EPERM, EACCES, EINVAL
// and ENOSPC.
int fail_namespaces(struct failure *failure, const char *operation);

// Puts the name of a process or of a stage in front of the message: "init: bind image /x: No such file or directory". Returns -1.
int fail_in(struct failure *failure, const char *name);

void close_cleanup(const int *fd);
#define FD_CLEANUP __attribute__((cleanup(close_cleanup)))

// Hands a descriptor on to another owner: the scope that held it no longer closes it.
#define TAKE(fd)                                                                                             \
  __extension__({                                                                                            \
    int taken_ = (fd);                                                                                       \
    (fd) = -1;                                                                                               \
    taken_;                                                                                                  \
  })

// Writes a short text to an existing file in one write(2), as kernel interface files want it.
int write_file(const char *path, const char *text, struct failure *failure);

// Writes all bytes, through short writes and signals.
int write_all(int fd, const void *bytes, size_t length, struct failure *failure);

// Reads exactly `length` bytes. Returns 1, or 0 when the other side has closed before the first byte.
int read_exactly(int fd, void *bytes, size_t length, struct failure *failure);

// Microseconds of the monotonic clock, clock_gettime(2).
uint64_t now_us(void);
