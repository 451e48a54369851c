// The native code that can run outside of a sandbox, under AddressSanitizer and UndefinedBehaviorSanitizer.
// Prints a line for each check that fails, and the number of checks; exits with 1 if one failed.
#include "runtime/turns.h"
#include "sandbox/sandbox.h"
#include "worker/refusals.h"
#include "zygote/messages.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int looked_at, wrong;

static void holds(bool condition, const char *what) {
  looked_at++;
  if (condition) return;
  wrong++;
  printf("does not hold: %s\n", what);
}

static void specialise(void) {
  unsigned char frame[SPECIALISE_FRAME_BYTES] = {SPECIALISE_FRAME_BYTES - 4, 0, 0, 0, CHANNEL_SPECIALISE};
  char code[SPECIALISE_CODE_BYTES], hostname[SPECIALISE_HOSTNAME_BYTES];
  char *name = (char *)frame + CHANNEL_PREFIX_BYTES;
  struct failure failure = {0};
  struct sandbox_limits limits;
  // MB and inodes of /tmp, open files, pending signals, MB of memory, hundredths of a core, programs in /tmp.
  const uint32_t some[] = {64, 1000, 100, 32, 128, 50, 1};
  unsigned char *numbers = frame + SPECIALISE_FRAME_BYTES - sizeof some;
  memcpy(numbers, some, sizeof some);
  holds(message_read_specialise(frame, code, hostname, &limits, &failure) < 0,
        "code without a name is refused");
  static const char *const bad[] = {".", "..", "../x", "/etc", "a/b", ".hidden"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    strcpy(name, bad[i]);
    holds(message_read_specialise(frame, code, hostname, &limits, &failure) < 0, bad[i]);
  }
  strcpy(name, "code-1");
  strcpy(name + SPECIALISE_CODE_BYTES, "host");
  holds(message_read_specialise(frame, code, hostname, &limits, &failure) == 0 &&
            strcmp(code, "code-1") == 0 && strcmp(hostname, "host") == 0 && limits.open_files == 100 &&
            limits.memory_mb == 128 && limits.cpu_percent == 50 && limits.tmp_programs,
        "a frame is read");
  memset(numbers, 0, sizeof *some);
  holds(message_read_specialise(frame, code, hostname, &limits, &failure) < 0, "no limit is refused");
  memcpy(numbers, some, sizeof some);
  memset(name + SPECIALISE_CODE_BYTES, 'h', SPECIALISE_HOSTNAME_BYTES);
  holds(message_read_specialise(frame, code, hostname, &limits, &failure) < 0,
        "a host name without end is refused");
  frame[4] = CHANNEL_INIT;
  holds(message_read_specialise(frame, code, hostname, &limits, &failure) < 0,
        "another kind of frame is refused");
}

static void orders(void) {
  const int fds[FORK_MAX_FDS] = {10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21};
  struct sandbox_order order;
  struct failure failure = {0};
  struct wire_control message = {CONTROL_FORK, 1, FIRST_SANDBOX_UID + 1, 64, 0, 0};
  holds(message_read_order(&message, MAX_SLOTS, fds, FORK_MAX_FDS, &order, &failure) == 0 &&
            order.turns == 13 && order.refusals == 14 &&
            order.cgroup_count == FORK_MAX_FDS - FORK_FIXED_FDS && order.cgroup_fds[0] == 15,
        "an order is read");
  holds(message_read_order(&message, MAX_SLOTS, fds, FORK_MAX_FDS + 1, &order, &failure) < 0,
        "too many descriptors are refused");
  holds(message_read_order(&message, MAX_SLOTS, fds, FORK_FIXED_FDS - 1, &order, &failure) < 0,
        "too few descriptors are refused");
  message.a = 0;
  holds(message_read_order(&message, MAX_SLOTS, fds, FORK_FIXED_FDS, &order, &failure) < 0,
        "a sandbox as the worker's user is refused");
  message.a = FIRST_SANDBOX_UID;
  message.slot = MAX_SLOTS;
  holds(message_read_order(&message, MAX_SLOTS, fds, FORK_FIXED_FDS, &order, &failure) < 0,
        "a slot that is not there is refused");
}

