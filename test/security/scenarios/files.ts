/** B: the file system. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, readdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { type AttackBench, type Attempt, notRefused, valueOf, valuesOf } from '../attack-bench.ts';
import type { Scenario } from './scenario.ts';

const READ_ONLY = ['EROFS', 'EACCES', 'EPERM'];
const NOT_THERE = ['ENOENT', 'EACCES', 'ENOTDIR', 'EPERM'];
/**
 * Each costs as many steps as it is deep, because rules on paths are looked up to the root; only the end of the tree
 * counts.
 */
const LEVELS = 4_000;
const DEVICES = 'fd full null random shm stderr stdin stdout urandom zero';

async function bothWays(bench: AttackBench, id: string, ...args: string[]): Promise<Attempt[]> {
  return await bench.with(async (attacker) => [
    ...(await attacker.js(id, ...args)),
    ...(await attacker.native(id, ...args)),
  ]);
}

/** The root of the image on the host. */
const imageRoot = (): Promise<string> => realpath(join(process.env['OFFSHOOT_STATE'] ?? '', 'images/node26'));

async function hashOfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

/**
 * A hash of the lower layer on the host: every file's facts, and the content of the platform's own and of the runtime.
 */
async function fingerprint(root: string): Promise<string> {
  const hash = createHash('sha256');
  const names = (await readdir(root, { recursive: true })).toSorted();
  for (const name of names) {
    const { size, mode, uid, gid, mtimeMs } = await lstat(join(root, name));
    hash.update(`${name} ${size} ${mode} ${uid} ${gid} ${mtimeMs}\n`);
  }
  for (const name of ['usr/bin/node', 'opt/offshoot/zygote.node', 'opt/offshoot/bootstrap.cjs'])
    hash.update(await hashOfFile(join(root, name)));
  return hash.digest('hex');
}

interface Mount {
  readonly target: string;
  readonly root: string;
  readonly options: readonly string[];
  readonly type: string;
  readonly source: string;
}

/** proc_pid_mountinfo(5) */
function parseMounts(text: string): Mount[] {
  return text
    .trim()
    .split('\n')
    .map((line) => {
      const [own = '', after = ''] = line.split(' - ');
      const [, , , root = '', target = '', options = ''] = own.split(' ');
      const [type = '', source = ''] = after.split(' ');
      return { target, root, options: options.split(','), type, source };
    });
}

