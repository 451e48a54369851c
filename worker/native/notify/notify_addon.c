// Node-API surface for the service manager's notifications.
//
//   notify(socket, text)   sends one datagram to the socket in NOTIFY_SOCKET, sd_notify(3); throws on failure
#include "common.h"

#include <node_api.h>

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { MAX_TEXT = 1024 };

static int send_text(const char *path, const char *text, size_t length, struct failure *failure) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  size_t path_length = strlen(path);
  if (path_length == 0 || path_length >= sizeof address.sun_path)
    return fail(failure, "notify %s: the path of a socket has 1 to %zu bytes", path,
                sizeof address.sun_path - 1);
  memcpy(address.sun_path, path, path_length);
  // A socket without a file, unix(7): its name begins with a zero byte and ends without one.
  if (path[0] == '@') address.sun_path[0] = '\0';
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path_length);
  // Non-blocking: the watchdog exists to find a blocked event loop. A manager that does not read must not block it.
  FD_CLEANUP int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return fail_errno(failure, "make a datagram socket");
  // A new socket for each datagram: a manager that was restarted listens on another socket.
  if (sendto(fd, text, length, MSG_NOSIGNAL, (struct sockaddr *)&address, size) < 0)
    return fail_errno(failure, "notify %s", path);
  return 0;
}

static napi_value notify(napi_env env, napi_callback_info info) {
  size_t count = 2, length = 0;
  napi_value arguments[2];
  char path[sizeof((struct sockaddr_un *)NULL)->sun_path + 1] = "", text[MAX_TEXT] = "";
  struct failure failure = {0};
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  napi_get_value_string_utf8(env, arguments[0], path, sizeof path, NULL);
  napi_get_value_string_utf8(env, arguments[1], text, sizeof text, &length);
  if (send_text(path, text, length, &failure) < 0) napi_throw_error(env, NULL, failure.message);
  return NULL;
}

NAPI_MODULE_INIT() {
  napi_value function;
  napi_create_function(env, "notify", NAPI_AUTO_LENGTH, notify, NULL, &function);
  napi_set_named_property(env, exports, "notify", function);
  return exports;
}
