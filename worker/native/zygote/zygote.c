#include "zygote.h"

#include "messages.h"
#include "runtime/channel.h"
#include "sandbox/layers.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

// Exit status of a sandbox that could not be built (EX_SOFTWARE, sysexits.h).
enum { SETUP_FAILED_STATUS = 70 };

// Write end of the pipe to which the SIGCHLD handler writes. A signalfd would not do, because a runtime resets the
// signal mask of its threads. A pidfd for each child would not do either, because every fork would inherit all of
// them.
static int child_event_out = -1;

static void on_child_event(int signal_number) {
  (void)signal_number;
  int saved = errno;
  // A full pipe serves as well: one byte wakes the loop, which then reaps all ended children.
  (void)!write(child_event_out, "c", 1);
  errno = saved;
}

// Makes fork() also copy the page table entries of the runtime's code. By default the kernel leaves out mappings
// without a private page, and each page is faulted in again. A sandbox would spend more time on those faults than on
// any other part of its start.
//
// One private page in a mapping is enough for a copy of all its entries (vma_needs_copy() in mm/memory.c). So this
// writes one byte of each mapping over itself. It goes through /proc/self/mem, which may write to a read-only private
// mapping. The cost is one page for each mapping. If the kernel forbids it, sandboxes only start more slowly.
static void carry_code_over_forks(void) {
  FD_CLEANUP int memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
  FILE *maps = fopen("/proc/self/maps", "re");
  if (memory < 0 || !maps) {
    if (maps) fclose(maps);
    return;
  }
  char line[512], permissions[5], path[256];
  unsigned long start;
  while (fgets(line, sizeof line, maps)) {
    // start-end permissions offset device inode path
    if (sscanf(line, "%lx-%*x %4s %*s %*s %*s %255s", &start, permissions, path) != 3) continue;
    if (path[0] != '/' || permissions[1] == 'w' || permissions[3] != 'p') continue;
    char byte;
    if (pread(memory, &byte, 1, (off_t)start) == 1) (void)!pwrite(memory, &byte, 1, (off_t)start);
  }
  fclose(maps);
}

int zygote_open(struct zygote *zygote, int control, struct failure *failure) {
  int events[2];
  zygote->control = control;
  if (fcntl(control, F_SETFD, FD_CLOEXEC) < 0)
    return fail_errno(failure, "take over the control socket %d", control);
  if (pipe2(events, O_CLOEXEC | O_NONBLOCK) < 0) return fail_errno(failure, "make the pipe for child events");
  zygote->child_events = events[0];
  child_event_out = events[1];
  zygote->pid_namespace = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
  if (zygote->pid_namespace < 0) return fail_errno(failure, "open own pid namespace");
  zygote->slots = MAX_SLOTS;
  zygote->pids = calloc(MAX_SLOTS, sizeof *zygote->pids);
  if (!zygote->pids) return fail_errno(failure, "allocate the table of sandboxes");
  const struct sigaction action = {.sa_handler = on_child_event, .sa_flags = SA_RESTART | SA_NOCLDSTOP};
  if (sigaction(SIGCHLD, &action, NULL) < 0) return fail_errno(failure, "watch for ended sandboxes");
  carry_code_over_forks();
  const int own[] = {zygote->control, zygote->child_events, child_event_out, zygote->pid_namespace};
  return sandbox_plan_descriptors(&zygote->inherited, own, sizeof own / sizeof *own, failure);
}

static int report(const struct zygote *zygote, struct wire_control message, struct failure *failure) {
  struct wire_parts bytes;
  wire_put_control(&bytes, &message);
  return write_all(zygote->control, bytes.head, CONTROL_BYTES, failure);
}