export const files: Readonly<Record<string, Scenario>> = {
  B1: {
    title: 'host-files: over 50 paths and ways around them lead to nothing of the host',
    async run(bench) {
      const told = await bothWays(
        bench,
        'B1',
        bench.canaries.file,
        bench.bench.store,
        process.cwd(),
        '/proc/1/environ',
      );
      // A readable file is the sandbox's own unless a canary shows. Files that hold secrets must not exist at all.
      const secrets = /shadow|sudoers|ssh_host|docker\.sock|containerd|redis\.sock|admin-key|store|scratch/;
      return (
        told
          // An empty mount point is no finding.
          .filter(({ call, value }) => secrets.test(call) && (value ?? '') !== '')
          .map(({ call }) => `${call} could be read`)
      );
    },
  },
  B2: {
    title:
      'ro-base: nothing of the image or the code can be written, renamed, linked or removed; it is the same afterwards',
    timeoutMs: 240_000,
    async run(bench) {
      const root = await imageRoot();
      const before = await fingerprint(root);
      const told = await bothWays(bench, 'B2');
      const got = notRefused(told, ...READ_ONLY, 'ENOENT', 'EXDEV', 'ETXTBSY');
      if (Number(valueOf(told, 'tries')) < 1_000) got.push(`only ${valueOf(told, 'tries')} tries`);
      if ((await fingerprint(root)) !== before) got.push('the image has changed');
      return got;
    },
  },
  B3: {
    title:
      'mounts-flags: each mount has nosuid and nodev, /tmp, /proc and /dev have noexec, and no source is a path of the host',
    async run(bench) {
      const told = await bench.with((attacker) => attacker.native('B3'));
      const mounts = parseMounts(valueOf(told, '/proc/self/mountinfo'));
      if (!mounts.some(({ target }) => target === '/tmp')) return ['the mount table could not be read'];
      return mounts.flatMap(({ target, options, source, type }) => {
        const missing = ['nosuid'];
        // A device that may not be opened would be of no use; /dev holds five harmless ones.
        if (!target.startsWith('/dev')) missing.push('nodev');
        if (/^\/(tmp|proc|dev)(\/|$)/.test(target)) missing.push('noexec');
        const got = missing
          .filter((flag) => !options.includes(flag))
          .map((flag) => `${target} lacks ${flag}`);
        if (source.startsWith('/') && !source.startsWith('/dev/'))
          got.push(`${target} (${type}) has the source ${source}`);
        return got;
      });
    },
  },
  B4: {
    title:
      'mount-syscalls: mount in all its forms (each cgroup controller too), umount2, pivot_root and chroot are refused',
    run: async (bench) => notRefused(await bothWays(bench, 'B4'), 'EPERM', 'ENOSYS', 'ENOENT', 'EXIT'),
  },
  B5: {
    title: 'dev-set: /dev holds five harmless devices; no other can be opened or made',
    async run(bench) {
      const told = await bothWays(bench, 'B5');
      const got = notRefused(told, ...NOT_THERE, 'EROFS', 'EXIT');
      if (valueOf(told, '/dev') !== DEVICES) got.push(`/dev holds ${valueOf(told, '/dev')}`);
      return got;
    },
  },
  B5b: {
    title: 'dev-watch: inotify on a device does not show that another sandbox uses it',
    async run(bench) {
      const [watcher, other] = await Promise.all([bench.attacker(), bench.attacker()]);
      await watcher.js('watchDevices');
      await other.js('touchDevices');
      await sleep(200);
      return valuesOf(await watcher.js('watchDevices'), 'event').filter((event) => event !== 'watching');
    },
  },
  B6: {
    title: 'proc-masked: /proc shows no facts of the kernel or of the host',
    async run(bench) {
      const names = [
        'kcore',
        'keys',
        'key-users',
        'sysrq-trigger',
        'sys',
        'sys/kernel/core_pattern',
        'timer_list',
        'kallsyms',
      ];
      names.push(
        'interrupts',
        'modules',
        'kmsg',
        'iomem',
        'ioports',
        'cmdline',
        'config.gz',
        'cpuinfo',
        'meminfo',
        'version',
      );
      names.push(
        'partitions',
        'slabinfo',
        'sched_debug',
        'vmallocinfo',
        'scsi',
        'acpi',
        'bus',
        'fs',
        'irq',
        'net',
        'mounts',
        'loadavg',
      );
      names.push(
        'stat',
        'uptime',
        'self/net/tcp',
        'self/attr/current',
        '1/mem',
        '1/pagemap',
        '1/kstack',
        'sysvipc',
      );
      // Links to facts about the process itself: mounts is B3's, net shows the sandbox's own network.
      const own = new Set(['/proc/mounts', '/proc/net', '/proc/self/net/tcp', '/proc/self/attr/current']);
      const told = await bothWays(bench, 'B6', ...names.map((name) => `/proc/${name}`));
      return notRefused(
        told.filter(({ call }) => !own.has(call)),
        ...NOT_THERE,
      );
    },
  },
  B7: {
    title: 'no-sys: neither the kernel’s /sys nor a cgroup file system is there',
    async run(bench) {
      const paths = [
        '/sys/fs/cgroup/cgroup.procs',
        '/sys/fs/cgroup/tasks',
        '/sys/fs/cgroup/memory.current',
        '/sys/kernel',
        '/sys/class',
        '/sys/fs/bpf',
        '/cgroup',
        '/sys/fs/cgroup/memory/release_agent',
      ];
      return notRefused(await bothWays(bench, 'B7', '/sys/devices', ...paths), ...NOT_THERE);
    },
  },
  B13: {
    title:
      'tmp-persist: marks in every writable directory and an abstract socket are not seen by the next sandbox',
    async run(bench) {
      const mark = bench.canaries.abstractSocket.replace('canary', 'mark');
      const first = await bench.attacker();
      const marked = await first.js('B13mark', mark);
      const got = marked.length === 0 ? ['nothing could be marked, so nothing was shown'] : [];
      if (valuesOf(await first.js('B13look', mark), 'seen').length < 2)
        got.push('the attack does not see its own marks');
      // While the first sandbox lives, and after it.
      const look = async (): Promise<string[]> =>
        valuesOf(await bench.with((attacker) => attacker.js('B13look', mark)), 'seen');
      got.push(...(await look()));
      await first.end();
      return [...got, ...(await look())];
    },
  },
  B14: {
    title:
      'self-exe-write: the programs of the image and the function’s own cannot be opened for writing, nor again',
    async run(bench) {
      const root = await imageRoot();
      const before = await hashOfFile(join(root, 'usr/bin/node'));
      const got = notRefused(await bothWays(bench, 'B14'), ...READ_ONLY, 'ENOENT', 'ETXTBSY');
      if ((await hashOfFile(join(root, 'usr/bin/node'))) !== before) got.push('the runtime has changed');
      return got;
    },
  },
  B17: {
    title:
      'deep-path: a tree of thousands of levels with the longest names is gone with its sandbox, in under 2 s',
    // Landlock looks at each directory above a new one, so such a tree takes long to make.
    timeoutMs: 240_000,
    async run(bench) {
      const got: string[] = [];
      for (const way of ['js', 'native'] as const) {
        const attacker = await bench.attacker();
        const told = await attacker[way]('B17', String(LEVELS));
        if (Number(valueOf(told, 'depth')) < LEVELS) got.push(`${way}: only ${valueOf(told, 'depth')} deep`);
        const start = performance.now();
        await attacker.end();
        const took = performance.now() - start;
        if (took > 2_000) got.push(`${way}: the end took ${Math.round(took)} ms`);
      }
      return got;
    },
  },
};
