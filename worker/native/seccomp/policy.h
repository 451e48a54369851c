// The system calls of a sandbox, as data: the allowed ones and the reasons. The build compiles them into a filter
// (seccomp/compile.c), so a sandbox needs no library and no parser.
//
// A call without an entry is answered ENOSYS, as by a kernel that never had it, and programs fall back. This includes clone3,
// whose flags lie in memory that no filter sees, and io_uring, whose requests bypass every filter. It includes AIO, memfd_secret,
// System V IPC, POSIX message queues and scheduling policies, which no function needs. A forbidden call that programs often try
// is answered EPERM, so that the cause is clear. Calls of another architecture (int 0x80, x32) kill the process: no honest
// program makes them.
//
//   ALLOW(call, reason)                                 whatever its arguments
//   ALLOW_EQUAL(call, argument, value, reason)          if the argument equals the value
//   ALLOW_MASKED(call, argument, mask, value, reason)   if the argument, masked, equals the value
//   ALLOW_SOCKET(family, type, protocol, reason)        socket(2) of exactly these
//   ALLOW_OPTION(level, option, reason)                 setsockopt(2) of exactly these
//   READ_OPTION(level, option, reason)                  getsockopt(2) of exactly these
//   KEPT(ALLOW...)                                      the same; no program of test/seccomp needs it on this machine, and the
//                                                       reason names programs that do
//   ASK(call, reason)                                   the worker allows it, or answers EPERM
//   REFUSE(call, reason)                                EPERM
//   REFUSE_EQUAL(call, argument, value, reason)         EPERM if the argument equals the value
//   REFUSE_MASKED(call, argument, mask, value, reason)  EPERM if the argument, masked, equals the value
//   REFUSE_SOCKET(family, type, reason)                 EPERM for a type of socket of an allowed family
//   REFUSE_SILENTLY(call, argument, value, reason)      as REFUSE_EQUAL, for calls of honest programs
//   REFUSE_AS(error, call, reason)                      another error, from which honest programs fall back
//
// The record of an invocation names every refused call, except those of the last two kinds: the kernel reports it to the
// worker, which answers it (refusals.c). The kernel answers ENOSYS when the worker does not listen any more.
//
// The kernel takes some arguments as 32 bits, and the filter compares the low 32 bits of these. A filter that compares 64 bits
// can be bypassed by the upper half (CVE-2019-10063).
#pragma once

#define LOW_32 0xffffffffULL
// clone(2) flags that make namespaces, CLONE_NEWTIME included.
#define CLONE_NAMESPACE_FLAGS 0x7e020080ULL
#define FUTEX_COMMAND_MASK 0x7fULL
// SOCK_NONBLOCK and SOCK_CLOEXEC are part of a socket's type.
#define SOCKET_TYPE_MASK 0xfULL
// MSG_OOB (CVE-2025-38236), and MSG_ZEROCOPY, which pins pages that may be shared with the zygote, as vmsplice does.
#define MSG_RISKY (0x1ULL | 0x4000000ULL)