static int reap(struct zygote *zygote, struct failure *failure) {
  char drained[64];
  while (read(zygote->child_events, drained, sizeof drained) > 0) {
  }
  for (;;) {
    int status;
    struct rusage usage;
    pid_t pid = wait4(-1, &status, WNOHANG, &usage);
    if (pid <= 0) return 0;
    uint32_t slot = 0;
    while (slot < zygote->slots && zygote->pids[slot] != pid)
      slot++;
    if (slot == zygote->slots) continue;
    zygote->pids[slot] = 0;
    uint64_t cpu = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000u +
                   (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    const struct wire_control message = {CONTROL_EXITED, slot, status, 0, cpu, (uint64_t)usage.ru_maxrss};
    if (report(zygote, message, failure) < 0) return -1;
  }
}

// The first steps of a sandbox, right after the fork.
static int become_sandbox(struct zygote *zygote, const struct sandbox_order *order, struct failure *failure) {
  // The handler would write into the zygote's pipe. The runtime keeps its handlers of the other signals (WebAssembly
  // traps by SIGSEGV).
  signal(SIGCHLD, SIG_DFL);
  // At once, so that a sandbox never holds a descriptor that could order forks or show the ends of its siblings.
  close(zygote->control);
  close(zygote->child_events);
  close(child_event_out);
  close(zygote->pid_namespace);
  if (sandbox_prepare(order, zygote->prepared.phases, failure) < 0) return -1;
  // After the sandbox has joined its cgroup, for which the page counts. The mapping needs no descriptor.
  zygote->turns = turns_map(order->turns, failure);
  close(order->turns);
  if (!zygote->turns) return -1;
  // The language's own duties after a fork, such as locks and randomness.
  if (zygote->hooks.after_fork_in_sandbox) zygote->hooks.after_fork_in_sandbox(zygote->hooks.runtime);
  return 0;
}

static _Noreturn void give_up(const struct sandbox_order *order, struct failure *failure) {
  struct failure ignored = {0};
  fail_in(failure, "sandbox");
  struct wire_parts report;
  wire_put_setup_failed(&report, &(struct wire_setup_failed){{failure->message, strlen(failure->message)}});
  channel_send(order->channel, CHANNEL_SETUP_FAILED, 0, &report, &ignored);
  _exit(SETUP_FAILED_STATUS);
}

bool zygote_is_told(const struct sandbox_order *order) {
  struct pollfd channel = {order->channel, POLLIN, 0};
  return poll(&channel, 1, 0) > 0;
}

void zygote_isolate(struct zygote *zygote, const struct sandbox_order *order) {
  char code[SPECIALISE_CODE_BYTES], hostname[SPECIALISE_HOSTNAME_BYTES];
  struct sandbox_limits limits;
  struct failure failure = {0};
  // Not before the runtime has warmed up: the worker prefers prepared sandboxes because they can start at once.
  struct wire_parts report;
  wire_put_prepared(&report, &zygote->prepared);
  if (channel_send(order->channel, CHANNEL_PREPARED, 0, &report, &failure) < 0) give_up(order, &failure);
  int told = sandbox_await_function(order, code, hostname, &limits, &failure);
  if (told == 0) _exit(0);
  if (told < 0 || sandbox_isolate(order, &zygote->inherited, code, hostname, &limits,
                                  zygote->hooks.renew_loop, zygote->hooks.runtime, &failure) < 0)
    give_up(order, &failure);
}

// Returns 1 in the sandbox, 0 in the zygote, -1 when the zygote cannot fork any more.
static int fork_sandbox(struct zygote *zygote, const struct sandbox_order *order, struct failure *failure) {
  uint64_t start = now_us();
  // The pid namespace for children is that of the last fork, which may have ended by now. So the zygote returns to
  // its own namespace, then asks for a new one for the next child. A process itself never changes its pid namespace,
  // pid_namespaces(7).
  if (setns(zygote->pid_namespace, CLONE_NEWPID) < 0)
    return fail_errno(failure, "return to own pid namespace");
  int error = 0;
  pid_t pid = -1;
  if (unshare(CLONE_NEWPID) < 0) {
    error = errno;
  } else {
    const struct runtime_hooks *hooks = &zygote->hooks;
    if (hooks->before_fork) hooks->before_fork(hooks->runtime);
    // glibc's fork, not a raw clone: its handlers restore the locks of malloc and of the event loop in the child.
    pid = fork();
    if (pid < 0) error = errno;
    if (pid != 0 && hooks->after_fork_in_zygote) hooks->after_fork_in_zygote(hooks->runtime);
  }
  if (pid == 0) {
    if (become_sandbox(zygote, order, failure) == 0) return 1;
    give_up(order, failure);
  }
  if (pid < 0)
    return report(zygote, (struct wire_control){CONTROL_FORK_FAILED, order->slot, error, 0, 0, 0}, failure);
  zygote->pids[order->slot] = pid;
  return report(zygote, (struct wire_control){CONTROL_FORKED, order->slot, pid, 0, now_us() - start, 0},
                failure);
}

static void close_order(const struct sandbox_order *order) {
  close(order->channel);
  close(order->stdout_fd);
  close(order->stderr_fd);
  close(order->turns);
  close(order->refusals);
  for (int i = 0; i < order->cgroup_count; i++)
    close(order->cgroup_fds[i]);
}

// Receives one message with its descriptors. Returns 1, or 0 if the worker has closed the socket.
static int receive(const struct zygote *zygote, struct wire_control *message, int *fds, int *fd_count,
                   struct failure *failure) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int) * FORK_MAX_FDS)];
  } ancillary;
  unsigned char bytes[CONTROL_BYTES];
  struct iovec part = {bytes, sizeof bytes};
  struct msghdr request = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = sizeof ancillary};
  ssize_t got;
  do {
    // Close-on-exec from the first moment: the next line may fork a sandbox.
    got = recvmsg(zygote->control, &request, MSG_CMSG_CLOEXEC | MSG_WAITALL);
  } while (got < 0 && errno == EINTR);
  if (got == 0) return 0;
  if (got < 0) return fail_errno(failure, "receive from the worker");
  if ((request.msg_flags & MSG_CTRUNC) || !wire_read_control(bytes, (size_t)got, message))
    return fail(failure, "message of %zd bytes from the worker", got);
  *fd_count = message_descriptors(&request, fds);
  return 1;
}

