/** What a sandbox costs: started from nothing, given its function, and idle. Real sandboxes, no Redis. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Runtime } from '#contract/manifest.ts';
import { SandboxBench, type BenchSandbox } from '../test/support/sandbox-bench.ts';
import { figure, type Figure } from './stats.ts';

export const HELLO = `export default { fetch: () => new Response('hello') };`;
const MB = 1024 * 1024;

export interface ColdFigures {
  readonly cold: Figure;
  readonly given: Figure;
  readonly parts: Figure[];
}

/** New sandboxes one after another, each called once and ended. */
export async function coldRows(runtime: Runtime, count: number): Promise<ColdFigures> {
  const bench = await SandboxBench.open(runtime);
  const code = await bench.addCode(HELLO);
  const totals: number[] = [];
  const given: number[] = [];
  const parts: Record<'cgroup' | 'prepare' | 'isolate' | 'load' | 'first call', number[]> = {
    cgroup: [],
    prepare: [],
    isolate: [],
    load: [],
    'first call': [],
  };
  for (let round = -5; round < count; round++) {
    const one = await bench.start(code);
    const ready = performance.now();
    await one.call();
    const called = performance.now() - ready;
    await one.end();
    if (round < 0) continue;
    const { cgroup, prepare, isolate, load } = one.timings;
    parts.cgroup.push(cgroup);
    parts.prepare.push(prepare);
    parts.isolate.push(isolate);
    parts.load.push(load);
    parts['first call'].push(called);
    totals.push(cgroup + prepare + isolate + load);
    const prepared = await bench.start(code, true);
    given.push(prepared.timings.isolate + prepared.timings.load);
    await prepared.end();
  }
  await bench.close();
  return {
    cold: figure(`new sandbox, function loaded (${runtime})`, 'ms', totals),
    given: figure(`prepared sandbox given its function (${runtime})`, 'ms', given),
    parts: Object.entries(parts).map(([name, values]) => figure(`${name} (${runtime})`, 'ms', values)),
  };
}

/**
 * Memory of idle sandboxes that have answered once: what the host has less, which has everything in it (private pages,
 * page tables, namespaces, mounts, sockets, the worker's share). The same for plain Node processes.
 */
export async function memoryRows(count: number): Promise<Figure[]> {
  // First, while nothing of an earlier row is still being given back.
  const plain = await plainNodeBytes();
  const bench = await SandboxBench.open();
  const code = await bench.addCode(HELLO);
  const live: BenchSandbox[] = [];
  const add = async (): Promise<void> => {
    const one = await bench.start(code);
    await one.call();
    live.push(one);
  };
  for (let warm = 0; warm < 5; warm++) await add();
  const before = await settledAvailable();
  for (let number = 0; number < count; number++) await add();
  const perSandbox = (before - (await settledAvailable())) / count;
  await Promise.all(live.map((one) => one.end()));
  await bench.close();
  return [
    { ...figure('idle sandbox, all kernel memory included', 'MB', [perSandbox / MB]), count },
    {
      ...figure('plain node process with an HTTP server', 'MB', [plain / MB]),
      count: PLAIN,
    },
  ];
}

/** Free memory of the host once the kernel has done what it does later. */
async function settledAvailable(): Promise<number> {
  await sleep(1_000);
  return Number(/^MemAvailable: +(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]) * 1024;
}

const PLAIN = 10;

async function plainNodeBytes(): Promise<number> {
  const before = await settledAvailable();
  const children = Array.from({ length: PLAIN }, () =>
    spawn(process.execPath, ['-e', 'require("node:http").createServer().listen(0, "127.0.0.1")']),
  );
  const after = await settledAvailable();
  for (const child of children) child.kill();
  return (before - after) / PLAIN;
}
