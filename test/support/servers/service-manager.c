// A service manager's end of sd_notify(3): service-manager SOCKET. Prints `listening`, and then each message
// on one line, after the id of the sending process by the kernel's word.
#define _GNU_SOURCE
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int main(int count, char **arguments) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int on = 1, fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (count != 2 || fd < 0) return 2;
  size_t length = strlen(arguments[1]);
  strncpy(address.sun_path, arguments[1], sizeof address.sun_path - 1);
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  // Before it has a name, so that no message comes without its sender.
  if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0) return perror("ask for senders"), 1;
  if (bind(fd, (struct sockaddr *)&address, offsetof(struct sockaddr_un, sun_path) + length) < 0)
    return perror("bind"), 1;
  setvbuf(stdout, NULL, _IOLBF, 0);
  puts("listening");
  for (;;) {
    char text[1024], control[CMSG_SPACE(sizeof(struct ucred))];
    struct iovec part = {text, sizeof text - 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(fd, &message, 0);
    if (got < 0) return perror("receive"), 1;
    text[got] = '\0';
    for (char *at = text; (at = strchr(at, '\n'));) *at = ' ';
    struct ucred *sender = (struct ucred *)CMSG_DATA(CMSG_FIRSTHDR(&message));
    printf("%d %s\n", sender->pid, text);
  }
}