static int handle_order(struct zygote *zygote, struct sandbox_order *order, struct failure *failure) {
  struct wire_control message;
  int fds[FORK_MAX_FDS], fd_count = 0;
  int got = receive(zygote, &message, fds, &fd_count, failure);
  if (got <= 0) return got == 0 ? -2 : -1;
  if (message_read_order(&message, zygote->slots, fds, fd_count, order, failure) < 0) return -1;
  if (message.kind == CONTROL_KILL) {
    // The child is not reaped yet, so its number cannot belong to another process. With PID 1 its whole namespace
    // ends.
    if (zygote->pids[message.slot] > 0) kill(zygote->pids[message.slot], SIGKILL);
    return 0;
  }
  if (!WITH_DISTINCT_UID) order->uid = FIRST_SANDBOX_UID;
  int result = fork_sandbox(zygote, order, failure);
  if (result != 1) close_order(order);
  return result;
}

int zygote_serve(struct zygote *zygote, struct sandbox_order *order, struct failure *failure) {
  if (report(zygote, (struct wire_control){CONTROL_HELLO, 0, CONTROL_VERSION, 0, 0, 0}, failure) < 0)
    return -1;
  for (;;) {
    struct pollfd wanted[] = {{zygote->child_events, POLLIN, 0}, {zygote->control, POLLIN, 0}};
    if (poll(wanted, 2, -1) < 0 && errno != EINTR) return fail_errno(failure, "wait for orders");
    if ((wanted[0].revents & POLLIN) && reap(zygote, failure) < 0) return -1;
    if (!(wanted[1].revents & (POLLIN | POLLHUP | POLLERR))) continue;
    int result = handle_order(zygote, order, failure);
    if (result == -2) return 0;
    if (result != 0) return result;
  }
}
