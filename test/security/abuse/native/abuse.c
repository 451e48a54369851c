// The attacks of the resource and network scenarios as native code, such as a function may bring along and
// run. `abuse COMMAND [ARGUMENT...]` prints the kernel's answer as one line of JSON, if it returns at all.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MB = 1024 * 1024 };

static double now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static int said(const char *what, long count, int error) {
  printf("{\"what\":\"%s\",\"count\":%ld,\"error\":\"%s\"}\n", what, count, strerrorname_np(error));
  fflush(stdout);
  return 0;
}

static void forever(void) {
  for (;;)
    pause();
}

// Ends all processes of its group but itself. They would keep open the pipe through which this one is read.
// They would also count as processes of the sandbox until a parent has waited for them.
static void end_group(void) {
  signal(SIGTERM, SIG_IGN);
  kill(0, SIGTERM);
  while (wait(NULL) > 0) {
  }
}

// Every child does the same, for ever; refused children go on trying.
static void fork_bomb(void) {
  for (;;) {
    if (fork() < 0) sched_yield();
  }
}

static int fork_count(void) {
  long children = 0;
  // A group of their own, so that they can be ended together while the function beside them goes on.
  setpgid(0, 0);
  for (; children < 100000; children++) {
    pid_t pid = fork();
    if (pid < 0) break;
    if (pid == 0) forever();
  }
  int error = errno;
  end_group();
  return said("fork", children, error);
}

static void *spin(void *unused) {
  (void)unused;
  for (volatile unsigned long turns = 0;; turns++) {
  }
  return NULL;
}

static void *wait_forever(void *unused) {
  (void)unused;
  forever();
  return NULL;
}

static int threads(void *(*body)(void *), long wanted) {
  long made = 0;
  int error = 0;
  // The smallest stack differs with the processor's registers, and a size below it is refused.
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 256 * 1024);
  for (; made < wanted; made++) {
    pthread_t thread;
    error = pthread_create(&thread, &small, body, NULL);
    if (error) break;
  }
  return said("thread", made, error);
}

static int exhaust_files(void) {
  long opened = 0;
  while (opened < 10 * MB && open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0)
    opened++;
  return said("open", opened, errno);
}

// Each of these touches memory until it is killed or refused; `limit_mb` bounds it where nothing else would.
static int mapped(long limit_mb) {
  long mb = 0;
  for (; mb < limit_mb; mb++) {
    char *block = mmap(NULL, MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) break;
    memset(block, 1, MB);
  }
  return said("mmap", mb, errno);
}

static int write_blocks(const char *what, int fd, long limit_mb) {
  static char block[MB];
  long mb = 0;
  if (fd < 0) return said(what, -1, errno);
  memset(block, 1, sizeof block);
  while (mb < limit_mb && write(fd, block, sizeof block) == (ssize_t)sizeof block)
    mb++;
  return said(what, mb, errno);
}

static int shared(long limit_mb) {
  char *block = mmap(NULL, (size_t)limit_mb * MB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) return said("shared", -1, errno);
  for (long mb = 0; mb < limit_mb; mb++)
    memset(block + (size_t)mb * MB, 1, MB);
  return said("shared", limit_mb, 0);
}

static long fill(int fd) {
  static char block[256 * 1024];
  long bytes = 0;
  for (;;) {
    ssize_t wrote = write(fd, block, sizeof block);
    if (wrote <= 0) return bytes;
    bytes += wrote;
  }
}

// One process has too few descriptors for much; each child fills its own, and keeps them.
static int in_children(const char *what, int processes, long (*action)(void)) {
  int results[2];
  // A group of their own, so that they can be ended together; they would keep this program's output open.
  setpgid(0, 0);
  if (pipe(results) < 0) return said(what, -1, errno);
  int started = 0;
  for (; started < processes; started++) {
    pid_t pid = fork();
    if (pid < 0) break;
    if (pid > 0) continue;
    long bytes = action();
    (void)!write(results[1], &bytes, sizeof bytes);
    forever();
  }
  close(results[1]);
  long total = 0, bytes = 0;
  for (int done = 0; done < started; done++) {
    struct pollfd ready = {results[0], POLLIN, 0};
    // A killed child prints nothing, and the pipe stays open as long as another child lives.
    if (poll(&ready, 1, 4000) <= 0 || read(results[0], &bytes, sizeof bytes) != sizeof bytes) break;
    total += bytes;
  }
  said(what, total / MB, 0);
  // Held for a while, so that the test can inspect the host.
  sleep(2);
  end_group();
  return 0;
}