// clang-format off
#define SECCOMP_POLICY \
  /* memory */ \
  ALLOW(brk, "heap of C programs") \
  /* No huge pages: the host has one pool for all, which no memory cgroup counts. */ \
  ALLOW_MASKED(mmap, 3, MAP_HUGETLB, 0, "memory, code pages of JIT compilers included") \
  ALLOW(munmap, "gives memory back") \
  KEPT(ALLOW(mremap, "realloc of large blocks in C programs")) \
  ALLOW(mprotect, "V8 turns written code pages executable") \
  KEPT(ALLOW_EQUAL(madvise, 2, MADV_NORMAL, "undoes the others")) \
  KEPT(ALLOW_EQUAL(madvise, 2, MADV_RANDOM, "databases")) \
  KEPT(ALLOW_EQUAL(madvise, 2, MADV_SEQUENTIAL, "databases")) \
  KEPT(ALLOW_EQUAL(madvise, 2, MADV_WILLNEED, "read-ahead of mapped files")) \
  ALLOW_EQUAL(madvise, 2, MADV_DONTNEED, "allocators give pages back") \
  KEPT(ALLOW_EQUAL(madvise, 2, MADV_FREE, "allocators give pages back, later")) \
  KEPT(ALLOW_EQUAL(madvise, 2, MADV_DONTFORK, "V8's heap; V8 works without it")) \
  KEPT(ALLOW_EQUAL(madvise, 2, MADV_HUGEPAGE, "heaps")) \
  KEPT(ALLOW_EQUAL(madvise, 2, MADV_NOHUGEPAGE, "heaps")) \
  KEPT(ALLOW_EQUAL(madvise, 2, MADV_DONTDUMP, "secrets of crypto libraries")) \
  KEPT(ALLOW_EQUAL(madvise, 2, MADV_DODUMP, "the reverse")) \
  KEPT(ALLOW_EQUAL(madvise, 2, MADV_WIPEONFORK, "seeds of generators")) \
  KEPT(ALLOW(msync, "writes mapped files back")) \
  KEPT(ALLOW(mlock, "bounded by RLIMIT_MEMLOCK; crypto libraries lock keys")) \
  KEPT(ALLOW(munlock, "the reverse of mlock")) \
  KEPT(ALLOW(membarrier, "V8 and musl use it when code is patched")) \
  KEPT(ALLOW_MASKED(memfd_create, 1, MFD_HUGETLB, 0, "anonymous shared memory; charged to the sandbox's cgroup")) \
  KEPT(ALLOW(pkey_alloc, "V8 guards its code pages with protection keys, on processors that have them")) \
  KEPT(ALLOW(pkey_free, "the reverse of pkey_alloc")) \
  KEPT(ALLOW(pkey_mprotect, "mprotect with a protection key")) \
  /* files */ \
  ALLOW(read, "files, pipes and sockets") \
  ALLOW(write, "files, pipes and sockets") \
  KEPT(ALLOW(readv, "read in parts; libuv")) \
  ALLOW(writev, "write in parts; libuv") \
  ALLOW(pread64, "read at a place") \
  ALLOW(pwrite64, "write at a place") \
  KEPT(ALLOW(preadv, "read at a place in parts; libuv")) \
  KEPT(ALLOW(pwritev, "write at a place in parts; libuv")) \
  KEPT(ALLOW(open, "programs with musl")) \
  KEPT(ALLOW(creat, "an open for writing; tar makes a compressed archive by it")) \
  ALLOW(openat, "opens files") \
  ALLOW(close, "closes descriptors") \
  KEPT(ALLOW(close_range, "child processes close what they inherited; Python, newer C libraries")) \
  ALLOW(lseek, "moves in a file") \
  ALLOW(stat, "older C libraries") \
  ALLOW(fstat, "facts of an open file") \
  ALLOW(lstat, "older C libraries") \
  ALLOW(newfstatat, "facts of a file") \
  KEPT(ALLOW(statx, "facts of a file; libuv, whose fallback lacks the time of birth")) \
  ALLOW(statfs, "free space of /tmp") \
  KEPT(ALLOW(fstatfs, "free space of /tmp")) \
  ALLOW(access, "older C libraries") \
  KEPT(ALLOW(faccessat, "permission to read a file")) \
  KEPT(ALLOW(faccessat2, "permission to read a file, with flags")) \
  ALLOW(getdents64, "lists directories") \
  ALLOW(getcwd, "working directory") \
  ALLOW(chdir, "child processes start elsewhere") \
  ALLOW(fchdir, "as chdir") \
  ALLOW(mkdir, "in /tmp") \
  ALLOW(mkdirat, "in /tmp") \
  ALLOW(rmdir, "in /tmp") \
  ALLOW(unlink, "in /tmp") \
  ALLOW(unlinkat, "in /tmp") \
  ALLOW(rename, "in /tmp; the usual atomic write") \
  KEPT(ALLOW(renameat, "in /tmp")) \
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
  KEPT(ALLOW(fchmodat2, "as chmod, in newer C libraries")) \
  ALLOW(chown, "to its only id; archive tools do that") \
  KEPT(ALLOW(fchown, "as chown")) \
  KEPT(ALLOW(lchown, "as chown; fs.lchown")) \
  ALLOW(fchownat, "as chown") \
  ALLOW(umask, "mode of new files") \
  KEPT(ALLOW(truncate, "cuts files")) \
  ALLOW(ftruncate, "cuts files") \
  KEPT(ALLOW(fallocate, "reserves space within the tmpfs limit")) \
  KEPT(ALLOW_EQUAL(fadvise64, 3, POSIX_FADV_SEQUENTIAL, "read-ahead hints")) \
  ALLOW(utimensat, "time stamps of own files") \
  ALLOW(fsync, "databases in /tmp") \
  ALLOW(fdatasync, "databases in /tmp") \
  ALLOW(copy_file_range, "fs.copyFile") \
  /* locks: files of the image have an inode of their own in each overlay; sandboxes of one version share those of /var/task */ \
  KEPT(ALLOW(flock, "locks on own files")) \
  KEPT(ALLOW(getxattr, "cp and Python's copystat, which fails on ENOSYS")) \
  ALLOW(lgetxattr, "as getxattr") \
  KEPT(ALLOW(fgetxattr, "as getxattr")) \
  KEPT(ALLOW(listxattr, "as getxattr")) \
  KEPT(ALLOW(llistxattr, "as getxattr")) \
  KEPT(ALLOW(flistxattr, "as getxattr")) \
  KEPT(ALLOW(dup, "descriptors of child processes")) \
  ALLOW(dup2, "descriptors of child processes") \
  KEPT(ALLOW(dup3, "descriptors of child processes; Go")) \
  KEPT(ALLOW(pipe, "child processes")) \
  ALLOW(pipe2, "child processes") \
  ALLOW_EQUAL(fcntl, 1, F_DUPFD, "duplicates") \
  ALLOW_EQUAL(fcntl, 1, F_DUPFD_CLOEXEC, "duplicates") \
  ALLOW_EQUAL(fcntl, 1, F_GETFD, "close-on-exec") \
  ALLOW_EQUAL(fcntl, 1, F_SETFD, "close-on-exec") \
  ALLOW_EQUAL(fcntl, 1, F_GETFL, "non-blocking") \
  ALLOW_EQUAL(fcntl, 1, F_SETFL, "non-blocking") \
  ALLOW_EQUAL(fcntl, 1, F_GETLK, "SQLite") \
  ALLOW_EQUAL(fcntl, 1, F_SETLK, "SQLite") \
  KEPT(ALLOW_EQUAL(fcntl, 1, F_SETLKW, "SQLite")) \
  KEPT(ALLOW_EQUAL(fcntl, 1, F_OFD_SETLK, "SQLite, newer")) \
  KEPT(ALLOW_EQUAL(fcntl, 1, F_ADD_SEALS, "seals of a memfd")) \
  KEPT(ALLOW_EQUAL(fcntl, 1, F_GET_SEALS, "seals of a memfd")) \
  ALLOW_EQUAL(ioctl, 1, FIONBIO, "libuv makes descriptors non-blocking") \
  KEPT(ALLOW_EQUAL(ioctl, 1, FIONREAD, "bytes that can be read; the bootstrap checks for unread output before the next call")) \
  KEPT(ALLOW_EQUAL(ioctl, 1, FIOCLEX, "close-on-exec, as Rust sets it")) \
  /* Requests of files that change attributes or share extents (FS_IOC_SETFLAGS, FICLONE) are left out; cp falls back. */ \
  KEPT(ALLOW_EQUAL(ioctl, 1, TCGETS, "isatty; answered ENOTTY")) \
  KEPT(ALLOW_EQUAL(ioctl, 1, TIOCGWINSZ, "size of a terminal; answered ENOTTY")) \
  /* waiting */ \
  KEPT(ALLOW(poll, "waits for descriptors")) \
  KEPT(ALLOW(ppoll, "waits for descriptors")) \
  KEPT(ALLOW(select, "waits for descriptors")) \
  KEPT(ALLOW(pselect6, "waits for descriptors")) \
  ALLOW(epoll_create1, "the event loop") \
  ALLOW(epoll_ctl, "the event loop") \
  ALLOW(epoll_wait, "the event loop") \
  ALLOW(epoll_pwait, "the event loop") \
  ALLOW(eventfd2, "wakes an event loop") \
  KEPT(ALLOW(signalfd4, "other runtimes' event loops")) \
  KEPT(ALLOW(timerfd_create, "other runtimes' timers")) \
  KEPT(ALLOW(timerfd_settime, "other runtimes' timers")) \
  KEPT(ALLOW(timerfd_gettime, "other runtimes' timers")) \
  ALLOW_MASKED(futex, 1, FUTEX_COMMAND_MASK, FUTEX_WAIT, "locks") \
  ALLOW_MASKED(futex, 1, FUTEX_COMMAND_MASK, FUTEX_WAKE, "locks") \
  KEPT(ALLOW_MASKED(futex, 1, FUTEX_COMMAND_MASK, FUTEX_REQUEUE, "condition variables of musl")) \
  ALLOW_MASKED(futex, 1, FUTEX_COMMAND_MASK, FUTEX_WAIT_BITSET, "locks with an absolute time") \
  KEPT(ALLOW_MASKED(futex, 1, FUTEX_COMMAND_MASK, FUTEX_WAKE_BITSET, "locks of native libraries (folly)")) \
  KEPT(ALLOW(nanosleep, "sleeps")) \
  ALLOW(clock_nanosleep, "sleeps") \
  KEPT(ALLOW(pause, "waits for a signal")) \
  KEPT(ALLOW(alarm, "timers of C programs")) \
  KEPT(ALLOW(setitimer, "timers of C programs")) \
  KEPT(ALLOW(timer_create, "timers of C programs")) \
  KEPT(ALLOW(timer_settime, "timers of C programs")) \
  KEPT(ALLOW(timer_delete, "timers of C programs")) \
  KEPT(ALLOW(clock_gettime, "where the vDSO cannot answer")) \
  KEPT(ALLOW(clock_getres, "where the vDSO cannot answer")) \
  KEPT(ALLOW(gettimeofday, "where the vDSO cannot answer")) \
  KEPT(ALLOW(time, "where the vDSO cannot answer")) \
  /* processes and threads */ \
  ALLOW_MASKED(clone, 0, CLONE_NAMESPACE_FLAGS, 0, "threads and child processes, but no namespaces") \
  KEPT(ALLOW(fork, "child processes of programs with musl")) \
  ALLOW(vfork, "child processes") \
  ALLOW(execve, "child processes; no_new_privs holds") \
  ALLOW(exit, "ends a thread") \
  ALLOW(exit_group, "ends a process") \
  ALLOW(wait4, "child processes") \
  KEPT(ALLOW(waitid, "child processes; Go")) \
  ALLOW(kill, "own processes: the pid namespace holds no others") \
  KEPT(ALLOW(tkill, "own threads; raise() of musl")) \
  KEPT(ALLOW(tgkill, "own threads; abort()")) \
  KEPT(ALLOW(pidfd_open, "own processes, as kill")) \
  KEPT(ALLOW(pidfd_send_signal, "own processes, as kill")) \
  ALLOW(rt_sigaction, "signal handlers") \
  ALLOW(rt_sigprocmask, "signal masks") \
  ALLOW(rt_sigreturn, "return from a handler") \
  KEPT(ALLOW(rt_sigpending, "signal masks")) \
  ALLOW(rt_sigsuspend, "waits for a signal") \
  KEPT(ALLOW(rt_sigtimedwait, "waits for a signal")) \
  ALLOW(sigaltstack, "stack overflow handlers") \
  KEPT(ALLOW(restart_syscall, "the kernel resumes sleeps with it after a stop")) \
  ALLOW(getpid, "process id") \
  KEPT(ALLOW(gettid, "thread id")) \
  ALLOW(getppid, "parent's id") \
  KEPT(ALLOW(getpgid, "process groups")) \
  KEPT(ALLOW(getpgrp, "process groups")) \
  KEPT(ALLOW(setpgid, "process groups; shells")) \
  KEPT(ALLOW(getsid, "sessions")) \
  ALLOW(setsid, "detached child processes") \
  ALLOW(getuid, "own id") \
  ALLOW(geteuid, "own id") \
  ALLOW(getgid, "own id") \
  ALLOW(getegid, "own id") \
  KEPT(ALLOW(getresuid, "own id")) \
  KEPT(ALLOW(getresgid, "own id")) \
  ALLOW(getgroups, "own groups") \
  KEPT(ALLOW(capget, "asks for capabilities; there are none")) \
  KEPT(ALLOW(getrlimit, "programs of older Go ask at their start")) \
  KEPT(ALLOW(setrlimit, "lowers limits")) \
  KEPT(ALLOW(prlimit64, "asks for limits and lowers them")) \
  ALLOW(getrusage, "process.cpuUsage") \
  KEPT(ALLOW(times, "processor time")) \
  /* tells of the whole host; but the C library does not look whether it failed, and gives sysconf(_SC_PHYS_PAGES) from its stack */ \
  ALLOW(sysinfo, "os.totalmem; sizes of buffers in C programs") \
  ALLOW(uname, "os.release") \
  KEPT(ALLOW(getcpu, "which processor")) \
  ALLOW(getpriority, "os.getPriority") \
  ALLOW(setpriority, "makes itself nicer") \
  KEPT(ALLOW(sched_yield, "locks")) \
  KEPT(ALLOW(sched_getaffinity, "os.availableParallelism where a cpuset has fewer processors than the host")) \
  KEPT(ALLOW(sched_setaffinity, "within the cgroup; native libraries pin threads")) \
  KEPT(ALLOW(sched_getparam, "C libraries ask")) \
  KEPT(ALLOW(sched_getscheduler, "C libraries ask")) \
  KEPT(ALLOW(sched_get_priority_max, "C libraries ask")) \
  KEPT(ALLOW(sched_get_priority_min, "C libraries ask")) \
  KEPT(ALLOW(set_tid_address, "start of a process; its result is not looked at")) \
  KEPT(ALLOW(set_robust_list, "start of a thread; locks survive its end")) \
  ALLOW(rseq, "start of a thread") \
  ALLOW(arch_prctl, "start of a process") \
  ALLOW(getrandom, "randomness") \
  KEPT(ALLOW_EQUAL(prctl, 0, PR_SET_NAME, "names of threads")) \
  KEPT(ALLOW_EQUAL(prctl, 0, PR_GET_NAME, "names of threads")) \
  KEPT(ALLOW_EQUAL(prctl, 0, PR_SET_PDEATHSIG, "child processes that end with their parent")) \
  KEPT(ALLOW_EQUAL(prctl, 0, PR_GET_DUMPABLE, "harmless question")) \
  KEPT(ALLOW_EQUAL(prctl, 0, PR_GET_NO_NEW_PRIVS, "harmless question")) \
  KEPT(ALLOW_EQUAL(prctl, 0, PR_GET_SECCOMP, "harmless question")) \
  KEPT(ALLOW_EQUAL(prctl, 0, PR_CAPBSET_READ, "harmless question")) \
  KEPT(ALLOW_EQUAL(prctl, 0, PR_SET_VMA, "V8 and glibc name their memory")) \
  KEPT(ALLOW_EQUAL(personality, 0, 0xffffffff, "asks, changes nothing")) \
  /* sockets: the network namespace decides what they reach */ \
  ALLOW_EQUAL(socket, 0, AF_UNIX, "between own processes") \
  ALLOW_SOCKET(AF_INET, SOCK_STREAM, 0, "TCP on loopback, and where egress rules allow it") \
  ALLOW_SOCKET(AF_INET, SOCK_STREAM, IPPROTO_TCP, "the same, said in full") \
  ALLOW_SOCKET(AF_INET, SOCK_DGRAM, 0, "UDP, as TCP") \
  ALLOW_SOCKET(AF_INET, SOCK_DGRAM, IPPROTO_UDP, "the same, said in full") \
  ALLOW_SOCKET(AF_INET6, SOCK_STREAM, 0, "TCP on loopback, and where egress rules allow it") \
  ALLOW_SOCKET(AF_INET6, SOCK_STREAM, IPPROTO_TCP, "the same, said in full") \
  KEPT(ALLOW_SOCKET(AF_INET6, SOCK_DGRAM, 0, "UDP, as TCP")) \
  KEPT(ALLOW_SOCKET(AF_INET6, SOCK_DGRAM, IPPROTO_UDP, "the same, said in full")) \
  ALLOW_EQUAL(socketpair, 0, AF_UNIX, "child processes") \
  ALLOW(connect, "sockets") \
  ALLOW(bind, "sockets") \
  ASK(listen, "sockets; the worker counts those that listen, see listeners.h") \
  KEPT(ALLOW(accept, "sockets")) \
  ALLOW(accept4, "sockets") \
  ALLOW(getsockname, "sockets") \
  KEPT(ALLOW(getpeername, "sockets")) \
  /* Options that may be set. Filters on sockets and upper protocols such as kTLS are left out. */ \
  /* So are lists of sources (MCAST_*, IP_MSFILTER) and extension headers (IPV6_RTHDR, IPV6_HOPOPTS). */ \
  /* So are a change of family (IPV6_ADDRFORM), and the levels of other families. */ \
  ALLOW_OPTION(SOL_SOCKET, SO_REUSEADDR, "servers") \
  KEPT(ALLOW_OPTION(SOL_SOCKET, SO_REUSEPORT, "servers")) \
  ALLOW_OPTION(SOL_SOCKET, SO_KEEPALIVE, "connections") \
  KEPT(ALLOW_OPTION(SOL_SOCKET, SO_LINGER, "connections")) \
  ALLOW_OPTION(SOL_SOCKET, SO_BROADCAST, "UDP") \
  KEPT(ALLOW_OPTION(SOL_SOCKET, SO_SNDBUF, "sizes")) \
  ALLOW_OPTION(SOL_SOCKET, SO_RCVBUF, "sizes") \
  KEPT(ALLOW_OPTION(SOL_SOCKET, SO_RCVTIMEO, "time limits of database clients in C")) \
  KEPT(ALLOW_OPTION(SOL_SOCKET, SO_SNDTIMEO, "time limits of database clients in C")) \
  ALLOW_OPTION(IPPROTO_TCP, TCP_NODELAY, "latency") \
  KEPT(ALLOW_OPTION(IPPROTO_TCP, TCP_CORK, "throughput")) \
  ALLOW_OPTION(IPPROTO_TCP, TCP_KEEPIDLE, "keep-alive") \
  ALLOW_OPTION(IPPROTO_TCP, TCP_KEEPINTVL, "keep-alive") \
  ALLOW_OPTION(IPPROTO_TCP, TCP_KEEPCNT, "keep-alive") \
  KEPT(ALLOW_OPTION(IPPROTO_TCP, TCP_QUICKACK, "latency")) \
  KEPT(ALLOW_OPTION(IPPROTO_TCP, TCP_USER_TIMEOUT, "time limits")) \
  KEPT(ALLOW_OPTION(IPPROTO_UDP, UDP_SEGMENT, "QUIC")) \
  KEPT(ALLOW_OPTION(IPPROTO_UDP, UDP_GRO, "QUIC")) \
  ALLOW_OPTION(IPPROTO_IP, IP_TTL, "dgram.setTTL") \
  KEPT(ALLOW_OPTION(IPPROTO_IP, IP_TOS, "classes of service; Java, SSH")) \
  KEPT(ALLOW_OPTION(IPPROTO_IP, IP_RECVTOS, "QUIC: marks of congestion")) \
  KEPT(ALLOW_OPTION(IPPROTO_IP, IP_RECVERR, "name lookups of glibc, which need it")) \
  KEPT(ALLOW_OPTION(IPPROTO_IP, IP_PKTINFO, "UDP servers: the address that was sent to")) \
  KEPT(ALLOW_OPTION(IPPROTO_IP, IP_MTU_DISCOVER, "QUIC: packets are not to be cut")) \
  KEPT(ALLOW_OPTION(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, "HTTP clients that choose their address")) \
  KEPT(ALLOW_OPTION(IPPROTO_IP, IP_MULTICAST_IF, "dgram")) \
  KEPT(ALLOW_OPTION(IPPROTO_IP, IP_MULTICAST_TTL, "dgram")) \
  KEPT(ALLOW_OPTION(IPPROTO_IP, IP_MULTICAST_LOOP, "dgram")) \
  KEPT(ALLOW_OPTION(IPPROTO_IP, IP_MULTICAST_ALL, "Java, which needs it")) \
  KEPT(ALLOW_OPTION(IPPROTO_IP, IP_ADD_MEMBERSHIP, "dgram.addMembership")) \
  KEPT(ALLOW_OPTION(IPPROTO_IP, IP_DROP_MEMBERSHIP, "dgram.dropMembership")) \
  ALLOW_OPTION(IPPROTO_IPV6, IPV6_V6ONLY, "servers") \
  KEPT(ALLOW_OPTION(IPPROTO_IPV6, IPV6_UNICAST_HOPS, "as IP_TTL")) \
  KEPT(ALLOW_OPTION(IPPROTO_IPV6, IPV6_TCLASS, "as IP_TOS")) \
  KEPT(ALLOW_OPTION(IPPROTO_IPV6, IPV6_RECVTCLASS, "as IP_RECVTOS")) \
  KEPT(ALLOW_OPTION(IPPROTO_IPV6, IPV6_RECVERR, "as IP_RECVERR")) \
  KEPT(ALLOW_OPTION(IPPROTO_IPV6, IPV6_RECVPKTINFO, "as IP_PKTINFO")) \
  KEPT(ALLOW_OPTION(IPPROTO_IPV6, IPV6_MTU_DISCOVER, "as IP_MTU_DISCOVER")) \
  KEPT(ALLOW_OPTION(IPPROTO_IPV6, IPV6_MULTICAST_IF, "dgram")) \
  KEPT(ALLOW_OPTION(IPPROTO_IPV6, IPV6_MULTICAST_HOPS, "dgram")) \
  KEPT(ALLOW_OPTION(IPPROTO_IPV6, IPV6_MULTICAST_LOOP, "dgram")) \
  KEPT(ALLOW_OPTION(IPPROTO_IPV6, IPV6_MULTICAST_ALL, "as IP_MULTICAST_ALL")) \
  KEPT(ALLOW_OPTION(IPPROTO_IPV6, IPV6_JOIN_GROUP, "dgram.addMembership")) \
  KEPT(ALLOW_OPTION(IPPROTO_IPV6, IPV6_LEAVE_GROUP, "dgram.dropMembership")) \
  /* Options that may be read. Facts about the host are left out: SO_INCOMING_CPU, SO_COOKIE, SO_NETNS_COOKIE, SO_MEMINFO, */ \
  /* SO_PEERSEC, TCP_CONGESTION. So are its firewall (SO_ORIGINAL_DST), and structures that grow with the kernel (TCP_INFO). */ \
  READ_OPTION(SOL_SOCKET, SO_ERROR, "result of a connect") \
  READ_OPTION(SOL_SOCKET, SO_TYPE, "kind of a socket; libuv, Python") \
  KEPT(READ_OPTION(SOL_SOCKET, SO_DOMAIN, "the same")) \
  KEPT(READ_OPTION(SOL_SOCKET, SO_PROTOCOL, "the same")) \
  KEPT(READ_OPTION(SOL_SOCKET, SO_ACCEPTCONN, "state of a listener; Java, Rust")) \
  KEPT(READ_OPTION(SOL_SOCKET, SO_REUSEADDR, "servers")) \
  KEPT(READ_OPTION(SOL_SOCKET, SO_REUSEPORT, "servers")) \
  KEPT(READ_OPTION(SOL_SOCKET, SO_KEEPALIVE, "connections")) \
  KEPT(READ_OPTION(SOL_SOCKET, SO_LINGER, "connections")) \
  KEPT(READ_OPTION(SOL_SOCKET, SO_BROADCAST, "UDP")) \
  KEPT(READ_OPTION(SOL_SOCKET, SO_SNDBUF, "sizes; dgram.getSendBufferSize")) \
  KEPT(READ_OPTION(SOL_SOCKET, SO_RCVBUF, "sizes; dgram.getRecvBufferSize")) \
  KEPT(READ_OPTION(SOL_SOCKET, SO_RCVTIMEO, "time limits of database clients in C; Rust")) \
  KEPT(READ_OPTION(SOL_SOCKET, SO_SNDTIMEO, "as SO_RCVTIMEO")) \
  KEPT(READ_OPTION(SOL_SOCKET, SO_PEERCRED, "the peer of a unix socket, one of its own processes")) \
  KEPT(READ_OPTION(IPPROTO_TCP, TCP_NODELAY, "latency")) \
  KEPT(READ_OPTION(IPPROTO_TCP, TCP_CORK, "throughput")) \
  KEPT(READ_OPTION(IPPROTO_TCP, TCP_QUICKACK, "latency; Java")) \
  KEPT(READ_OPTION(IPPROTO_TCP, TCP_KEEPIDLE, "keep-alive")) \
  KEPT(READ_OPTION(IPPROTO_TCP, TCP_KEEPINTVL, "keep-alive")) \
  KEPT(READ_OPTION(IPPROTO_TCP, TCP_KEEPCNT, "keep-alive")) \
  KEPT(READ_OPTION(IPPROTO_TCP, TCP_MAXSEG, "sizes; load tests")) \
  KEPT(READ_OPTION(IPPROTO_TCP, TCP_USER_TIMEOUT, "time limits; gRPC reads its own setting")) \
  KEPT(READ_OPTION(IPPROTO_UDP, UDP_SEGMENT, "QUIC looks for it")) \
  KEPT(READ_OPTION(IPPROTO_IP, IP_TTL, "dgram")) \
  KEPT(READ_OPTION(IPPROTO_IP, IP_TOS, "Java, Python")) \
  KEPT(READ_OPTION(IPPROTO_IP, IP_MTU_DISCOVER, "QUIC")) \
  KEPT(READ_OPTION(IPPROTO_IP, IP_MULTICAST_IF, "Java, Python")) \
  KEPT(READ_OPTION(IPPROTO_IP, IP_MULTICAST_TTL, "Java, Python")) \
  KEPT(READ_OPTION(IPPROTO_IP, IP_MULTICAST_LOOP, "Java, Python")) \
  KEPT(READ_OPTION(IPPROTO_IPV6, IPV6_V6ONLY, "servers; Rust, Python")) \
  KEPT(READ_OPTION(IPPROTO_IPV6, IPV6_UNICAST_HOPS, "as IP_TTL")) \
  KEPT(READ_OPTION(IPPROTO_IPV6, IPV6_TCLASS, "as IP_TOS")) \
  KEPT(READ_OPTION(IPPROTO_IPV6, IPV6_MTU_DISCOVER, "as IP_MTU_DISCOVER")) \
  KEPT(READ_OPTION(IPPROTO_IPV6, IPV6_MULTICAST_IF, "Java, Python")) \
  KEPT(READ_OPTION(IPPROTO_IPV6, IPV6_MULTICAST_HOPS, "Java, Python")) \
  KEPT(READ_OPTION(IPPROTO_IPV6, IPV6_MULTICAST_LOOP, "Java, Python")) \
  ALLOW(shutdown, "sockets") \
  ALLOW_MASKED(sendto, 3, MSG_RISKY, 0, "sockets") \
  ALLOW_MASKED(recvfrom, 3, MSG_RISKY, 0, "sockets") \
  ALLOW_MASKED(sendmsg, 2, MSG_RISKY, 0, "sockets") \
  ALLOW_MASKED(recvmsg, 2, MSG_RISKY, 0, "sockets") \
  ALLOW_MASKED(sendmmsg, 3, MSG_RISKY, 0, "sockets; c-ares") \
  KEPT(ALLOW_MASKED(recvmmsg, 3, MSG_RISKY, 0, "sockets; libuv")) \
  /* Both calls hold the lock of a pipe while they wait for a socket. The worker reads two pipes of each sandbox, and would */ \
  /* sleep for that time, deaf to signals. EINVAL means that the file lacks it: libuv, Go, Python and coreutils then copy. */ \
  REFUSE_AS(EINVAL, sendfile, "fs.copyFile, static files") \
  REFUSE_AS(EINVAL, splice, "io.Copy of Go") \
  /* Instances count for the service user, which all tenants share, and a watch of a device would show other processes' use. */ \
  /* A host without free instances answers EMFILE: watchers report it, or poll. At ENOSYS and EPERM, watchpack retries for ever. */ \
  REFUSE_AS(EMFILE, inotify_init1, "fs.watch and its like; fs.watchFile works") \
  REFUSE_AS(EMFILE, inotify_init, "as inotify_init1") \
  /* Refused by name, because programs that try them should read "not permitted". */ \
  REFUSE_SILENTLY(socket, 0, AF_NETLINK, "interfaces, routes and the way to nf_tables; name lookups try it, and work without it") \
  REFUSE_EQUAL(socket, 0, AF_PACKET, "raw frames") \
  REFUSE_EQUAL(socket, 0, AF_VSOCK, "has no namespace: reaches the machine that hosts this virtual one") \
  REFUSE_EQUAL(socket, 0, AF_ALG, "kernel cryptography, which writes to the page cache of files (CVE-2026-31431)") \
  REFUSE_EQUAL(socket, 0, AF_XDP, "raw frames") \
  REFUSE_EQUAL(socket, 0, AF_KEY, "IPsec keys") \
  REFUSE_EQUAL(socket, 0, AF_TIPC, "cluster protocol with a history of holes") \
  REFUSE_EQUAL(socket, 0, AF_RXRPC, "AFS; keys of the kernel") \
  REFUSE_EQUAL(socket, 0, AF_RDS, "cluster protocol with a history of holes") \
  REFUSE_EQUAL(socket, 0, AF_SMC, "TCP by other means") \
  REFUSE_EQUAL(socket, 0, AF_KCM, "kernel programs on sockets") \
  REFUSE_EQUAL(socket, 0, AF_CAN, "vehicle bus") \
  REFUSE_EQUAL(socket, 0, AF_BLUETOOTH, "hardware") \
  REFUSE_EQUAL(socket, 0, AF_NFC, "hardware") \
  REFUSE_EQUAL(socket, 0, AF_IB, "hardware") \
  REFUSE_EQUAL(socket, 0, AF_QIPCRTR, "hardware") \
  REFUSE_EQUAL(socket, 0, AF_PHONET, "hardware") \
  REFUSE_EQUAL(socket, 0, AF_CAIF, "hardware") \
  REFUSE_EQUAL(socket, 0, AF_IEEE802154, "hardware") \
  REFUSE_EQUAL(socket, 0, AF_ISDN, "hardware") \
  REFUSE_EQUAL(socket, 0, AF_IUCV, "hardware") \
  REFUSE_EQUAL(socket, 0, AF_MPLS, "routing") \
  REFUSE_EQUAL(socket, 0, AF_PPPOX, "tunnels") \
  REFUSE_EQUAL(socket, 0, AF_LLC, "link layer") \
  REFUSE_EQUAL(socket, 0, AF_X25, "old networks") \
  REFUSE_EQUAL(socket, 0, AF_AX25, "old networks") \
  REFUSE_EQUAL(socket, 0, AF_NETROM, "old networks") \
  REFUSE_EQUAL(socket, 0, AF_ROSE, "old networks") \
  REFUSE_EQUAL(socket, 0, AF_IPX, "old networks") \
  REFUSE_EQUAL(socket, 0, AF_APPLETALK, "old networks") \
  REFUSE_EQUAL(socket, 0, AF_ATMPVC, "old networks") \
  REFUSE_EQUAL(socket, 0, AF_ATMSVC, "old networks") \
  REFUSE_EQUAL(socket, 0, AF_DECnet, "old networks") \
  REFUSE_SOCKET(AF_INET, SOCK_RAW, "raw packets") \
  REFUSE_SOCKET(AF_INET6, SOCK_RAW, "raw packets") \
  REFUSE_MASKED(clone, 0, CLONE_NEWUSER, CLONE_NEWUSER, "namespaces") \
  REFUSE_MASKED(clone, 0, CLONE_NEWNS, CLONE_NEWNS, "namespaces") \
  REFUSE_MASKED(clone, 0, CLONE_NEWNET, CLONE_NEWNET, "namespaces") \
  REFUSE_MASKED(clone, 0, CLONE_NEWPID, CLONE_NEWPID, "namespaces") \
  REFUSE_MASKED(clone, 0, CLONE_NEWIPC, CLONE_NEWIPC, "namespaces") \
  REFUSE_MASKED(clone, 0, CLONE_NEWUTS, CLONE_NEWUTS, "namespaces") \
  REFUSE_MASKED(clone, 0, CLONE_NEWCGROUP, CLONE_NEWCGROUP, "namespaces") \
  REFUSE_MASKED(clone, 0, CLONE_NEWTIME, CLONE_NEWTIME, "namespaces") \
  REFUSE_EQUAL(ioctl, 1, TIOCSTI, "types into a terminal (CVE-2017-5226)") \
  REFUSE_EQUAL(ioctl, 1, TIOCLINUX, "pastes into a console") \
  REFUSE_EQUAL(ioctl, 1, TIOCSETD, "line disciplines") \
  REFUSE_EQUAL(madvise, 2, MADV_MERGEABLE, "merged pages show their content to a neighbour") \
  REFUSE_SILENTLY(fadvise64, 3, POSIX_FADV_DONTNEED, "empties the page cache that all sandboxes share") \
  REFUSE_MASKED(sendto, 3, MSG_OOB, MSG_OOB, "CVE-2025-38236") \
  REFUSE_MASKED(sendmsg, 2, MSG_OOB, MSG_OOB, "CVE-2025-38236") \
  REFUSE_MASKED(sendmmsg, 3, MSG_OOB, MSG_OOB, "CVE-2025-38236") \
  REFUSE_MASKED(recvfrom, 3, MSG_OOB, MSG_OOB, "CVE-2025-38236") \
  REFUSE_MASKED(recvmsg, 2, MSG_OOB, MSG_OOB, "CVE-2025-38236") \
  REFUSE_MASKED(recvmmsg, 3, MSG_OOB, MSG_OOB, "CVE-2025-38236") \
  REFUSE_EQUAL(prctl, 0, PR_SET_MM, "rewrites the layout of its memory") \
  REFUSE_EQUAL(prctl, 0, PR_SET_DUMPABLE, "would open its memory to its children") \
  REFUSE_EQUAL(prctl, 0, PR_CAPBSET_DROP, "identity") \
  REFUSE_EQUAL(prctl, 0, PR_SET_SECUREBITS, "identity") \
  REFUSE_EQUAL(fcntl, 1, F_SETLEASE, "blocks the next process that opens the file") \
  REFUSE_EQUAL(fcntl, 1, F_NOTIFY, "watches shared files") \
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
  REFUSE(mknod, "devices; named pipes as well, which no function needs") \
  REFUSE(mknodat, "devices, as mknod") \
  REFUSE(bpf, "kernel programs") \
  REFUSE(perf_event_open, "kernel measurements") \
  REFUSE(userfaultfd, "widens races in the kernel") \
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
