/** A: Linux namespaces, processes, credentials. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { sandboxCgroups } from '../../support/sandbox/cgroup-paths.ts';
import {
  type AttackBench,
  type Attacker,
  type Attempt,
  descendants,
  notRefused,
  valueOf,
  valuesOf,
} from '../attack-bench.ts';
import type { Scenario } from './scenario.ts';

const NAMESPACES = ['user', 'pid', 'mnt', 'net', 'ipc', 'uts', 'cgroup'] as const;
/** EPERM where the filter names the call, ENOSYS where it does not, other errors by the kernel. */
const REFUSALS = ['EPERM', 'EACCES', 'ENOSYS', 'ENOENT', 'ESRCH'];

/** From JavaScript and from the attack program, each in a sandbox of its own. */
async function bothWays(bench: AttackBench, id: string, ...args: string[]): Promise<Attempt[]> {
  return [
    ...(await bench.with((attacker) => attacker.js(id, ...args))),
    ...(await bench.with((attacker) => attacker.native(id, ...args))),
  ];
}

/** As bothWays, for an attack that may end its own sandbox. */
async function untilItEnds(bench: AttackBench, id: string, ...args: string[]): Promise<Attempt[]> {
  const told: Attempt[] = [];
  for (const way of ['js', 'native'] as const) {
    const ended = (error: unknown): Attempt[] => {
      if (!String(error).includes('sandbox ended')) throw error;
      return [];
    };
    told.push(...(await bench.with((attacker) => attacker[way](id, ...args).catch(ended))));
  }
  return told;
}

const hostPids = (): string[] => descendants(process.pid).map(({ pid }) => String(pid));

/** The ids of the host that the processes of a sandbox run under. */
function hostIds({ sandbox }: Attacker): number[] {
  return sandbox.cgroup.pids().flatMap((pid) => {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return [...status.matchAll(/^[UG]id:\t(.*)$/gm)].flatMap(([, ids]) =>
      (ids ?? '').split('\t').map(Number),
    );
  });
}

/** After an attack on every process: are the others still there? */
async function othersAreWell(bench: AttackBench, sibling: Attacker): Promise<string[]> {
  const harm: string[] = [];
  const answer = await sibling.native('A14').catch((error: unknown) => String(error));
  if (!Array.isArray(answer)) harm.push(`a sibling was harmed: ${answer}`);
  if (!bench.bench.zygote.alive) harm.push('the zygote has ended');
  await bench.with((fresh) => fresh.js('A14'));
  return harm;
}

