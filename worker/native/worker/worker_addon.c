// Node-API surface of the worker: the few system calls that Node does not offer.
//
//   socketpair() -> [fd, fd]             stream sockets, close-on-exec
//   pipe() -> [readFd, writeFd]          close-on-exec
//   sendWithDescriptors(fd, bytes, fds)  one sendmsg with SCM_RIGHTS, unix(7); throws on failure
//   refuseDescriptors(fd) -> boolean     makes the kernel refuse descriptors sent to this socket; false before Linux 6.16
//   makeTurns() -> [fd, turns]           a count in a shared page, see turns.h; the descriptor is for the sandbox
//   postTurn(turns)                      adds one to the count
//   takeTurnsBack(turns, max) -> number  takes up to `max` off the count and returns how many
//   closeTurns(turns)                    unmaps the page; later calls with this handle do nothing
//   lock(fd, alone) -> boolean           flock without waiting; false if another process holds the lock
//   readCounter(fd) -> number            the decimal number at the start of a kernel file, read anew; -1 on failure
//   bytesWaiting(fd) -> number           FIONREAD: the bytes that a read would return now
//   watchRefusals(fd, onRefused)         see refusals_addon.h
#include "common.h"
#include "refusals_addon.h"
#include "runtime/turns.h"

#include <node_api.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

// Of Linux 6.16.
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

enum { MAX_DESCRIPTORS = 16 };

static napi_value throw_failure(napi_env env, const struct failure *failure) {
  napi_throw_error(env, NULL, failure->message);
  return NULL;
}

static napi_value pair(napi_env env, const int fds[2]) {
  napi_value result, number;
  napi_create_array_with_length(env, 2, &result);
  for (uint32_t i = 0; i < 2; i++) {
    napi_create_int32(env, fds[i], &number);
    napi_set_element(env, result, i, number);
  }
  return result;
}

static napi_value make_socketpair(napi_env env, napi_callback_info info) {
  (void)info;
  int fds[2];
  struct failure failure = {0};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
    fail_errno(&failure, "make a socket pair");
    return throw_failure(env, &failure);
  }
  return pair(env, fds);
}

static napi_value make_pipe(napi_env env, napi_callback_info info) {
  (void)info;
  int fds[2];
  struct failure failure = {0};
  if (pipe2(fds, O_CLOEXEC) < 0) {
    fail_errno(&failure, "make a pipe");
    return throw_failure(env, &failure);
  }
  return pair(env, fds);
}

static napi_value send_with_descriptors(napi_env env, napi_callback_info info) {
  size_t count = 3, length = 0;
  napi_value arguments[3];
  int32_t fd = -1;
  void *bytes = NULL;
  uint32_t fd_count = 0;
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  napi_get_value_int32(env, arguments[0], &fd);
  napi_get_buffer_info(env, arguments[1], &bytes, &length);
  napi_get_array_length(env, arguments[2], &fd_count);
  struct failure failure = {0};
  if (fd_count > MAX_DESCRIPTORS) {
    fail(&failure, "send %u descriptors at once; at most %d are possible", fd_count, MAX_DESCRIPTORS);
    return throw_failure(env, &failure);
  }
  int fds[MAX_DESCRIPTORS];
  for (uint32_t i = 0; i < fd_count; i++) {
    napi_value element;
    napi_get_element(env, arguments[2], i, &element);
    napi_get_value_int32(env, element, &fds[i]);
  }
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof fds)];
  } ancillary = {0};
  struct iovec part = {bytes, length};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (fd_count > 0) {
    message.msg_control = ancillary.bytes;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
    memcpy(CMSG_DATA(header), fds, sizeof(int) * fd_count);
  }
  ssize_t sent;
  do {
    // MSG_NOSIGNAL: a zygote that has just ended must not end the worker by SIGPIPE.
    sent = sendmsg(fd, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0)
    fail_errno(&failure, "send %zu bytes with %u descriptors", length, fd_count);
  else if (sent != (ssize_t)length)
    fail(&failure, "send %zu bytes: only %zd were taken", length, sent);
  return failure.message[0] == '\0' ? NULL : throw_failure(env, &failure);
}

static int32_t descriptor_argument(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  int32_t fd = -1;
  napi_get_cb_info(env, info, &count, &argument, NULL, NULL);
  napi_get_value_int32(env, argument, &fd);
  return fd;
}

static napi_value number(napi_env env, double value) {
  napi_value result;
  napi_create_double(env, value, &result);
  return result;
}

