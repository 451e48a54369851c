/** Many sandboxes, one after another and at once: all of them work, all differ, and nothing of them is left. */
import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sandboxCgroups, sandboxMemoryBytes } from '../support/sandbox/cgroup-paths.ts';
import { distinctValues, RANDOM_SOURCES } from '../support/sandbox/random-sources.ts';
import { type BenchSandbox, SandboxBench } from '../support/sandbox/sandbox-bench.ts';

/** A function that does nothing. */
const CODE = `export default { fetch: () => new Response('ok') };`;
const ROUNDS = 1_000;
const AT_ONCE = 200;

/** Tolerance for growth: caches of the kernel and heaps that have grown. A leak of 50 KB a sandbox is over it. */
const MEMORY_SLACK_MB = 48;

/** MB that the sandboxes' cgroup is charged with, kernel memory included, and that this test and its children hold. */
function memoryMb(): { cgroup: number; processes: number } {
  const kilobytes = ownProcesses(process.pid).map((pid) => {
    try {
      return Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0);
    } catch {
      return 0; // ended since, or of another user: those are sandboxes, which the cgroup counts
    }
  });
  return {
    cgroup: sandboxMemoryBytes() / 1024 / 1024,
    processes: kilobytes.reduce((sum, each) => sum + each, 0) / 1024,
  };
}

/** Asserts that the host holds no more than `before`, so nothing grows with the number of sandboxes that were made. */
function expectMemoryBackAt(before: ReturnType<typeof memoryMb>): void {
  const now = memoryMb();
  expect(now.cgroup).toBeLessThan(before.cgroup + MEMORY_SLACK_MB);
  expect(now.processes).toBeLessThan(before.processes + MEMORY_SLACK_MB);
}

/** Counts of this test's sandboxes on the host now. */
function footprint(): { processes: number; mounts: number; descriptors: number; cgroups: number } {
  return {
    processes: ownProcesses(process.pid).length,
    mounts: readFileSync('/proc/self/mounts', 'utf8').split('\n').length,
    descriptors: readdirSync('/proc/self/fd').length,
    cgroups: readdirSync(sandboxCgroups()).filter((name) => name.startsWith(`test-${process.pid}-`)).length,
  };
}

/** Processes that descend from `ancestor`, in whatever namespaces they are. */
function ownProcesses(ancestor: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      parents.set(
        Number(name),
        Number(/^PPid:\t(\d+)/m.exec(readFileSync(`/proc/${name}/status`, 'utf8'))?.[1]),
      );
    } catch {
      // The process has ended since.
    }
  }
  const descends = (pid: number | undefined): boolean =>
    pid !== undefined && pid !== 0 && (pid === ancestor || descends(parents.get(pid)));
  return [...parents.keys()].filter(descends);
}

describe('sandboxes in number', () => {
  let bench: SandboxBench;
  let code: string;
  beforeAll(async () => {
    bench = await SandboxBench.open();
    code = await bench.addCode(CODE);
    await (await bench.start(code)).end();
  });
  afterAll(() => bench.close());

  test(
    `${ROUNDS} sandboxes one after another: none fails, every random source differs, nothing is left [IS7, LI1]`,
    { timeout: 120_000 },
    async () => {
      const before = footprint();
      const memoryBefore = memoryMb();
      const distinct = await distinctValues(bench, ROUNDS);
      expect(distinct.size).toBe(RANDOM_SOURCES);
      for (const [name, values] of distinct) expect(values, name).toBe(ROUNDS);
      expect(footprint()).toEqual(before);
      expectMemoryBackAt(memoryBefore);
    },
  );

  test(
    `${AT_ONCE} sandboxes alive at once: none fails, each has its own uid, nothing is left [IS3, LI1]`,
    { timeout: 60_000 },
    async () => {
      const before = footprint();
      const memoryBefore = memoryMb();
      const all: BenchSandbox[] = [];
      for (let number = 0; number < AT_ONCE; number++) all.push(await bench.start(code));
      // Control: each live sandbox appears in the counts.
      expect(memoryMb().cgroup).toBeGreaterThan(memoryBefore.cgroup + AT_ONCE);
      const answers = await Promise.all(all.map((one) => one.call()));
      expect(answers.every(({ status }) => status === 200)).toBe(true);
      const uids = all.map(({ cgroup }) => {
        const [pid] = cgroup.pids();
        return /^Uid:\t(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
      });
      expect(new Set(uids).size).toBe(AT_ONCE);
      await Promise.all(all.map((one) => one.end()));
      expect(footprint()).toEqual(before);
      expectMemoryBackAt(memoryBefore);
    },
  );
});
