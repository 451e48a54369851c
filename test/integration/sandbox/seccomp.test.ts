/** The system call filter where it inspects arguments: what it refuses, with which error, and what stays allowed. */
import { readdirSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { describeExit } from '../../../worker/sandbox/zygote/zygote.ts';
import { compileC } from '../../support/sandbox/compile-c.ts';
import { type BenchSandbox, SandboxBench } from '../../support/sandbox/sandbox-bench.ts';

/**
 * Makes system calls from numbers, and prints the errno of each, 0 where it succeeded. Or takes a lock on a file,
 * prints the errno, and keeps the lock for a while.
 */
const CALLS = `
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/file.h>
#include <sys/syscall.h>
int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "lock") == 0) {
    int fd = open(argv[2], O_RDONLY);
    printf("%d", flock(fd, LOCK_EX | LOCK_NB) < 0 ? errno : 0);
    fflush(stdout);
    return sleep(2);
  }
  if (argc == 2 && strcmp(argv[1], "int80") == 0) {
    long result;
    /* getpid of the 32-bit table */
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory");
    printf("%ld", result);
    return 0;
  }
  /* The last call again and again, so many times. */
  int repeated = argc == 4 && strcmp(argv[1], "repeat") == 0 ? atoi(argv[2]) : 0;
  for (int i = repeated ? 3 : 1; i < argc || repeated-- > 1; i++) {
    if (i == argc) i--;
    unsigned long part[7] = {0};
    char *text = argv[i];
    static int zeros[64];
    for (int n = 0; n < 7 && *text; n++) {
      /* "z" is the address of zeros, which a kernel takes as an empty structure */
      if (*text == 'z') { part[n] = (unsigned long)zeros; text++; } else part[n] = strtoul(text, &text, 0);
      if (*text == ',') text++;
    }
    errno = 0;
    long result = syscall((long)part[0], part[1], part[2], part[3], part[4], part[5], part[6]);
    printf("%d ", result < 0 ? errno : 0);
  }
  return 0;
}`;

const PROBE = `
import { spawn, spawnSync } from 'node:child_process';
import { createServer } from 'node:net';
const servers = [];
const listen = (host) => new Promise((resolve) => {
  const server = createServer().once('error', (error) => resolve(error.code));
  server.listen(0, host, () => { servers.push(server); resolve('listens'); });
});
const ends = (server) => new Promise((resolve) => server.close(resolve));
async function serve(kind) {
  const count = {};
  const said = async (host) => { const word = await listen(host); count[word] = (count[word] ?? 0) + 1; };
  if (kind === 'none') while (servers.length > 1) await ends(servers.pop());
  if (kind === 'many') for (let n = 0; n < 80; n++) await said(n % 2 ? '127.0.0.1' : '::1');
  if (kind === 'in turn') for (let n = 0; n < 2_000; n++) { await ends(servers.pop()); await said('127.0.0.1'); }
  return Response.json(count);
}
export default { fetch: (request) => {
  const kind = new URL(request.url).searchParams.get('serve');
  if (kind) return serve(kind);
  const calls = new URL(request.url).searchParams.getAll('call');
  if (calls[0] === 'lock') return new Promise((resolve) => spawn('/var/task/calls', calls).stdout.once('data', (text) => resolve(Response.json(Number(text)))));
  const { stdout, signal, status } = spawnSync('/var/task/calls', calls);
  return Response.json({ numbers: stdout.toString().trim().split(' ').map(Number), signal, status });
} };`;

const [OK, EPERM, EBADF, EWOULDBLOCK, EMFILE, ENOSYS] = [0, 1, 9, 11, 24, 38];
const HIGH = 0x100000000;
const x = (number: number): string => `0x${number.toString(16)}`;

/** Name, call and arguments, errno. Descriptor 99 is not open: EBADF shows that the filter let the call pass. */
const EXPECTED: [string, string, number][] = [
  ['clone3', '435,z,88', ENOSYS],
  ['io_uring_setup', '425,8,z', ENOSYS],
  ['io_setup', '206,8,z', ENOSYS],
  ['memfd_secret', '447,0', ENOSYS],
  ['shmget', '29,0,4096,0x380', ENOSYS],
  ['semget', '64,0,1,0x380', ENOSYS],
  ['msgget', '68,0,0x380', ENOSYS],
  ['mq_open', '240,z,0x42,0x180,0', ENOSYS],
  ['sched_setscheduler', '144,0,1,z', ENOSYS],
  ['memfd_create', '319,z,1', OK],
  ['memfd_create(MFD_HUGETLB)', '319,z,5', ENOSYS],
  ['mmap', '9,0,4096,3,0x22,-1,0', OK],
  ['mmap(MAP_HUGETLB)', '9,0,0x200000,3,0x40022,-1,0', ENOSYS],
  ['mmap(MAP_HUGETLB), high bits', `9,0,0x200000,3,${x(HIGH + 0x40022)},-1,0`, ENOSYS],
  ['seccomp', '317,0,0,0', ENOSYS],
  ['process_madvise', '440,99,z,1,21,0', ENOSYS],
  ['mbind', '237,0,4096,0,0,0,0', ENOSYS],
  ['fanotify_init', '300,0,0', ENOSYS],
  ['landlock_create_ruleset', '444,0,0,1', ENOSYS],
  ['cachestat', '451,99,z,z,0', ENOSYS],
  ['unshare(CLONE_NEWUSER)', '272,0x10000000', EPERM],
  ['clone(CLONE_NEWUSER)', '56,0x10000011,0,0,0,0', EPERM],
  ['clone(CLONE_NEWTIME)', '56,0x91,0,0,0,0', EPERM],
  ['keyctl', '250,0,0xfffffffd,0', EPERM],
  ['vmsplice', '278,99,z,0,0', EPERM],
  ['ptrace', '101,0,0,0,0', EPERM],
  ['inotify_init', '253', EMFILE],
  ['inotify_init1', '294,0x80000', EMFILE],
  ['inotify_add_watch', '254,99,z,2', ENOSYS],
  ['userfaultfd', '323,1', EPERM],
  ['personality(ADDR_NO_RANDOMIZE)', '135,0x0040000', ENOSYS],
  ['personality, asked', '135,0xffffffff', OK],
  ['socket(AF_VSOCK)', '41,40,1,0', EPERM],
  ['socket(AF_VSOCK), high bits', `41,${x(HIGH + 40)},1,0`, EPERM],
  ['socket(AF_ALG)', '41,38,5,0', EPERM],
  ['socket(AF_NETLINK)', '41,16,3,0', EPERM],
  ['socket(AF_PACKET)', '41,17,3,0', EPERM],
  ['socket(AF_INET, SOCK_RAW)', '41,2,3,1', EPERM],
  ['socket(AF_INET, SOCK_RAW), close-on-exec', '41,2,0x80003,1', EPERM],
  ['socket(AF_INET, SCTP)', '41,2,1,132', ENOSYS],
  ['socket(AF_INET, MPTCP)', '41,2,1,262', ENOSYS],
  ['socket(AF_INET, DCCP)', '41,2,6,33', ENOSYS],
  ['socket(AF_INET, TCP)', '41,2,0x80801,6', OK],
  ['socket(AF_INET6, UDP)', '41,10,2,17', OK],
  ['socket(AF_UNIX)', '41,1,1,0', OK],
  ['setsockopt(SO_KEEPALIVE)', '54,99,1,9,z,4', EBADF],
  ['setsockopt(SO_ATTACH_FILTER)', '54,99,1,26,z,16', ENOSYS],
  ['setsockopt(SO_ATTACH_FILTER), high bits', `54,99,${x(HIGH + 1)},${x(HIGH + 26)},z,16`, ENOSYS],
  ['setsockopt(SO_ZEROCOPY)', '54,99,1,60,z,4', ENOSYS],
  ['setsockopt(TCP_NODELAY)', '54,99,6,1,z,4', EBADF],
  ['setsockopt(TCP_ULP)', '54,99,6,31,z,4', ENOSYS],
  ['setsockopt(SOL_TLS)', '54,99,282,1,z,4', ENOSYS],
  ['setsockopt(IPV6_V6ONLY)', '54,99,41,26,z,4', EBADF],
  ['setsockopt(IPV6_JOIN_GROUP)', '54,99,41,20,z,20', EBADF],
  ['setsockopt(IPV6_RECVERR)', '54,99,41,25,z,4', EBADF],
  ['setsockopt(IPV6_ADDRFORM)', '54,99,41,1,z,4', ENOSYS],
  ['setsockopt(IPV6_2292PKTOPTIONS)', '54,99,41,6,z,4', ENOSYS],
  ['setsockopt(IPV6_ROUTER_ALERT)', '54,99,41,22,z,4', ENOSYS],
  ['setsockopt(IPV6_FLOWLABEL_MGR)', '54,99,41,32,z,32', ENOSYS],
  ['setsockopt(IPV6_XFRM_POLICY)', '54,99,41,35,z,4', ENOSYS],
  ['setsockopt(IPV6_HOPOPTS)', '54,99,41,54,z,8', ENOSYS],
  ['setsockopt(IPV6_RTHDR)', '54,99,41,57,z,8', ENOSYS],
  ['setsockopt(IP6T_SO_SET_REPLACE)', '54,99,41,64,z,64', ENOSYS],
  ['setsockopt(IP_TTL)', '54,99,0,2,z,4', EBADF],
  ['setsockopt(IP_RECVERR)', '54,99,0,11,z,4', EBADF],
  ['setsockopt(IP_ADD_MEMBERSHIP)', '54,99,0,35,z,8', EBADF],
  ['setsockopt(IP_OPTIONS)', '54,99,0,4,z,4', ENOSYS],
  ['setsockopt(IP_TRANSPARENT)', '54,99,0,19,z,4', ENOSYS],
  ['setsockopt(IP_ADD_SOURCE_MEMBERSHIP)', '54,99,0,39,z,12', ENOSYS],
  ['setsockopt(IP_MSFILTER)', '54,99,0,41,z,16', ENOSYS],
  ['setsockopt(MCAST_JOIN_GROUP)', '54,99,0,42,z,136', ENOSYS],
  ['setsockopt(MCAST_MSFILTER), of IPv6', '54,99,41,48,z,144', ENOSYS],
  ['setsockopt(IPT_SO_SET_REPLACE)', '54,99,0,64,z,64', ENOSYS],
  ['setsockopt(IPT_SO_SET_REPLACE), high bits', `54,99,${x(HIGH)},${x(HIGH + 64)},z,64`, ENOSYS],
  ['setsockopt(SO_BINDTODEVICE)', '54,99,1,25,z,4', ENOSYS],
  ['setsockopt(SO_MARK)', '54,99,1,36,z,4', ENOSYS],
  ['setsockopt(SO_ATTACH_REUSEPORT_EBPF)', '54,99,1,52,z,4', ENOSYS],
  ['setsockopt(SO_TIMESTAMPING)', '54,99,1,37,z,4', ENOSYS],
  ['setsockopt(SO_MAX_PACING_RATE)', '54,99,1,47,z,4', ENOSYS],
  ['setsockopt(TCP_REPAIR)', '54,99,6,19,z,4', ENOSYS],
  ['setsockopt(TCP_CONGESTION)', '54,99,6,13,z,4', ENOSYS],
  ['setsockopt(TCP_MD5SIG)', '54,99,6,14,z,4', ENOSYS],
  ['setsockopt(UDP_ENCAP)', '54,99,17,100,z,4', ENOSYS],
  ['getsockopt(SO_ERROR)', '55,99,1,4,z,z', EBADF],
  ['getsockopt(SO_TYPE)', '55,99,1,3,z,z', EBADF],
  ['getsockopt(SO_PEERCRED)', '55,99,1,17,z,z', EBADF],
  ['getsockopt(SO_RCVBUF)', '55,99,1,8,z,z', EBADF],
  ['getsockopt(TCP_NODELAY)', '55,99,6,1,z,z', EBADF],
  ['getsockopt(IPV6_V6ONLY)', '55,99,41,26,z,z', EBADF],
  ['getsockopt(SO_GET_FILTER)', '55,99,1,26,z,z', ENOSYS],
  ['getsockopt(SO_PEERSEC)', '55,99,1,31,z,z', ENOSYS],
  ['getsockopt(SO_INCOMING_CPU)', '55,99,1,49,z,z', ENOSYS],
  ['getsockopt(SO_MEMINFO)', '55,99,1,55,z,z', ENOSYS],
  ['getsockopt(SO_INCOMING_NAPI_ID)', '55,99,1,56,z,z', ENOSYS],
  ['getsockopt(SO_COOKIE)', '55,99,1,57,z,z', ENOSYS],
  ['getsockopt(SO_NETNS_COOKIE)', '55,99,1,71,z,z', ENOSYS],
  ['getsockopt(SO_COOKIE), high bits', `55,99,${x(HIGH + 1)},${x(HIGH + 57)},z,z`, ENOSYS],
  ['getsockopt(SO_PEERPIDFD)', '55,99,1,77,z,z', ENOSYS],
  ['getsockopt(TCP_INFO)', '55,99,6,11,z,z', ENOSYS],
  ['getsockopt(TCP_CONGESTION)', '55,99,6,13,z,z', ENOSYS],
  ['getsockopt(TCP_ZEROCOPY_RECEIVE)', '55,99,6,35,z,z', ENOSYS],
  ['getsockopt(SO_ORIGINAL_DST)', '55,99,0,80,z,z', ENOSYS],
  ['getsockopt(IPT_SO_GET_ENTRIES)', '55,99,0,65,z,z', ENOSYS],
  ['getsockopt(MCAST_MSFILTER)', '55,99,0,48,z,z', ENOSYS],
  ['sendmsg', '46,99,z,0', EBADF],
  ['sendmsg(MSG_OOB)', '46,99,z,1', EPERM],
  ['sendto(MSG_OOB), high bits', `44,99,z,1,${x(HIGH + 1)},0,0`, EPERM],
  ['recvmsg(MSG_OOB)', '47,99,z,1', EPERM],
  ['sendmsg(MSG_ZEROCOPY)', '46,99,z,0x4000000', ENOSYS],
  ['ioctl(FIONREAD)', '16,99,0x541b,z', EBADF],
  ['ioctl(TIOCSTI)', '16,0,0x5412,z', EPERM],
  ['ioctl(TIOCSTI), high bits', `16,0,${x(HIGH + 0x5412)},z`, EPERM],
  ['ioctl(TIOCLINUX)', '16,0,0x541c,z', EPERM],
  ['ioctl(TIOCSETD)', '16,0,0x5423,z', EPERM],
  ['ioctl(FS_IOC_SETFLAGS), high bits', `16,0,${x(HIGH + 0x40086602)},z`, ENOSYS],
  ['ioctl(FICLONE), high bits', `16,0,${x(HIGH + 0x40049409)},1`, ENOSYS],
  ['prctl(PR_SET_MM)', '157,35,1,0,0,0', EPERM],
  ['prctl(PR_SET_DUMPABLE)', '157,4,1,0,0,0', EPERM],
  ['prctl(PR_SET_NAME)', '157,15,z', OK],
  ['futex(FUTEX_LOCK_PI)', '202,z,6,0,0,0,0', ENOSYS],
  ['futex(FUTEX_CMP_REQUEUE_PI)', '202,z,12,0,0,z,0', ENOSYS],
  ['futex(FUTEX_WAKE)', '202,z,1,1,0,0,0', OK],
  ['fcntl(F_GETFD)', '72,99,1', EBADF],
  ['fcntl(F_SETLEASE)', '72,99,1024,0', EPERM],
  ['fcntl(F_NOTIFY)', '72,99,1026,1', EPERM],
  ['mknod', '133,z,0x2180,0x103', EPERM],
  ['madvise(MADV_DONTNEED)', '28,0,0,4', OK],
  ['madvise(MADV_MERGEABLE)', '28,0,0,12', EPERM],
  ['madvise(MADV_MERGEABLE), high bits', `28,0,0,${x(HIGH + 12)}`, EPERM],
  ['madvise(MADV_HWPOISON)', '28,0,0,100', ENOSYS],
  ['fadvise64(POSIX_FADV_DONTNEED)', '221,99,0,0,4', EPERM],
  ['fadvise64(POSIX_FADV_SEQUENTIAL)', '221,99,0,0,2', EBADF],
  ['preadv', '295,99,z,0,0,0', EBADF],
  ['preadv2', '327,99,z,0,0,0,0', ENOSYS],
  ['setxattr', '188,z,z,z,0,0', ENOSYS],
];

describe('the system call filter', async () => {
  const program = await compileC(CALLS);
  let bench: SandboxBench;
  let code: string;
  const run = async (sandbox: BenchSandbox, calls: string[]) => {
    const query = calls.map((call) => `call=${encodeURIComponent(call)}`).join('&');
    const { text } = await sandbox.call(`/?${query}`);
    return JSON.parse(text) as { numbers: number[]; signal: string | null; status: number | null };
  };
  beforeAll(async () => {
    bench = await SandboxBench.open();
    code = await bench.addCode(PROBE, { calls: program });
  });
  afterAll(() => bench.close());

  test('the filter answers each call as its policy says [IS11]', async () => {
    const sandbox = await bench.start(code);
    const { numbers } = await run(
      sandbox,
      EXPECTED.map(([, call]) => call),
    );
    const got = Object.fromEntries(EXPECTED.map(([name], index) => [name, numbers[index]]));
    expect(got).toEqual(Object.fromEntries(EXPECTED.map(([name, , errno]) => [name, errno])));
    await sandbox.end();
  });

  test('the filter names to the worker each call that it refused, also of children [IS12]', async () => {
    const sandbox = await bench.start(code);
    const calls = [
      '41,40,1,0',
      '41,1,1,0',
      '56,0x10000011,0,0,0,0',
      '272,0x10000000',
      '41,16,3,0',
      '16,0,0x5412,z',
    ];
    const { numbers } = await run(sandbox, calls);
    expect(numbers).toEqual([EPERM, OK, EPERM, EPERM, EPERM, EPERM]);
    // Neither allowed calls nor those of honest programs are named: each look-up of a name tries an AF_NETLINK socket.
    expect(sandbox.refused).toEqual([
      'socket(AF_VSOCK)',
      'clone(CLONE_NEWUSER)',
      'unshare',
      'ioctl(TIOCSTI)',
    ]);
    await sandbox.end();
  });

  test('a flood of refused calls is reported until the sandbox has used up its share, and refused beyond that [IS12]', async () => {
    const sandbox = await bench.start(code);
    const before = readdirSync('/proc/self/fd').length;
    const { numbers } = await run(sandbox, ['repeat', '2000', '272,0x10000000']);
    const told = numbers.indexOf(ENOSYS);
    expect(told).toBeGreaterThanOrEqual(128);
    expect(told).toBeLessThan(256);
    expect(numbers).toEqual([...Array(told).fill(EPERM), ...Array(2000 - told).fill(ENOSYS)]);
    expect(sandbox.refused).toHaveLength(told);
    // The worker has closed the listener.
    expect(readdirSync('/proc/self/fd')).toHaveLength(before - 1);
    expect((await run(sandbox, ['39'])).numbers).toEqual([OK]);
    await sandbox.end();
  });

  // The kernel charges connections that wait at a listener to no cgroup (D4 of test/security), so their number is
  // limited.
  test('a sandbox may have 64 listening sockets at a time, any number of times, and no more [IS13]', async () => {
    const sandbox = await bench.start(code);
    const serve = async (kind: string): Promise<unknown> =>
      JSON.parse((await sandbox.call(`/?serve=${encodeURIComponent(kind)}`)).text);
    expect(await serve('many')).toEqual({ listens: 64, EPERM: 16 });
    expect(new Set(sandbox.refused)).toEqual(new Set(['listen']));
    await serve('none');
    expect(await serve('in turn')).toEqual({ listens: 2_000 });
    await sandbox.end();
  });

  test('a sandbox that dies during a refused call leaves nothing behind in the worker', async () => {
    const before = readdirSync('/proc/self/fd').length;
    for (let round = 0; round < 10; round++) {
      const sandbox = await bench.start(code);
      const flood = run(sandbox, ['repeat', '120', '272,0x10000000']).catch(() => undefined);
      while (sandbox.refused.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      await sandbox.end();
      await flood;
    }
    expect(readdirSync('/proc/self/fd')).toHaveLength(before);
  });

  test('locks are allowed, and on files of the image they are the sandbox’s own', async () => {
    const [one, other] = [await bench.start(code), await bench.start(code)];
    const lock = async (sandbox: BenchSandbox, path: string): Promise<number> =>
      JSON.parse((await sandbox.call(`/?call=lock&call=${path}`)).text) as number;
    expect(await lock(one, '/usr/bin/node')).toBe(OK);
    expect(await lock(one, '/usr/bin/node')).toBe(EWOULDBLOCK);
    expect(await lock(other, '/usr/bin/node')).toBe(OK);
    // The code is one file for all sandboxes of a version, which are one tenant's.
    expect(await lock(one, '/var/task/index.mjs')).toBe(OK);
    expect(await lock(other, '/var/task/index.mjs')).toBe(EWOULDBLOCK);
    await Promise.all([one.end(), other.end()]);
  });

  test.each([
    ['a call of the 32-bit table by int 0x80', 'int80'],
    ['a call with the bit of x32', '0x40000027'],
  ])('the filter ends a process that makes %s [IS11]', async (_, call) => {
    const sandbox = await bench.start(code);
    expect(await run(sandbox, ['39'])).toMatchObject({ numbers: [0], signal: null });
    expect(await run(sandbox, [call])).toMatchObject({ signal: 'SIGSYS' });
    expect(describeExit({ code: undefined, signal: 'SIGSYS' })).toMatch(/^signal SIGSYS \(.*architecture\)$/);
    await sandbox.end();
  });
});