static napi_value refuse_descriptors(napi_env env, napi_callback_info info) {
  napi_value result;
  const int no = 0;
  int32_t fd = descriptor_argument(env, info);
  // The reader of a message closes the descriptors that come with it. close(2) of a socket may take as long as its
  // owner has set (SO_LINGER).
  napi_get_boolean(env, setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &no, sizeof no) == 0, &result);
  return result;
}

// The page behind a handle of JavaScript; the handle outlives it.
struct turns_handle {
  struct turns *turns;
};

static void close_turns_handle(struct turns_handle *handle) {
  if (handle->turns) turns_unmap(handle->turns);
  handle->turns = NULL;
}

static void on_turns_collected(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  close_turns_handle(data);
  free(data);
}

static napi_value make_turns(napi_env env, napi_callback_info info) {
  (void)info;
  struct failure failure = {0};
  int theirs = -1;
  struct turns_handle *handle = calloc(1, sizeof *handle);
  if (handle)
    handle->turns = turns_make(&theirs, &failure);
  else
    fail_errno(&failure, "allocate the handle of a page of turns");
  if (!handle || !handle->turns) {
    free(handle);
    return throw_failure(env, &failure);
  }
  napi_value result, fd, turns;
  napi_create_array_with_length(env, 2, &result);
  napi_create_int32(env, theirs, &fd);
  napi_create_external(env, handle, on_turns_collected, NULL, &turns);
  napi_set_element(env, result, 0, fd);
  napi_set_element(env, result, 1, turns);
  return result;
}

static struct turns_handle *turns_argument(napi_env env, napi_value argument) {
  void *handle = NULL;
  napi_get_value_external(env, argument, &handle);
  return handle;
}

static napi_value post_turn(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  napi_get_cb_info(env, info, &count, &argument, NULL, NULL);
  struct turns_handle *handle = turns_argument(env, argument);
  if (handle && handle->turns) turns_post(handle->turns);
  return NULL;
}

static napi_value take_turns_back(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2];
  uint32_t max = 0;
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  struct turns_handle *handle = turns_argument(env, arguments[0]);
  napi_get_value_uint32(env, arguments[1], &max);
  return number(env, handle && handle->turns ? turns_take_back(handle->turns, max) : 0);
}

static napi_value close_turns(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  napi_get_cb_info(env, info, &count, &argument, NULL, NULL);
  struct turns_handle *handle = turns_argument(env, argument);
  if (handle) close_turns_handle(handle);
  return NULL;
}

static napi_value lock(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2], result;
  int32_t fd = -1;
  bool alone = false;
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  napi_get_value_int32(env, arguments[0], &fd);
  napi_get_value_bool(env, arguments[1], &alone);
  int failed = flock(fd, (alone ? LOCK_EX : LOCK_SH) | LOCK_NB);
  if (failed && errno != EWOULDBLOCK) {
    struct failure failure = {0};
    fail_errno(&failure, "lock descriptor %d", fd);
    return throw_failure(env, &failure);
  }
  napi_get_boolean(env, !failed, &result);
  return result;
}

static napi_value read_counter(napi_env env, napi_callback_info info) {
  char text[64];
  ssize_t length = pread(descriptor_argument(env, info), text, sizeof text - 1, 0);
  if (length <= 0) return number(env, -1);
  text[length] = '\0';
  // "usage_usec 123": cgroup v2 names its figures, v1 does not.
  return number(env, strtod(text + strcspn(text, "0123456789"), NULL));
}

static napi_value bytes_waiting(napi_env env, napi_callback_info info) {
  int waiting = 0;
  if (ioctl(descriptor_argument(env, info), FIONREAD, &waiting) < 0) return number(env, 0);
  return number(env, waiting);
}

NAPI_MODULE_INIT() {
  const struct {
    const char *name;
    napi_callback function;
  } functions[] = {
      {"socketpair", make_socketpair},
      {"pipe", make_pipe},
      {"makeTurns", make_turns},
      {"postTurn", post_turn},
      {"takeTurnsBack", take_turns_back},
      {"closeTurns", close_turns},
      {"refuseDescriptors", refuse_descriptors},
      {"sendWithDescriptors", send_with_descriptors},
      {"readCounter", read_counter},
      {"bytesWaiting", bytes_waiting},
      {"watchRefusals", watch_refusals},
      {"lock", lock},
  };
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    napi_value function;
    napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].function, NULL, &function);
    napi_set_named_property(env, exports, functions[i].name, function);
  }
  return exports;
}
