/** C: system calls. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { type AttackBench, type Attempt, notRefused, valueOf } from '../attack-bench.ts';
import type { Scenario } from './scenario.ts';

/**
 * Calls that are answered EPERM, because programs try them and should read the reason (worker/native/seccomp/policy.h).
 */
const NAMED = new Set([
  'prctl PR_SET_MM',
  'prctl PR_SET_DUMPABLE',
  'fcntl F_SETLEASE',
  'fcntl F_NOTIFY',
  ...(
    'mount umount2 pivot_root chroot fsopen fsmount fsconfig fspick move_mount open_tree mount_setattr unshare setns ptrace ' +
    'process_vm_readv process_vm_writev pidfd_getfd kcmp open_by_handle_at name_to_handle_at mknod mknodat bpf ' +
    'perf_event_open userfaultfd vmsplice keyctl add_key request_key setuid setgid setreuid setregid setresuid setresgid ' +
    'setgroups setfsuid setfsgid capset sethostname ' +
    'setdomainname reboot syslog acct swapon swapoff settimeofday clock_settime clock_adjtime adjtimex init_module ' +
    'finit_module delete_module kexec_load kexec_file_load quotactl iopl ioperm'
  ).split(' '),
]);
const FORBIDDEN_CALLS = 100;

const expectedScan = fileURLToPath(new URL('expected-scan.json', import.meta.url));

/** Families that a sandbox may open a socket of: AF_UNIX, AF_INET, AF_INET6. */
const FAMILIES = new Set(['1', '2', '10']);

const native = (bench: AttackBench, id: string): Promise<Attempt[]> =>
  bench.with((attacker) => attacker.native(id));

export function judgeDenyTable(told: readonly Attempt[]): string[] {
  const got = told.flatMap(({ call, succeeded, errno, signal }) => {
    const expected = NAMED.has(call) ? 'EPERM' : 'ENOSYS';
    return succeeded || errno !== expected
      ? [`${call}: ${errno ?? signal ?? 'succeeded'}, not ${expected}`]
      : [];
  });
  return told.length < FORBIDDEN_CALLS ? [...got, `only ${told.length} calls were tried`] : got;
}

export const calls: Readonly<Record<string, Scenario>> = {
  C1: {
    title: 'deny-table: over 100 forbidden system calls are each answered with their documented errno',
    run: async (bench) => judgeDenyTable(await native(bench, 'C1')),
  },
  C2: {
    title: 'arch-32: int 0x80, x32 numbers and a 32-bit program are killed',
    async run(bench) {
      const told = [...(await native(bench, 'C2')), ...(await bench.with((attacker) => attacker.js('C2')))];
      const got = told.length < 20 ? [`only ${told.length} calls were tried`] : [];
      // A kernel without the emulation refuses to run the program at all.
      const ends = ({ signal, errno }: Attempt): boolean => signal === 'SIGSYS' || errno === 'ENOEXEC';
      return [
        ...got,
        ...told.filter((one) => !ends(one)).map(({ call, errno }) => `${call}: ${errno ?? 'succeeded'}`),
      ];
    },
  },
  C3: {
    title:
      'socket-families: of families 0 to 45 only AF_UNIX, AF_INET and AF_INET6 can be opened, and no raw sockets',
    async run(bench) {
      const told = await native(bench, 'C3');
      const got = told.flatMap(({ call, succeeded, errno }) => {
        const [, family = '', type] = /^\w+\((\d+), (\d+)\)/.exec(call) ?? [];
        if (!FAMILIES.has(family))
          // EPERM while the worker gets a report, ENOSYS once the sandbox has used up its share of reports.
          return succeeded || (errno !== 'EPERM' && errno !== 'ENOSYS')
            ? [`${call}: ${errno ?? 'succeeded'}`]
            : [];
        // SOCK_RAW
        return succeeded && type === '3' && family !== '1' ? [`${call}: a raw socket`] : [];
      });
      if (!told.some(({ call, succeeded }) => call === 'socket(2, 1)' && succeeded)) got.push('not even TCP');
      return told.length < 46 * 4 * 3 ? [...got, `only ${told.length} calls`] : got;
    },
  },
  C4: {
    title: 'io_uring: no ring can be set up, and a runtime that asks for one does without',
    async run(bench) {
      const told = await native(bench, 'C4');
      const got = notRefused(told, 'ENOSYS');
      const [node] = await bench.with((attacker) => attacker.js('C4'));
      return node?.value?.trim() === 'ok 0' ? got : [...got, `node: ${node?.value ?? node?.errno}`];
    },
  },
  C5: {
    title: 'keyring: add_key, request_key and every operation of keyctl are refused',
    run: async (bench) => notRefused(await native(bench, 'C5'), 'EPERM'),
  },
  C6: {
    title: 'tiocsti: TIOCSTI and other ioctls, also with the upper half of the request set, are refused',
    run: async (bench) => notRefused(await native(bench, 'C6'), 'EPERM', 'ENOSYS'),
  },
  C7: {
    title: 'userfaultfd/bpf/perf: these calls are refused in every form',
    run: async (bench) => notRefused(await native(bench, 'C7'), 'EPERM'),
  },
  C8: {
    title: 'personality: ADDR_NO_RANDOMIZE, READ_IMPLIES_EXEC and others cannot be set',
    async run(bench) {
      const told = await native(bench, 'C8');
      const js = await bench.with((attacker) => attacker.js('C8'));
      const got = [...notRefused(told, 'ENOSYS'), ...notRefused(js, 'ENOENT', 'EACCES', 'EPERM', 'EXIT')];
      return valueOf(told, 'personality') === '0' ? got : [...got, 'the personality has changed'];
    },
  },
  C10: {
    title: 'page-cache: AF_ALG, vmsplice, Dirty Pipe and Dirty COW change no file of the image',
    async run(bench) {
      const told = await native(bench, 'C10');
      const got = notRefused(told, 'ENOSYS', 'EPERM');
      for (const attack of ['dirty pipe', 'dirty cow'])
        if (valueOf(told, attack) !== 'unchanged') got.push(`${attack}: ${valueOf(told, attack)}`);
      return got;
    },
  },
  C11: {
    title: 'scan: each point that scanners of containers check is as the declared file says',
    async run(bench) {
      const told = await bench.with((attacker) => attacker.js('C11'));
      const seen = Object.fromEntries(
        told.map(({ call, value, errno }) => [
          call,
          value === undefined ? errno : (JSON.parse(value) as unknown),
        ]),
      );
      const declared = JSON.parse(await readFile(expectedScan, 'utf8')) as Record<string, unknown>;
      return [...new Set([...Object.keys(declared), ...Object.keys(seen)])].flatMap((point) =>
        isDeepStrictEqual(seen[point], declared[point])
          ? []
          : [`${point}: ${JSON.stringify(seen[point])}, not ${JSON.stringify(declared[point])}`],
      );
    },
  },
};
