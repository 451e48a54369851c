// Native attacks on the reader of a sandbox's output. Each tries to make the worker sleep in a system call of its
// own. `stall COMMAND` prints one word when it is in place, and then holds on until it is ended.
//
//   splice    sleeps with the lock of its own output pipe: splice(2) of a socket that gets no bytes
//   sendfile  the same by sendfile(2)
//   rights    sends a socket whose close(2) takes an hour down descriptor 3, the channel
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

static int said(const char *what) {
  dprintf(STDERR_FILENO, "stall: %s: %s\n", what, strerrorname_np(errno));
  return 1;
}

static int hold_output(int by_splice) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0) return said("socketpair");
  // The flags belong to the open file, so the runtime's O_NONBLOCK does not last.
  if (fcntl(STDOUT_FILENO, F_SETFL, 0) < 0) return said("fcntl");
  // The byte wakes the worker, which then reads while the lock is held.
  if (write(STDOUT_FILENO, "x", 1) != 1) return said("write");
  ssize_t moved = by_splice ? splice(ends[0], NULL, STDOUT_FILENO, NULL, 4096, 0)
                            : sendfile(STDOUT_FILENO, ends[0], NULL, 4096);
  if (moved < 0) return said(by_splice ? "splice" : "sendfile");
  return 0;
}

// A connection whose other end reads nothing, with more bytes on the way than both ends can buffer.
static int full_connection(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 1) < 0) return -1;
  if (getsockname(listener, (struct sockaddr *)&address, &length) < 0) return -1;
  int client = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(client, (struct sockaddr *)&address, length) < 0) return -1;
  static const char bytes[64 * 1024];
  while (send(client, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
  }
  return client;
}

static int send_rights(int channel) {
  int client = full_connection();
  if (client < 0) return said("connect");
  const struct linger hour = {.l_onoff = 1, .l_linger = 3600};
  if (setsockopt(client, SOL_SOCKET, SO_LINGER, &hour, sizeof hour) < 0) return said("linger");
  // The first byte of a frame, so that the worker goes on waiting for the rest.
  struct iovec part = {"\x20", 1};
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } ancillary = {0};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = sizeof ancillary};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof client);
  memcpy(CMSG_DATA(header), &client, sizeof client);
  if (sendmsg(channel, &message, 0) != 1) return said("sendmsg");
  close(client);
  dprintf(STDERR_FILENO, "stall: sent\n");
  return 0;
}

int main(int count, char **words) {
  const char *command = count > 1 ? words[1] : "";
  int failed = 64;
  if (strcmp(command, "splice") == 0) failed = hold_output(1);
  if (strcmp(command, "sendfile") == 0) failed = hold_output(0);
  if (strcmp(command, "rights") == 0) failed = send_rights(3);
  if (failed) return failed;
  for (;;)
    pause();
}