static long fill_pipes(void) {
  long bytes = 0;
  int ends[2];
  while (pipe2(ends, O_NONBLOCK) == 0) {
    fcntl(ends[1], F_SETPIPE_SZ, MB);
    bytes += fill(ends[1]);
  }
  return bytes;
}

static long fill_unix(void) {
  long bytes = 0;
  int ends[2], size = 64 * MB;
  while (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0) {
    setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    bytes += fill(ends[0]);
  }
  return bytes;
}

static long fill_tcp(bool accepts) {
  long bytes = 0;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0) return -1;
  if (listen(listener, 1024) < 0 || getsockname(listener, (struct sockaddr *)&address, &length) < 0)
    return -1;
  for (;;) {
    int client = socket(AF_INET, SOCK_STREAM, 0);
    if (client < 0 || connect(client, (struct sockaddr *)&address, sizeof address) < 0) return bytes;
    if (accepts && accept(listener, NULL, NULL) < 0) return bytes;
    fcntl(client, F_SETFL, O_NONBLOCK);
    // Never read: what is sent lies in both buffers.
    bytes += fill(client);
  }
}

static long fill_tcp_accepted(void) {
  return fill_tcp(true);
}
static long fill_tcp_backlog(void) {
  return fill_tcp(false);
}

// Connections whose client has gone, waiting at as many listeners as there may be: only what waits costs memory.
static long fill_listeners(void) {
  static char block[1024];
  long waiting = 0;
  for (int listeners = 0; listeners < 300; listeners++) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0) return waiting;
    if (listen(listener, 4096) < 0 || getsockname(listener, (struct sockaddr *)&address, &length) < 0)
      return waiting;
    for (int client = 0; client < 4096; client++) {
      int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
      if (fd < 0) return waiting;
      // Over the limit of a listener a connection stays half open, and comes to nothing.
      connect(fd, (struct sockaddr *)&address, sizeof address);
      bool connected = send(fd, block, sizeof block, 0) == (ssize_t)sizeof block;
      close(fd);
      if (!connected) break;
      waiting++;
    }
  }
  return waiting;
}

static long fill_udp(void) {
  static char block[32 * 1024];
  long bytes = 0;
  int size = 64 * MB;
  for (;;) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0) return bytes;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    getsockname(fd, (struct sockaddr *)&address, &length);
    // Sent to itself and never read; what is over the buffer is dropped.
    for (int packet = 0; packet < 16; packet++) {
      if (sendto(fd, block, sizeof block, 0, (struct sockaddr *)&address, length) == (ssize_t)sizeof block)
        bytes += (long)sizeof block;
    }
  }
}

static int exhaust_memory(const char *kind, long limit_mb, int processes) {
  if (strcmp(kind, "mmap") == 0) return mapped(limit_mb);
  if (strcmp(kind, "shared") == 0) return shared(limit_mb);
  if (strcmp(kind, "memfd") == 0)
    return write_blocks("memfd", (int)syscall(SYS_memfd_create, "m", 0), limit_mb);
  if (strcmp(kind, "tmpfs") == 0)
    return write_blocks("tmpfs", open("/tmp/native.bin", O_WRONLY | O_CREAT | O_TRUNC, 0600), limit_mb);
  if (strcmp(kind, "pipe") == 0) return in_children("pipe", processes, fill_pipes);
  if (strcmp(kind, "unix") == 0) return in_children("unix", processes, fill_unix);
  if (strcmp(kind, "tcp") == 0) return in_children("tcp", processes, fill_tcp_accepted);
  if (strcmp(kind, "backlog") == 0) return in_children("backlog", processes, fill_tcp_backlog);
  if (strcmp(kind, "listeners") == 0) return in_children("listeners", processes, fill_listeners);
  if (strcmp(kind, "udp") == 0) return in_children("udp", processes, fill_udp);
  return 64;
}

static int reached(const char *address, int error, double start) {
  printf("{\"address\":\"%s\",\"error\":\"%s\",\"ms\":%.1f}\n", address, error ? strerrorname_np(error) : "",
         now_ms() - start);
  return 0;
}