export const processes: Readonly<Record<string, Scenario>> = {
  A1: {
    title: 'ns-ids: a sandbox has seven namespaces that are neither the host’s nor a sibling’s',
    async run(bench) {
      const [one, other] = await Promise.all([bench.attacker(), bench.attacker()]);
      const seen = [await one.js('A1'), await one.native('A1')];
      const sibling = await other.js('A1');
      return seen.flatMap((own) =>
        NAMESPACES.flatMap((name) => {
          const path = `/proc/self/ns/${name}`;
          const id = valueOf(own, path);
          if (!id.startsWith(`${name}:[`)) return [`${name}: not read`];
          return [readlinkSync(path), valueOf(sibling, path)].includes(id) ? [`${name} is shared`] : [];
        }),
      );
    },
  },
  A2: {
    title: 'caps-zero: a function and its children have no capability in any set, no_new_privs, and a filter',
    async run(bench) {
      const told = await bothWays(bench, 'A2');
      return valuesOf(told, '/proc/self/status').flatMap((status) => {
        const wrong = ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'].filter(
          (set) => !new RegExp(`^${set}:\t0+$`, 'm').test(status),
        );
        if (!/^NoNewPrivs:\t1$/m.test(status)) wrong.push('NoNewPrivs');
        if (!/^Seccomp:\t2$/m.test(status)) wrong.push('Seccomp');
        return wrong;
      });
    },
  },
  A3: {
    title:
      'uid-map: each sandbox has an id of the host that is no other’s and not the worker’s, and cannot change it',
    async run(bench) {
      const all = await Promise.all([bench.attacker(), bench.attacker(), bench.attacker()]);
      const got: string[] = [];
      const ids = all.map((attacker) => [...new Set(hostIds(attacker))]);
      for (const own of ids) {
        if (own.length !== 1) got.push(`a sandbox runs as ${own.join(' and ')}`);
        if (own.includes(0) || own.includes(process.getuid?.() ?? 0))
          got.push('runs as root or as the worker');
      }
      if (new Set(ids.flat()).size !== all.length) got.push('two sandboxes share an id of the host');
      for (const attacker of all.slice(0, 1)) {
        for (const told of [await attacker.js('A3'), await attacker.native('A3')]) {
          got.push(...notRefused(told, ...REFUSALS, 'EINVAL'));
          const [inside, outside, length] = valueOf(told, '/proc/self/uid_map').trim().split(/ +/);
          if (inside !== '1000' || outside === '0' || length !== '1') got.push('the id map');
          if (valueOf(told, '/proc/self/setgroups').trim() !== 'deny') got.push('setgroups is allowed');
        }
      }
      return got;
    },
  },
  A4: {
    title:
      'setuid-exec: files with set-id bits or capabilities, also root’s of the launcher’s namespace, give nothing',
    async run(bench) {
      const files = [
        '/var/task/attack-setuid',
        ...(bench.hasCapabilityFile ? ['/var/task/attack-capable'] : []),
      ];
      return await bench.with(async (attacker) => {
        const got: string[] = [];
        for (const file of files) {
          const told = await attacker.program(file, 'A4');
          for (const id of ['ruid', 'euid', 'egid'])
            if (valueOf(told, id) !== '1000') got.push(`${file}: ${id} ${valueOf(told, id)}`);
          if (!/^CapEff:\t0+$/m.test(valueOf(told, '/proc/self/status'))) got.push(`${file}: capabilities`);
        }
        const asRoot = (await attacker.js('A4')).filter(({ value }) => value?.trim() === '0');
        return [...got, ...asRoot.map(({ call }) => `${call} ran as root`)];
      });
    },
  },
  A5: {
    title: 'nested-userns: unshare, clone and clone3 are refused every namespace, the user’s first of all',
    run: async (bench) => notRefused(await bothWays(bench, 'A5'), ...REFUSALS, 'EXIT'),
  },
  A6: {
    title: 'setns: no namespace can be entered, by files of /proc or by pidfd',
    run: async (bench) => notRefused(await bothWays(bench, 'A6'), ...REFUSALS, 'EXIT'),
  },
  A7: {
    title: 'see-host-pids: /proc and kill(0) on 1..32768 show only the own tree',
    async run(bench) {
      const told = [
        await bench.with((attacker) => attacker.js('A7')),
        await bench.with((attacker) => attacker.native('A7')),
      ];
      return told.flatMap((own) => {
        const known = new Set(['1', ...valuesOf(own, 'self'), ...valuesOf(own, 'parent')]);
        const seen = own.filter(({ call }) =>
          ['alive', 'listed', 'signal forbidden, so it is there'].includes(call),
        );
        if (!seen.some(({ call }) => call === 'alive')) return ['the attack saw not even itself'];
        return seen
          .filter(({ value }) => !known.has(value ?? ''))
          .map(({ call, value }) => `${call}: ${value}`);
      });
    },
  },
  A8: {
    title:
      'ptrace-sibling: ptrace, process_vm_*, pidfd_getfd, kcmp and /proc/PID are refused for PID 1 and for the host’s processes',
    run: async (bench) =>
      notRefused(await bothWays(bench, 'A8', ...hostPids().slice(0, 8)), ...REFUSALS, 'EBADF'),
  },
  A9: {
    title: 'kill-all: kill(-1), kill(1) and kill of the host’s pids harm no one else',
    async run(bench) {
      const sibling = await bench.attacker();
      const before = hostPids().length;
      const told = await untilItEnds(bench, 'A9', ...hostPids());
      const got = notRefused(
        told.filter(({ call }) => !/kill\((-1|1), SIGKILL\)/.test(call)),
        'ESRCH',
      );
      if (hostPids().length < before) got.push('a process of the host is gone');
      return [...got, ...(await othersAreWell(bench, sibling))];
    },
  },
  A10: {
    title: 'pid1-reap: 500 orphans stay within pids.max, are reaped, and harm no other sandbox',
    async run(bench) {
      const sibling = await bench.attacker();
      return await bench.with(async (attacker) => {
        const told = await attacker.native('A10');
        const got = Number(valueOf(told, 'orphans')) < 50 ? ['hardly any orphan was made'] : [];
        const pids = join(sandboxCgroups(), attacker.sandbox.sandbox.id, 'pids.current');
        const current = (): number => Number(readFileSync(pids, 'utf8'));
        if (current() > 64) got.push(`${current()} processes with a limit of 64`);
        // The function and its threads; PID 1 reaps the rest.
        for (let tries = 0; tries < 100 && current() > 16; tries++) await sleep(50);
        if (current() > 16) got.push(`${current()} processes are left`);
        await attacker.js('A14');
        return [...got, ...(await othersAreWell(bench, sibling))];
      });
    },
  },
  A11: {
    title: 'daemonise: double fork, setsid and ignored signals do not outlive the sandbox',
    async run(bench) {
      const got: string[] = [];
      for (const way of ['js', 'native'] as const) {
        const attacker = await bench.attacker();
        await attacker[way]('A11');
        const pids = attacker.sandbox.cgroup.pids();
        if (pids.length < 2) got.push(`${way}: the daemon did not even start`);
        await attacker.end();
        await sleep(100);
        const left = pids.filter((pid) => {
          try {
            return readFileSync(`/proc/${pid}/status`, 'utf8').length > 0;
          } catch {
            return false;
          }
        });
        if (left.length > 0) got.push(`${way}: ${left.length} processes are left`);
      }
      return got;
    },
  },
  A12: {
    title: 'sigusr1-inspector: SIGUSR1 to PID 1 opens no inspector, here, in the zygote or on the host',
    async run(bench) {
      const told = await untilItEnds(bench, 'A12');
      // 9229 in hexadecimal, in state "listening".
      const listeners = descendants(process.pid).filter(({ pid }) => {
        try {
          return readFileSync(`/proc/${pid}/net/tcp`, 'utf8').includes(':240D 00000000:0000 0A');
        } catch {
          return false;
        }
      });
      const got = notRefused(told, 'ECONNREFUSED');
      return [...got, ...listeners.map(({ name }) => `${name} listens on 9229`)];
    },
  },
  A13: {
    title:
      'dumpable: a sandbox writes no core file, cannot raise that limit, and its PID 1 stays non-dumpable',
    async run(bench) {
      const told = [
        ...(await bench.with((attacker) => attacker.native('A13'))),
        ...(await bench.with((attacker) => attacker.addon('A13'))),
      ];
      const got = notRefused(told, ...REFUSALS);
      if (valuesOf(told, 'core limit').some((limit) => limit !== '0')) got.push('the core limit is not 0');
      const crashes = told.filter(({ signal }) => signal === 'SIGSEGV');
      if (crashes.length !== 2) got.push('the attack did not crash');
      if (crashes.some(({ core }) => core)) got.push('a core was dumped');
      const cores = readdirSync(bench.bench.store, { recursive: true, encoding: 'utf8' });
      return [
        ...got,
        ...cores.filter((name) => /(^|\/)core(\.\d+)?$/.test(name)).map((name) => `core file ${name}`),
      ];
    },
  },
  A14: {
    title: 'cwd-root-links: cwd, root and exe lead nowhere else, and no ".." leads out',
    async run(bench) {
      const [js, native] = await bench.with(async (attacker) => [
        await attacker.js('A14'),
        await attacker.native('A14'),
      ]);
      const expected: [readonly Attempt[], string, RegExp][] = [
        [js ?? [], 'getcwd', /^\/var\/task$/],
        [js ?? [], 'getcwd above', /^\/$/],
        [native ?? [], '/proc/self/cwd', /^\/var\/task$/],
        [native ?? [], '/proc/self/root', /^\/$/],
        [native ?? [], '/proc/self/exe', /^\/var\/task\/attack$/],
        [native ?? [], 'getcwd', /^\/var\/task$/],
        [native ?? [], 'getcwd above', /^\/$/],
        [native ?? [], 'above the root', /^the root$/],
        [native ?? [], 'openat above the root', /^the root$/],
      ];
      return expected
        .filter(([told, call, wanted]) => !wanted.test(valueOf(told, call)))
        .map(([told, call]) => `${call}: ${valueOf(told, call)}`);
    },
  },
};
