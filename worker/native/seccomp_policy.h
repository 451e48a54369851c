// The system calls of a sandbox, as data: what is allowed and why. Compiled into a filter when the project is
// built (seccomp_compile.c), so that no library and no parser is needed in a sandbox.
//
// Everything that is not named here is answered ENOSYS, as by a kernel that never had it: programs then fall
// back. What programs try although it is forbidden is answered EPERM, so that the cause is clear. Any other
// architecture's calls (int 0x80, x32) kill the process: nothing honest makes them.
//
//   ALLOW(call, reason)                    whatever its arguments
//   ALLOW_EQUAL(call, argument, value, reason)          if the low 32 bits of the argument equal the value
//   ALLOW_MASKED(call, argument, mask, value, reason)   if the argument, masked, equals the value
//   REFUSE(call, reason)                   EPERM
//
// Arguments that the kernel takes as 32 bits are compared on 32 bits: a filter that compares 64 can be passed
// by setting the upper half (CVE-2019-10063).
#pragma once

#define LOW_32 0xffffffffULL
// clone(2) flags that make namespaces, CLONE_NEWTIME included.
#define CLONE_NAMESPACE_FLAGS 0x7e020080ULL
#define FUTEX_COMMAND_MASK 0x7fULL

// clang-format off
#define SECCOMP_POLICY \
  /* memory */ \
  ALLOW(brk, "heap of C programs") \
  ALLOW(mmap, "memory, code pages of JIT compilers included") \
  ALLOW(munmap, "gives memory back") \
  ALLOW(mremap, "realloc of large blocks") \
  ALLOW(mprotect, "V8 turns written code pages executable") \
  ALLOW(madvise, "allocators give pages back") \
  ALLOW(mincore, "garbage collectors look which pages are resident") \
  ALLOW(msync, "writes mapped files back") \
  ALLOW(mlock, "bounded by RLIMIT_MEMLOCK; crypto libraries lock keys") \
  ALLOW(munlock, "the reverse of mlock") \
  ALLOW(membarrier, "V8 and musl use it when code is patched") \
  ALLOW(memfd_create, "anonymous shared memory; charged to the sandbox's cgroup") \
  ALLOW(pkey_alloc, "V8 guards its code pages with protection keys") \
  ALLOW(pkey_free, "the reverse of pkey_alloc") \
  ALLOW(pkey_mprotect, "mprotect with a protection key") \
  /* files */ \
  ALLOW(read, "files, pipes and sockets") \
  ALLOW(write, "files, pipes and sockets") \
  ALLOW(readv, "read in parts") \
  ALLOW(writev, "write in parts; libuv") \
  ALLOW(pread64, "read at a place") \
  ALLOW(pwrite64, "write at a place") \
  ALLOW(preadv, "read at a place in parts") \
  ALLOW(pwritev, "write at a place in parts") \
  ALLOW(preadv2, "as preadv, with flags") \
  ALLOW(pwritev2, "as pwritev, with flags") \
  ALLOW(open, "older C libraries") \
  ALLOW(openat, "opens files") \
  ALLOW(openat2, "opens files with a stricter walk; falls under the same permissions") \
  ALLOW(creat, "older programs") \
  ALLOW(close, "closes descriptors") \
  ALLOW(close_range, "child processes close what they inherited") \
  ALLOW(lseek, "moves in a file") \
  ALLOW(stat, "older C libraries") \
  ALLOW(fstat, "facts of an open file") \
  ALLOW(lstat, "older C libraries") \
  ALLOW(newfstatat, "facts of a file") \
  ALLOW(statx, "facts of a file; libuv") \
  ALLOW(statfs, "free space of /tmp") \
  ALLOW(fstatfs, "free space of /tmp") \
  ALLOW(access, "older C libraries") \
  ALLOW(faccessat, "may a file be read") \
  ALLOW(faccessat2, "may a file be read, with flags") \
  ALLOW(getdents64, "lists directories") \
  ALLOW(getdents, "older C libraries") \
  ALLOW(getcwd, "working directory") \
  ALLOW(chdir, "child processes start elsewhere") \
  ALLOW(fchdir, "as chdir") \
  ALLOW(mkdir, "in /tmp") \
  ALLOW(mkdirat, "in /tmp") \
  ALLOW(rmdir, "in /tmp") \
  ALLOW(unlink, "in /tmp") \
  ALLOW(unlinkat, "in /tmp") \
  ALLOW(rename, "in /tmp; the usual atomic write") \
  ALLOW(renameat, "in /tmp") \
  ALLOW(renameat2, "in /tmp") \
  ALLOW(link, "in /tmp") \
  ALLOW(linkat, "in /tmp") \
  ALLOW(symlink, "in /tmp") \
  ALLOW(symlinkat, "in /tmp") \
  ALLOW(readlink, "follows links") \
  ALLOW(readlinkat, "follows links") \
  ALLOW(chmod, "on own files; set-id bits have no effect on a nosuid mount") \
  ALLOW(fchmod, "as chmod") \
  ALLOW(fchmodat, "as chmod") \
  ALLOW(fchmodat2, "as chmod") \
  ALLOW(chown, "to its only id; archive tools do that") \
  ALLOW(fchown, "as chown") \
  ALLOW(lchown, "as chown") \
  ALLOW(fchownat, "as chown") \
  ALLOW(umask, "mode of new files") \
  ALLOW(truncate, "cuts files") \
  ALLOW(ftruncate, "cuts files") \
  ALLOW(fallocate, "reserves space within the tmpfs limit") \
  ALLOW(fadvise64, "read-ahead hints") \
  ALLOW(readahead, "read-ahead hints") \
  ALLOW(utime, "time stamps of own files") \
  ALLOW(utimes, "time stamps of own files") \
  ALLOW(futimesat, "time stamps of own files") \
  ALLOW(utimensat, "time stamps of own files") \
  ALLOW(fsync, "databases in /tmp") \
  ALLOW(fdatasync, "databases in /tmp") \
  ALLOW(sync_file_range, "databases in /tmp") \
  ALLOW(copy_file_range, "fs.copyFile") \
  ALLOW(sendfile, "fs.copyFile, static files") \
  ALLOW(splice, "pipes between files and sockets") \
  ALLOW(tee, "pipes") \
  ALLOW(flock, "locks on own files") \
  ALLOW(getxattr, "cp and ls ask for attributes") \
  ALLOW(lgetxattr, "as getxattr") \
  ALLOW(fgetxattr, "as getxattr") \
  ALLOW(listxattr, "as getxattr") \
  ALLOW(llistxattr, "as getxattr") \
  ALLOW(flistxattr, "as getxattr") \
  ALLOW(inotify_init, "fs.watch") \
  ALLOW(inotify_init1, "fs.watch") \
  ALLOW(inotify_add_watch, "fs.watch") \
  ALLOW(inotify_rm_watch, "fs.watch") \
  ALLOW(dup, "descriptors of child processes") \
  ALLOW(dup2, "descriptors of child processes") \
  ALLOW(dup3, "descriptors of child processes") \
  ALLOW(pipe, "child processes") \
  ALLOW(pipe2, "child processes") \
  ALLOW_EQUAL(fcntl, 1, F_DUPFD, "duplicates") \
  ALLOW_EQUAL(fcntl, 1, F_DUPFD_CLOEXEC, "duplicates") \
  ALLOW_EQUAL(fcntl, 1, F_GETFD, "close-on-exec") \
  ALLOW_EQUAL(fcntl, 1, F_SETFD, "close-on-exec") \
  ALLOW_EQUAL(fcntl, 1, F_GETFL, "non-blocking") \
  ALLOW_EQUAL(fcntl, 1, F_SETFL, "non-blocking") \
  ALLOW_EQUAL(fcntl, 1, F_GETLK, "SQLite") \
  ALLOW_EQUAL(fcntl, 1, F_SETLK, "SQLite") \
  ALLOW_EQUAL(fcntl, 1, F_SETLKW, "SQLite") \
  ALLOW_EQUAL(fcntl, 1, F_OFD_SETLK, "SQLite, newer") \
  ALLOW_EQUAL(fcntl, 1, F_GETPIPE_SZ, "size of a pipe") \
  ALLOW_EQUAL(fcntl, 1, F_ADD_SEALS, "seals of a memfd") \
  ALLOW_EQUAL(fcntl, 1, F_GET_SEALS, "seals of a memfd") \
  ALLOW_EQUAL(ioctl, 1, FIONBIO, "libuv makes descriptors non-blocking") \
  ALLOW_EQUAL(ioctl, 1, FIONREAD, "bytes that can be read") \
  ALLOW_EQUAL(ioctl, 1, FIOCLEX, "close-on-exec") \
  ALLOW_EQUAL(ioctl, 1, FIONCLEX, "close-on-exec") \
  ALLOW_EQUAL(ioctl, 1, TCGETS, "isatty; answered ENOTTY") \
  ALLOW_EQUAL(ioctl, 1, TIOCGWINSZ, "size of a terminal; answered ENOTTY") \
  /* waiting */ \
  ALLOW(poll, "waits for descriptors") \
  ALLOW(ppoll, "waits for descriptors") \
  ALLOW(select, "waits for descriptors") \
  ALLOW(pselect6, "waits for descriptors") \
  ALLOW(epoll_create, "the event loop") \
  ALLOW(epoll_create1, "the event loop") \
  ALLOW(epoll_ctl, "the event loop") \
  ALLOW(epoll_wait, "the event loop") \
  ALLOW(epoll_pwait, "the event loop") \
  ALLOW(epoll_pwait2, "the event loop") \
  ALLOW(eventfd, "wakes an event loop") \
  ALLOW(eventfd2, "wakes an event loop") \
  ALLOW(signalfd4, "other runtimes' event loops") \
  ALLOW(timerfd_create, "other runtimes' timers") \
  ALLOW(timerfd_settime, "other runtimes' timers") \
  ALLOW(timerfd_gettime, "other runtimes' timers") \
  ALLOW_MASKED(futex, 1, FUTEX_COMMAND_MASK, FUTEX_WAIT, "locks") \
  ALLOW_MASKED(futex, 1, FUTEX_COMMAND_MASK, FUTEX_WAKE, "locks") \
  ALLOW_MASKED(futex, 1, FUTEX_COMMAND_MASK, FUTEX_REQUEUE, "condition variables") \
  ALLOW_MASKED(futex, 1, FUTEX_COMMAND_MASK, FUTEX_CMP_REQUEUE, "condition variables") \
  ALLOW_MASKED(futex, 1, FUTEX_COMMAND_MASK, FUTEX_WAKE_OP, "condition variables") \
  ALLOW_MASKED(futex, 1, FUTEX_COMMAND_MASK, FUTEX_WAIT_BITSET, "locks with an absolute time") \
  ALLOW_MASKED(futex, 1, FUTEX_COMMAND_MASK, FUTEX_WAKE_BITSET, "locks") \
  ALLOW(nanosleep, "sleeps") \
  ALLOW(clock_nanosleep, "sleeps") \
  ALLOW(pause, "waits for a signal") \
  ALLOW(alarm, "timers of C programs") \
  ALLOW(setitimer, "timers of C programs") \
  ALLOW(getitimer, "timers of C programs") \
  ALLOW(timer_create, "timers of C programs") \
  ALLOW(timer_settime, "timers of C programs") \
  ALLOW(timer_gettime, "timers of C programs") \
  ALLOW(timer_getoverrun, "timers of C programs") \
  ALLOW(timer_delete, "timers of C programs") \
  ALLOW(clock_gettime, "where the vDSO cannot answer") \
  ALLOW(clock_getres, "where the vDSO cannot answer") \
  ALLOW(gettimeofday, "where the vDSO cannot answer") \
  ALLOW(time, "where the vDSO cannot answer") \
  /* processes and threads */ \
  ALLOW_MASKED(clone, 0, CLONE_NAMESPACE_FLAGS, 0, "threads and child processes, but no namespaces") \
  ALLOW(fork, "child processes") \
  ALLOW(vfork, "child processes") \
  ALLOW(execve, "child processes; no_new_privs holds") \
  ALLOW(execveat, "child processes; no_new_privs holds") \
  ALLOW(exit, "ends a thread") \
  ALLOW(exit_group, "ends a process") \
  ALLOW(wait4, "child processes") \
  ALLOW(waitid, "child processes") \
  ALLOW(kill, "own processes: the pid namespace holds no others") \
  ALLOW(tkill, "own threads") \
  ALLOW(tgkill, "own threads; abort()") \
  ALLOW(pidfd_open, "own processes, as kill") \
  ALLOW(pidfd_send_signal, "own processes, as kill") \
  ALLOW(rt_sigaction, "signal handlers") \
  ALLOW(rt_sigprocmask, "signal masks") \
  ALLOW(rt_sigreturn, "return from a handler") \
  ALLOW(rt_sigpending, "signal masks") \
  ALLOW(rt_sigsuspend, "waits for a signal") \
  ALLOW(rt_sigtimedwait, "waits for a signal") \
  ALLOW(rt_sigqueueinfo, "own processes, as kill") \
  ALLOW(rt_tgsigqueueinfo, "own processes, as kill") \
  ALLOW(sigaltstack, "stack overflow handlers") \
  ALLOW(restart_syscall, "the kernel resumes sleeps with it") \
  ALLOW(getpid, "process id") \
  ALLOW(gettid, "thread id") \
  ALLOW(getppid, "parent's id") \
  ALLOW(getpgid, "process groups") \
  ALLOW(getpgrp, "process groups") \
  ALLOW(setpgid, "process groups; shells") \
  ALLOW(getsid, "sessions") \
  ALLOW(setsid, "detached child processes") \
  ALLOW(getuid, "own id") \
  ALLOW(geteuid, "own id") \
  ALLOW(getgid, "own id") \
  ALLOW(getegid, "own id") \
  ALLOW(getresuid, "own id") \
  ALLOW(getresgid, "own id") \
  ALLOW(getgroups, "own groups") \
  ALLOW(capget, "asks for capabilities; there are none") \
  ALLOW(getrlimit, "asks for limits") \
  ALLOW(setrlimit, "lowers limits") \
  ALLOW(prlimit64, "asks for limits and lowers them") \
  ALLOW(getrusage, "process.cpuUsage") \
  ALLOW(times, "processor time") \
  ALLOW(sysinfo, "os.totalmem") \
  ALLOW(uname, "os.release") \
  ALLOW(getcpu, "which processor") \
  ALLOW(getpriority, "os.getPriority") \
  ALLOW(setpriority, "makes itself nicer") \
  ALLOW(sched_yield, "locks") \
  ALLOW(sched_getaffinity, "os.availableParallelism") \
  ALLOW(sched_setaffinity, "within the cgroup; native libraries pin threads") \
  ALLOW(sched_getparam, "C libraries ask") \
  ALLOW(sched_getscheduler, "C libraries ask") \
  ALLOW(sched_get_priority_max, "C libraries ask") \
  ALLOW(sched_get_priority_min, "C libraries ask") \
  ALLOW(set_tid_address, "start of a thread") \
  ALLOW(set_robust_list, "start of a thread") \
  ALLOW(get_robust_list, "C libraries") \
  ALLOW(rseq, "start of a thread") \
  ALLOW(arch_prctl, "start of a process") \
  ALLOW(getrandom, "randomness") \
  ALLOW_EQUAL(prctl, 0, PR_SET_NAME, "names of threads") \
  ALLOW_EQUAL(prctl, 0, PR_GET_NAME, "names of threads") \
  ALLOW_EQUAL(prctl, 0, PR_SET_PDEATHSIG, "child processes that end with their parent") \
  ALLOW_EQUAL(prctl, 0, PR_GET_DUMPABLE, "harmless question") \
  ALLOW_EQUAL(prctl, 0, PR_GET_NO_NEW_PRIVS, "harmless question") \
  ALLOW_EQUAL(prctl, 0, PR_GET_SECCOMP, "harmless question") \
  ALLOW_EQUAL(prctl, 0, PR_CAPBSET_READ, "harmless question") \
  ALLOW_EQUAL(prctl, 0, PR_GET_SECUREBITS, "harmless question") \
  ALLOW_EQUAL(prctl, 0, PR_SET_VMA, "V8 and glibc name their memory") \
  ALLOW_EQUAL(personality, 0, 0xffffffff, "asks, changes nothing") \
  /* sockets: the network namespace decides what they reach */ \
  ALLOW_EQUAL(socket, 0, AF_UNIX, "between own processes") \
  ALLOW_EQUAL(socket, 0, AF_INET, "loopback, and what egress rules grant") \
  ALLOW_EQUAL(socket, 0, AF_INET6, "loopback, and what egress rules grant") \
  ALLOW_EQUAL(socketpair, 0, AF_UNIX, "child processes") \
  ALLOW(connect, "sockets") \
  ALLOW(bind, "sockets") \
  ALLOW(listen, "sockets") \
  ALLOW(accept, "sockets") \
  ALLOW(accept4, "sockets") \
  ALLOW(getsockname, "sockets") \
  ALLOW(getpeername, "sockets") \
  ALLOW(getsockopt, "sockets") \
  ALLOW(setsockopt, "sockets") \
  ALLOW(shutdown, "sockets") \
  ALLOW(sendto, "sockets") \
  ALLOW(recvfrom, "sockets") \
  ALLOW(sendmsg, "sockets") \
  ALLOW(recvmsg, "sockets") \
  ALLOW(sendmmsg, "sockets; c-ares") \
  ALLOW(recvmmsg, "sockets; libuv") \
  /* refused by name: programs try them, and should read "not permitted" */ \
  REFUSE(mount, "file systems") \
  REFUSE(umount2, "file systems") \
  REFUSE(pivot_root, "file systems") \
  REFUSE(chroot, "file systems") \
  REFUSE(fsopen, "file systems") \
  REFUSE(fsmount, "file systems") \
  REFUSE(fsconfig, "file systems") \
  REFUSE(fspick, "file systems") \
  REFUSE(move_mount, "file systems") \
  REFUSE(open_tree, "file systems") \
  REFUSE(mount_setattr, "file systems") \
  REFUSE(unshare, "namespaces") \
  REFUSE(setns, "namespaces") \
  REFUSE(ptrace, "other processes") \
  REFUSE(process_vm_readv, "other processes") \
  REFUSE(process_vm_writev, "other processes") \
  REFUSE(pidfd_getfd, "other processes") \
  REFUSE(kcmp, "other processes") \
  REFUSE(open_by_handle_at, "opens files past every path") \
  REFUSE(name_to_handle_at, "its counterpart") \
  REFUSE(mknod, "devices") \
  REFUSE(mknodat, "devices") \
  REFUSE(bpf, "kernel programs") \
  REFUSE(perf_event_open, "kernel measurements") \
  REFUSE(userfaultfd, "widens kernel races") \
  REFUSE(vmsplice, "pins pages shared with the zygote (CVE-2020-29374)") \
  REFUSE(keyctl, "keyrings are shared by uid") \
  REFUSE(add_key, "keyrings are shared by uid") \
  REFUSE(request_key, "keyrings are shared by uid") \
  REFUSE(setuid, "identity") \
  REFUSE(setgid, "identity") \
  REFUSE(setreuid, "identity") \
  REFUSE(setregid, "identity") \
  REFUSE(setresuid, "identity") \
  REFUSE(setresgid, "identity") \
  REFUSE(setgroups, "identity") \
  REFUSE(setfsuid, "identity") \
  REFUSE(setfsgid, "identity") \
  REFUSE(capset, "identity") \
  REFUSE(setxattr, "attributes of overlay and of file capabilities") \
  REFUSE(lsetxattr, "as setxattr") \
  REFUSE(fsetxattr, "as setxattr") \
  REFUSE(removexattr, "as setxattr") \
  REFUSE(lremovexattr, "as setxattr") \
  REFUSE(fremovexattr, "as setxattr") \
  REFUSE(sethostname, "host") \
  REFUSE(setdomainname, "host") \
  REFUSE(reboot, "host") \
  REFUSE(syslog, "host") \
  REFUSE(acct, "host") \
  REFUSE(swapon, "host") \
  REFUSE(swapoff, "host") \
  REFUSE(settimeofday, "host") \
  REFUSE(clock_settime, "host") \
  REFUSE(clock_adjtime, "host") \
  REFUSE(adjtimex, "host") \
  REFUSE(init_module, "host") \
  REFUSE(finit_module, "host") \
  REFUSE(delete_module, "host") \
  REFUSE(kexec_load, "host") \
  REFUSE(kexec_file_load, "host") \
  REFUSE(quotactl, "host") \
  REFUSE(iopl, "host") \
  REFUSE(ioperm, "host")
// clang-format on