// Non-blocking, so that a packet that is silently dropped shows as a time-out and not as a hang.
static int reach(const char *address, int port, int kind) {
  double start = now_ms();
  struct sockaddr_storage storage = {0};
  socklen_t length;
  struct sockaddr_in *four = (struct sockaddr_in *)&storage;
  struct sockaddr_in6 *six = (struct sockaddr_in6 *)&storage;
  if (inet_pton(AF_INET, address, &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons((uint16_t)port);
    length = sizeof *four;
  } else if (inet_pton(AF_INET6, address, &six->sin6_addr) == 1) {
    six->sin6_family = AF_INET6;
    six->sin6_port = htons((uint16_t)port);
    length = sizeof *six;
  } else {
    struct sockaddr_un *local = (struct sockaddr_un *)&storage;
    local->sun_family = AF_UNIX;
    // "@name" is the abstract one.
    size_t name = strlen(address);
    if (name >= sizeof local->sun_path) return 64;
    memcpy(local->sun_path, address, name);
    if (address[0] == '@') local->sun_path[0] = '\0';
    length = (socklen_t)(sizeof(sa_family_t) + name + (address[0] == '@' ? 0 : 1));
  }
  int fd = socket(storage.ss_family, kind | SOCK_NONBLOCK, 0);
  if (fd < 0) return reached(address, errno, start);
  if (connect(fd, (struct sockaddr *)&storage, length) < 0 && errno != EINPROGRESS)
    return reached(address, errno, start);
  if (kind == SOCK_DGRAM) return reached(address, send(fd, "x", 1, 0) < 0 ? errno : 0, start);
  struct pollfd ready = {fd, POLLOUT, 0};
  if (poll(&ready, 1, 2000) == 0) return reached(address, ETIMEDOUT, start);
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  return reached(address, error, start);
}

static int open_socket(int family, int type, int protocol) {
  int fd = socket(family, type, protocol);
  printf("{\"socket\":\"%d,%d,%d\",\"error\":\"%s\"}\n", family, type, protocol,
         fd < 0 ? strerrorname_np(errno) : "");
  return 0;
}

static int flood(void) {
  static char block[64 * 1024];
  memset(block, 'x', sizeof block);
  for (;;) {
    if (write(STDOUT_FILENO, block, sizeof block) < 0) return 1;
  }
}

static int newlines(void) {
  static char block[64 * 1024];
  memset(block, '\n', sizeof block);
  for (;;) {
    if (write(STDOUT_FILENO, block, sizeof block) < 0) return 1;
  }
}

// Both ends are its own, so no other process ever writes.
static int block_read(void) {
  int ends[2];
  char byte;
  if (pipe(ends) < 0) return 1;
  return (int)read(ends[0], &byte, 1);
}

static int stubborn(void) {
  for (int number = 1; number < NSIG; number++)
    signal(number, SIG_IGN);
  setsid();
  forever();
  return 0;
}

int main(int count, char **words) {
  const char *command = count > 1 ? words[1] : "";
  const char *first = count > 2 ? words[2] : "";
  long second = count > 3 ? atol(words[3]) : 0;
  long third = count > 4 ? atol(words[4]) : 0;
  if (strcmp(command, "mkfifo") == 0) return mkfifo(first, 0600) < 0 ? errno : 0;
  if (strcmp(command, "fork-bomb") == 0) fork_bomb();
  if (strcmp(command, "fork-count") == 0) return fork_count();
  if (strcmp(command, "thread-count") == 0) return threads(wait_forever, 100000);
  if (strcmp(command, "spin") == 0) return threads(spin, atol(first)), forever(), 0;
  if (strcmp(command, "files") == 0) return exhaust_files();
  if (strcmp(command, "memory") == 0) return exhaust_memory(first, second, (int)third);
  if (strcmp(command, "tcp") == 0) return reach(first, (int)second, SOCK_STREAM);
  if (strcmp(command, "udp") == 0) return reach(first, (int)second, SOCK_DGRAM);
  if (strcmp(command, "socket") == 0) return open_socket(atoi(first), (int)second, (int)third);
  if (strcmp(command, "flood") == 0) return flood();
  if (strcmp(command, "newlines") == 0) return newlines();
  if (strcmp(command, "block-read") == 0) return block_read();
  if (strcmp(command, "stubborn") == 0) return stubborn();
  fprintf(stderr, "abuse: no command \"%s\"\n", command);
  return 64;
}
