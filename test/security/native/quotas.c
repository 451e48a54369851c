// U: quotas that the kernel keeps for a user. Everything that is taken stays taken until the process ends.
#include "attack.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// More than any of the tested limits.
#define MANY 4096
#define FULL_PIPE 65536

// Calls `take` until it fails; prints the number of successes, and the error.
static void exhaust(const struct attack *attack, const char *name, long (*take)(void), long most) {
  long taken = 0;
  errno = 0;
  while (taken < most && take() >= 0)
    taken++;
  int error = errno;
  fact_number(attack, name, taken);
  if (taken < most) told(attack, "the next", -1, error);
}

static long take_inotify(void) {
  return syscall(SYS_inotify_init1, O_CLOEXEC);
}

static long take_inotify_of_old(void) {
  return syscall(SYS_inotify_init);
}

static void inotify_instances(const struct attack *attack) {
  exhaust(attack, "inotify_init1", take_inotify, MANY);
  exhaust(attack, "inotify_init", take_inotify_of_old, MANY);
}

static long take_timer(void) {
  struct sigevent quiet = {.sigev_notify = SIGEV_NONE};
  int timer = 0;
  return syscall(SYS_timer_create, CLOCK_MONOTONIC, &quiet, &timer);
}

static void timers(const struct attack *attack) {
  exhaust(attack, "timer_create", take_timer, MANY);
}

// A child that waits with every signal blocked: signals to it stay pending, and count. Signals that kill(2)
// sends are queued whatever the limit is.
static long take_pending(void) {
  pid_t pid = fork();
  if (pid < 0) return -1;
  if (pid == 0) {
    for (;;)
      pause();
  }
  for (int number = 1; number < SIGRTMIN; number++) {
    // Leaves out those that cannot be blocked, and the one that would wake a stopped process.
    if (number != SIGKILL && number != SIGSTOP && number != SIGCONT) kill(pid, number);
  }
  return 0;
}

static void pending_signals(const struct attack *attack) {
  sigset_t all, before;
  sigfillset(&all);
  // The children inherit it.
  sigprocmask(SIG_BLOCK, &all, &before);
  exhaust(attack, "processes with pending signals", take_pending, MANY);
  sigprocmask(SIG_SETMASK, &before, NULL);
}

static long take_pipe(void) {
  static const char page[4096];
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) return -1;
  // The kernel gives a user with many pipes small ones, of two pages.
  for (int written = 0; written < FULL_PIPE; written += (int)sizeof page) {
    if (write(ends[1], page, sizeof page) < 0) return -1;
  }
  return 0;
}

static long take_epoll_watch(void) {
  static int epoll = -1;
  if (epoll < 0) epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN};
  int fd = eventfd(0, EFD_CLOEXEC);
  return fd < 0 ? -1 : epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

// A descriptor in flight that is never received counts for its sender.
static long take_in_flight(void) {
  static int ends[2] = {-1, -1};
  static int sent;
  if (sent++ % 16 == 0 && socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
    return -1;
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } ancillary = {0};
  struct iovec part = {"x", 1};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = sizeof ancillary};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &ends[0], sizeof(int));
  return sendmsg(ends[1], &message, 0);
}

static long take_locked_page(void) {
  void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return page == MAP_FAILED ? -1 : mlock(page, 4096);
}

static long take_huge_page(void) {
  return syscall(SYS_memfd_create, "huge", 4 /* MFD_HUGETLB */);
}

static long take_queue(void) {
  return syscall(SYS_mq_open, "offshoot", O_CREAT | O_RDWR, 0600, NULL);
}

static long take_fanotify(void) {
  return syscall(SYS_fanotify_init, 0x200, O_RDONLY);
}

static long take_key(void) {
  return syscall(SYS_add_key, "user", "offshoot", "v", 1, -2);
}

// Belongs to the pipe that the worker made, and pays for, for this process's output.
static long enlarge_output(void) {
  return fcntl(STDERR_FILENO, F_SETPIPE_SZ, 1 << 20);
}

static const struct {
  const char *name;
  long (*take)(void);
} quotas[] = {
    {"pipes", take_pipe},
    {"epoll watches", take_epoll_watch},
    {"descriptors in flight", take_in_flight},
    {"locked pages", take_locked_page},
    {"huge pages", take_huge_page},
    {"message queues", take_queue},
    {"fanotify groups", take_fanotify},
    {"keys", take_key},
    {"larger pipes of the worker", enlarge_output},
};

// Each in a child that keeps everything it has taken, and has descriptors of its own for it.
static void per_user(const struct attack *attack) {
  for (size_t i = 0; i < sizeof quotas / sizeof *quotas; i++) {
    int ends[2];
    fflush(attack->out);
    if (pipe2(ends, O_CLOEXEC) < 0) return told(attack, quotas[i].name, -1, errno);
    pid_t pid = fork();
    if (pid < 0) return told(attack, quotas[i].name, -1, errno);
    if (pid == 0) {
      const struct attack own = {fdopen(ends[1], "w"), 0, NULL};
      exhaust(&own, quotas[i].name, quotas[i].take, MANY);
      fclose(own.out);
      for (;;)
        pause();
    }
    close(ends[1]);
    char text[512];
    ssize_t length;
    while ((length = read(ends[0], text, sizeof text)) > 0)
      fwrite(text, 1, (size_t)length, attack->out);
    close(ends[0]);
  }
}

const struct scenario quota_scenarios[] = {
    {"U1", inotify_instances}, {"U2", timers}, {"U3", pending_signals}, {"U4", per_user}, {NULL, NULL},
};
