#include "network.h"

#include "protocol.gen.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// Least, default and largest bytes of a TCP socket's receive buffer. The kernel charges no cgroup for bytes that a
// connection receives before it is accepted: mem_cgroup_sk_alloc() does nothing in an interrupt, where connections
// come in. So on loopback the default is the smallest size that every kernel accepts; it grows as a connection is
// used. The kernel's own default would be 131,072.
#define LOOPBACK_RECEIVE_BYTES "4096 4096 2097152"
// Buffers for other hosts: a window grows only after a round trip, so the default is larger.
#define RECEIVE_BYTES "4096 8192 2097152"
// Upper bound on the connections that wait at one listener; the worker bounds the listeners (listeners.h).
#define PENDING_FILE "/proc/sys/net/core/somaxconn"
#define PENDING_CONNECTIONS "64"

int network_raise_loopback(struct failure *failure) {
  // The new network namespace holds one interface, and it is down; servers inside a function expect 127.0.0.1.
  FD_CLEANUP int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail_errno(failure, "open a socket for lo");
  struct ifreq request = {.ifr_name = "lo"};
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (ioctl(fd, SIOCSIFFLAGS, &request) < 0) return fail_errno(failure, "bring lo up");
  return 0;
}

// The launcher's /proc shows these files for the network namespace of the process that opens them.
int network_limit_pending(enum network_kind kind, struct failure *failure) {
  const char *receive_bytes = kind == NETWORK_LOOPBACK ? LOOPBACK_RECEIVE_BYTES : RECEIVE_BYTES;
  if (write_file("/proc/sys/net/ipv4/tcp_rmem", receive_bytes, failure) < 0) return -1;
  // Kernels before about 6.2 hide this file in a network namespace of a user namespace other than the first.
  if (access(PENDING_FILE, F_OK) < 0) return 0;
  return write_file(PENDING_FILE, PENDING_CONNECTIONS, failure);
}

int network_read_order(int channel, void *bytes, size_t length, int *network, struct failure *failure) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } ancillary;
  struct iovec part = {bytes, length};
  struct msghdr request = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = sizeof ancillary};
  ssize_t got;
  do {
    // The descriptor comes with the first byte, unix(7). It is close-on-exec, although nothing is executed before it
    // is closed.
    got = recvmsg(channel, &request, MSG_CMSG_CLOEXEC | MSG_WAITALL);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return fail_errno(failure, "receive the order");
  if (got == 0) return 0;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(&request); header; header = CMSG_NXTHDR(&request, header)) {
    if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
      memcpy(network, CMSG_DATA(header), sizeof *network);
  }
  // There is room for one descriptor. The kernel closes any others; the worker never sends them.
  if (request.msg_flags & MSG_CTRUNC) return fail(failure, "the order came with more than one descriptor");
  // MSG_WAITALL may end early, at the border of the message that carried the descriptor.
  if ((size_t)got == length) return 1;
  return read_exactly(channel, (char *)bytes + got, length - (size_t)got, failure);
}

static int replace_file(int etc, const char *name, const char *text, struct failure *failure) {
  // An image may have a link here; the file below is new, in the sandbox's own layer.
  if (unlinkat(etc, name, 0) < 0 && errno != ENOENT) return fail_errno(failure, "remove etc/%s", name);
  FD_CLEANUP int file = openat(etc, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (file < 0) return fail_errno(failure, "create etc/%s", name);
  // Independent of the zygote's umask: the function, later another id, must be able to read the file.
  if (fchmod(file, 0644) < 0) return fail_errno(failure, "open etc/%s to readers", name);
  return write_all(file, text, strlen(text), failure);
}

int network_join(int network, const char *root, struct failure *failure) {
  // The kernel checks that this is a network namespace. It must belong to a user namespace in which this process has
  // power: the launcher's, setns(2).
  if (setns(network, CLONE_NEWNET) < 0)
    return fail_errno(failure, "join the network namespace of the function");
  FD_CLEANUP int etc = -1;
  char path[64];
  snprintf(path, sizeof path, "%s/etc", root);
  etc = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (etc < 0) return fail_errno(failure, "open %s", path);
  static const char resolver[] = "nameserver " RESOLVER_ADDRESS "\noptions timeout:5 attempts:2\n";
  if (replace_file(etc, "resolv.conf", resolver, failure) < 0) return -1;
  // The image has `hosts: files`: without a network a name is known to be unknown at once. Here names come from DNS.
  static const char sources[] =
      "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n";
  return replace_file(etc, "nsswitch.conf", sources, failure);
}