static void refusals(void) {
  holds(strcmp(refusal_name(&(struct seccomp_data){.nr = SYS_socket, .args = {40, 1}}), "socket(AF_VSOCK)") ==
            0,
        "a family has its name");
  holds(strcmp(refusal_name(&(struct seccomp_data){.nr = SYS_socket, .args = {0x700000028ULL, 1}}),
               "socket(AF_VSOCK)") == 0,
        "whatever the upper half says");
  holds(strcmp(refusal_name(&(struct seccomp_data){.nr = SYS_unshare}), "unshare") == 0,
        "a call has its name");
  holds(strcmp(refusal_name(&(struct seccomp_data){.nr = SYS_getpid}), "a system call") == 0,
        "what is not in the table has none");
  struct refusal_budget budget = {0};
  int granted = 0;
  while (granted < 10000 && refusal_spend(&budget, 1000000))
    granted++;
  holds(granted == 128, "a burst has its bound");
  holds(refusal_spend(&budget, 1250000) && !refusal_spend(&budget, 1250000),
        "a quarter of a second buys one");
}

static void listeners(void) {
  holds(listeners_in("  sl  local_address rem_address   st tx_queue rx_queue\n"
                     "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n"
                     "   1: 0100007F:1F90 0100007F:A2C4 01 00000000:00000000 00:00000000 00000000\n"
                     "   2: 00000000000000000000000001000000:1F91 00000000000000000000000000000000:0000 0A\n"
                     "   3: 0100007F:1F92 00000000:0000 0A 0000") == 3,
        "those that listen are counted, and nothing else");
  holds(listeners_in("") == 0 && listeners_in("\n\n") == 0, "an empty table has none");
  struct listener_count count = {0};
  unsigned fit = 0;
  while (listener_fits(&count))
    fit++;
  holds(fit == MAX_LISTENERS, "the first listeners are allowed uncounted");
  listener_recount(&count, getpid());
  unsigned there = count.most;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  holds(listen(fd, 1) == 0, "a socket of our own listens");
  listener_recount(&count, getpid());
  holds(count.most > there || there >= MAX_LISTENERS, "and is counted");
  close(fd);
  listener_recount(&count, -1);
  holds(!listener_fits(&count), "where they cannot be counted there is no room");
}

static void turns(void) {
  struct failure failure = {0};
  int fd = -1;
  struct turns *ours = turns_make(&fd, &failure);
  struct turns *theirs = turns_map(fd, &failure);
  holds(ours && theirs && failure.message[0] == '\0', "a page of turns is mapped twice");
  turns_post(ours);
  turns_post(ours);
  holds(turns_take(theirs), "a turn that was posted is taken");
  turns_post(ours);
  holds(turns_take_back(ours, 9) == 2, "the rest is taken back");
  holds(!turns_take(theirs), "and then there is none");
  turns_post(ours);
  turns_post(ours);
  holds(turns_take_back(ours, 1) == 1, "no more is taken back than was asked for");
  holds(turns_take(theirs) && !turns_take(theirs), "and the rest is the sandbox's to take");
  holds(ftruncate(fd, 0) < 0 && errno == EPERM, "nobody cuts the page off");
  close(fd);
  turns_post(ours);
  holds(turns_take(theirs), "the page outlives its descriptor");
  turns_unmap(ours);
  turns_unmap(theirs);
}

// In a child process, because the condition lasts for ever.
static void landlock(void) {
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    struct failure failure = {0};
    int abi = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -1 : landlock_restrict(&failure);
    int fd = open("/proc/self/comm", O_WRONLY | O_CLOEXEC);
    _exit(abi < 0 ? 1 : abi == 0 ? 0 : fd < 0 && errno == EACCES ? 0 : 2);
  }
  int status = -1;
  waitpid(child, &status, 0);
  holds(status == 0, "Landlock's rules hold where the kernel has them");
}

int main(void) {
  specialise();
  orders();
  refusals();
  listeners();
  turns();
  landlock();
  printf("%d of %d hold\n", looked_at - wrong, looked_at);
  return wrong > 0;
}
