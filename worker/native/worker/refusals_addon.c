// A watch of one sandbox: first of the socket that delivers its listener, then of the listener.
#include "refusals_addon.h"

#include "refusals.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

struct watched {
  uv_poll_t poll;
  int fd;
  bool open;
};

struct watch {
  napi_env env;
  napi_ref on_refused;
  struct watched socket, listener;
  // Owners of this watch: the function that JavaScript holds, and each poll handle until libuv has closed it.
  int owners;
  struct refusal_state state;
};

static void disown(struct watch *watch) {
  if (--watch->owners > 0) return;
  napi_delete_reference(watch->env, watch->on_refused);
  free(watch);
}

static void on_closed(uv_handle_t *handle) {
  disown(handle->data);
}

static void end_watched(struct watched *watched) {
  if (!watched->open) return;
  watched->open = false;
  uv_close((uv_handle_t *)&watched->poll, on_closed);
  // The descriptor may be closed once libuv has stopped watching it. Without a listener the kernel refuses by itself.
  close(watched->fd);
}

// Owns `fd` from here on, also on failure.
static void begin_watched(struct watch *watch, struct watched *watched, int fd, uv_poll_cb on_event) {
  uv_loop_t *loop;
  if (napi_get_uv_event_loop(watch->env, &loop) != napi_ok || uv_poll_init(loop, &watched->poll, fd) != 0) {
    close(fd);
    return;
  }
  watched->poll.data = watch;
  watched->fd = fd;
  watched->open = true;
  watch->owners++;
  // A watch does not keep an otherwise idle worker alive.
  uv_unref((uv_handle_t *)&watched->poll);
  if (uv_poll_start(&watched->poll, UV_READABLE, on_event) != 0) end_watched(watched);
}

static void report(const struct watch *watch, const char *name) {
  napi_handle_scope scope;
  napi_value callback, global, text;
  napi_open_handle_scope(watch->env, &scope);
  napi_get_reference_value(watch->env, watch->on_refused, &callback);
  napi_get_global(watch->env, &global);
  napi_create_string_utf8(watch->env, name, NAPI_AUTO_LENGTH, &text);
  napi_make_callback(watch->env, NULL, global, callback, 1, &text, NULL);
  napi_close_handle_scope(watch->env, scope);
}

static void on_refusal(uv_poll_t *handle, int status, int events) {
  struct watch *watch = handle->data;
  bool over = status < 0;
  (void)events;
  const char *name = over ? NULL : refusal_answer(watch->listener.fd, &watch->state, &over);
  if (over) end_watched(&watch->listener);
  // Last, because the callback may end the watch.
  if (name) report(watch, name);
}

static void on_listener(uv_poll_t *handle, int status, int events) {
  struct watch *watch = handle->data;
  (void)status;
  (void)events;
  char byte;
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } ancillary;
  struct iovec part = {&byte, 1};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = sizeof ancillary};
  ssize_t got = recvmsg(watch->socket.fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  const struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
  int listener = -1;
  if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
      header->cmsg_len == CMSG_LEN(sizeof listener))
    memcpy(&listener, CMSG_DATA(header), sizeof listener);
  // The sandbox sends at most one message.
  end_watched(&watch->socket);
  if (listener >= 0) begin_watched(watch, &watch->listener, listener, on_refusal);
}

static napi_value end_watch(napi_env env, napi_callback_info info) {
  void *data;
  napi_get_cb_info(env, info, NULL, NULL, NULL, &data);
  struct watch *watch = data;
  end_watched(&watch->socket);
  end_watched(&watch->listener);
  return NULL;
}

static void on_collected(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  disown(data);
}

napi_value watch_refusals(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2], end;
  int32_t fd = -1;
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  napi_get_value_int32(env, arguments[0], &fd);
  struct watch *watch = calloc(1, sizeof *watch);
  if (!watch || napi_create_reference(env, arguments[1], 1, &watch->on_refused) != napi_ok) {
    free(watch);
    if (fd >= 0) close(fd);
    napi_throw_error(env, NULL, "cannot watch the refusals of a sandbox");
    return NULL;
  }
  watch->env = env;
  watch->owners = 1;
  napi_create_function(env, "end", NAPI_AUTO_LENGTH, end_watch, watch, &end);
  napi_add_finalizer(env, end, watch, on_collected, NULL, NULL);
  begin_watched(watch, &watch->socket, fd, on_listener);
  return end;
}
