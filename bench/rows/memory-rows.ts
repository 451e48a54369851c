/**
 * Memory of idle sandboxes that have run their function once, each looked at in three ways:
 *
 *   host    how much less MemAvailable the host has. Everything is in it: private pages, page tables, kernel stacks,
 *           namespaces, mounts, sockets, cgroup, and the worker's own share. The figure of the design's table.
 *   cgroup  what the kernel charges to the sandbox's cgroup, its kernel memory included. Less than the host's: the fork
 *           itself (page tables, task) is charged to the zygote, because a sandbox joins its cgroup after that.
 *   process its private pages; its proportional set size (PSS: a shared page is divided among those who share it); and its
 *           resident set size (RSS), in which a sandbox has all of the zygote, though it shares it.
 */
import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SandboxBench, type BenchSandbox } from '../../test/support/sandbox/sandbox-bench.ts';
import { startServing, type Child } from '../measure/children.ts';
import type { Run } from '../measure/run.ts';
import { HELLO } from './sandbox-rows.ts';
import { compared, figure, type Figure, type Section } from '../measure/stats.ts';

const MB = 1024 * 1024;
const KB = 1024;
/**
 * Number of batches. MemAvailable is read after each of them, because a single reading would depend on other programs.
 */
const BATCHES = 5;
const SETTLE_MS = 1_000;
const WARM_UP = 5;
const SERVER = `import { createServer } from 'node:http';
import { writeFileSync } from 'node:fs';
createServer((_, response) => response.end('hello')).listen(0, '127.0.0.1', () => writeFileSync(process.argv[2], ''));
`;

export async function memorySection(run: Run): Promise<Section> {
  // The few plain processes first: the kernel still frees hundreds of sandboxes for a while after their end.
  const plain = await processFigures(run);
  const ours = await sandboxFigures(run);
  return {
    name: 'memory',
    title: 'Memory of one that is idle, its function loaded and run (node26)',
    // Figures that were measured in the same way stand side by side.
    figures: ours.flatMap((own, way) => compared([own, ...plain.slice(way, way + 1)])),
    notes: [
      'host: less MemAvailable, kernel memory included; cgroup: charged to it, kernel memory included but for the fork',
    ],
  };
}

async function sandboxFigures({ counts, stopping }: Run): Promise<Figure[]> {
  const bench = await SandboxBench.open();
  const live: BenchSandbox[] = [];
  try {
    const code = await bench.addCode(HELLO);
    const add = async (): Promise<void> => {
      stopping.throwIfAborted();
      const one = await bench.start(code);
      live.push(one);
      await one.call();
    };
    for (let warm = 0; warm < WARM_UP; warm++) await add();
    const host = await onHost(counts.idle, add);
    const seen = live.slice(WARM_UP).map((one) => lookAt(one));
    return waysOf('idle sandbox', host, counts.idle, seen);
  } finally {
    await Promise.all(live.map((one) => one.end()));
    await bench.close();
  }
}

async function processFigures({ counts, temporary, stopping }: Run): Promise<Figure[]> {
  const script = join(temporary, 'server.mjs');
  await writeFile(script, SERVER);
  const live: Child[] = [];
  try {
    const host = await onHost(counts.idleProcesses, async () => {
      stopping.throwIfAborted();
      const mark = join(temporary, `up-${live.length}`);
      live.push(await startServing([process.execPath, script, mark], async () => existsSync(mark)));
    });
    const seen = live.map(({ pid }) => ({ ...setSizes(pid), cgroup: undefined }));
    return waysOf('plain node, HTTP server', host, counts.idleProcesses, seen);
  } finally {
    await Promise.all(live.map((one) => one.stop()));
  }
}

interface Seen {
  readonly private: number;
  readonly pss: number;
  readonly rss: number;
  readonly cgroup: number | undefined;
}

function waysOf(who: string, host: readonly number[], count: number, seen: readonly Seen[]): Figure[] {
  const charged = seen.flatMap(({ cgroup }) => cgroup ?? []);
  const figures = [
    { ...figure(`${who}: host`, 'MB', host), count },
    figure(
      `${who}: process, private`,
      'MB',
      seen.map((one) => one.private),
    ),
    figure(
      `${who}: process, PSS`,
      'MB',
      seen.map((one) => one.pss),
    ),
    figure(
      `${who}: process, RSS (shared pages too)`,
      'MB',
      seen.map((one) => one.rss),
    ),
  ];
  if (charged.length > 0) figures.push(figure(`${who}: cgroup`, 'MB', charged));
  return figures;
}

/** MB that MemAvailable fell for each sandbox or process added, of each batch. */
async function onHost(count: number, add: () => Promise<void>): Promise<number[]> {
  const batch = Math.max(1, Math.floor(count / BATCHES));
  const each: number[] = [];
  let before = await settledAvailable();
  for (let left = count; left > 0; left -= batch) {
    const size = Math.min(batch, left);
    for (let number = 0; number < size; number++) await add();
    const after = await settledAvailable();
    each.push((before - after) / size / MB);
    before = after;
  }
  return each;
}

/** MemAvailable in bytes, once the kernel has done its deferred work. */
async function settledAvailable(): Promise<number> {
  await sleep(SETTLE_MS);
  return numberIn('/proc/meminfo', /^MemAvailable: +(\d+)/m) * KB;
}

function lookAt({ cgroup }: BenchSandbox): Seen {
  const [pid = 0] = cgroup.pids();
  return { ...setSizes(pid), cgroup: chargedTo(pid) / MB };
}

function setSizes(pid: number): Omit<Seen, 'cgroup'> {
  // A worker may read /proc of its sandboxes: they are in user namespaces below one that its user made.
  const file = `/proc/${pid}/smaps_rollup`;
  const kb = (name: string): number => numberIn(file, new RegExp(`^${name}: +(\\d+)`, 'm')) * KB;
  return {
    private: (kb('Private_Clean') + kb('Private_Dirty')) / MB,
    pss: kb('Pss') / MB,
    rss: kb('Rss') / MB,
  };
}

/** Bytes charged to the cgroup of a process: memory.current in v2; in v1 the usage, kernel memory included. */
function chargedTo(pid: number): number {
  const lines = readFileSync(`/proc/${pid}/cgroup`, 'utf8');
  const v1 = /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$/m.exec(lines)?.[1];
  if (v1 !== undefined) return numberIn(`/sys/fs/cgroup/memory${v1}/memory.usage_in_bytes`, /(\d+)/);
  return numberIn(`/sys/fs/cgroup${/^0::(.*)$/m.exec(lines)?.[1] ?? ''}/memory.current`, /(\d+)/);
}

function numberIn(file: string, pattern: RegExp): number {
  return Number(pattern.exec(readFileSync(file, 'utf8'))?.[1] ?? Number.NaN);
}
