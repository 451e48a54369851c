/**
 * Limits of one function, on cgroup v2 with a kernel that serves nothing else. The names are those of the resource
 * scenarios that the attack suite runs on its host.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { detectCgroups } from '../../worker/cgroup/detect.ts';
import type { Cgroup } from '../../worker/cgroup/driver.ts';
import { sandboxCgroups } from '../support/sandbox/cgroup-paths.ts';
import { SandboxBench } from '../support/sandbox/sandbox-bench.ts';
import { SLOWNESS } from '../support/faults/slowness.ts';
import { HOSTILE } from './hostile-function.ts';
import { highest, LimitedSandbox, until } from './limited-sandbox.ts';

const MB = 1024 * 1024;
/** The limits of a sandbox on the bench. */
const MEMORY = 128 * MB;
const PIDS = 64;
const SCRATCH = 64 * MB;
const SCRATCH_INODES = 16_384;
const OPEN_FILES = 1_024;
/** Upper bound on the time until a killed sandbox is gone: 2 s on a real machine. */
const GONE_MS = 2_000 * SLOWNESS;

let bench: SandboxBench;
let code: string;
let hostile: LimitedSandbox;
/** Another sandbox of the same zygote, which must not be affected. */
let honest: LimitedSandbox;

beforeAll(async () => {
  bench = await SandboxBench.open();
  code = await bench.addCode(HOSTILE);
  honest = new LimitedSandbox(await bench.start(code));
});
afterAll(async () => {
  await honest.end();
  await bench.close();
});
beforeEach(async () => {
  hostile = new LimitedSandbox(await bench.start(code));
});
/** Checks, whatever the sandbox did: its neighbour answers and lost no process, and nothing of it is left. */
afterEach(async () => {
  expect(await honest.ask('/ok')).toBe('fine');
  expect(honest.figure('memory.events', 'oom_kill')).toBe(0);
  const started = performance.now();
  await hostile.end();
  expect(performance.now() - started).toBeLessThan(GONE_MS);
  expect(hostile.exists).toBe(false);
});

test('this is cgroup v2, and the worker an ordinary user [VM4]', () => {
  expect(detectCgroups().version).toBe(2);
  expect(process.getuid?.()).not.toBe(0);
  expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toMatch(/ - cgroup /);
});

test('D1 fork-bomb: a sandbox never has more processes than pids.max', async () => {
  await hostile.ask('/fork-bomb');
  await until(() => hostile.figure('pids.events', 'max') > 0);
  expect(await highest(() => hostile.number('pids.current'), 2_000)).toBeLessThanOrEqual(PIDS);
});

test('D1 control: with a higher pids.max there are more processes', async () => {
  hostile.limit({ pids: 3 * PIDS });
  await hostile.ask('/fork-bomb');
  await until(() => hostile.number('pids.current') > PIDS);
});

test('D2 thread-bomb: threads count as processes', async () => {
  hostile.limit({ pids: 16 });
  hostile.provoke('/thread-bomb');
  await until(() => hostile.figure('pids.events', 'max') > 0);
  expect(await highest(() => hostile.number('pids.current'), 1_000)).toBeLessThanOrEqual(16);
});

describe.each([
  ['D3 mem-bomb-js: buffers', '/mem-bomb-buffers'],
  ['D4 mem-bomb-native: a child that allocates', '/mem-bomb-child'],
])('%s', (_, path) => {
  test('memory over the limit ends the whole sandbox, and no more than the limit is used', async () => {
    hostile.provoke(path);
    const { signal } = await hostile.ended;
    expect(signal).toBe('SIGKILL');
    expect(hostile.figure('memory.events', 'oom_kill')).toBeGreaterThan(0);
    // memory.oom.group: the kernel ends all processes, not only the one that asked for one page too many.
    expect(hostile.figure('memory.events', 'oom_group_kill')).toBeGreaterThan(0);
    expect(hostile.processes).toBe(0);
    expect(hostile.number('memory.peak')).toBeLessThanOrEqual(MEMORY);
  });
});

test('D3 mem-bomb-js: arrays end the sandbox, and no more than its limit is used [VM2]', async () => {
  hostile.provoke('/mem-bomb-js');
  const { signal } = await hostile.ended;
  expect(signal).toMatch(/^SIG/);
  expect(hostile.number('memory.peak')).toBeLessThanOrEqual(MEMORY);
});

test('D3 control: with a higher memory.max the sandbox goes on', async () => {
  hostile.limit({ memoryMb: 384 });
  hostile.provoke('/mem-bomb-buffers');
  await until(() => hostile.number('memory.current') > 2 * MEMORY);
  expect(hostile.figure('memory.events', 'oom_kill')).toBe(0);
});

test('D4 mem-bomb-native: files in /tmp count as memory of the sandbox', async () => {
  const before = hostile.number('memory.current');
  await hostile.ask('/fill-tmp');
  expect(hostile.number('memory.current') - before).toBeGreaterThan(0.9 * SCRATCH);
});

test('D4 mem-bomb-native: buffers of sockets take no memory of the host beyond the limit', async () => {
  const before = availableBytes();
  hostile.provoke('/fill-sockets');
  let lowest = before;
  // A sandbox that ran out of memory is still there to be inspected.
  const sockets = await highest(() => {
    lowest = Math.min(lowest, availableBytes());
    return hostile.figure('memory.stat', 'sock');
  }, 8_000);
  expect(sockets).toBeGreaterThan(MEMORY / 16);
  expect(before - lowest).toBeLessThan(2 * MEMORY);
});

test('D4 /tmp holds the bytes of its limit and no more', async () => {
  const { count, code: error } = await hostile.ask<{ count: number; code: string }>('/fill-tmp');
  expect(error).toBe('ENOSPC');
  expect(count).toBeLessThanOrEqual(SCRATCH / MB);
  expect(count).toBeGreaterThan(0.9 * (SCRATCH / MB));
});

test('D4 /tmp holds the files of its limit and no more', async () => {
  const { count, code: error } = await hostile.ask<{ count: number; code: string }>('/fill-inodes');
  expect(error).toBe('ENOSPC');
  expect(count).toBeLessThanOrEqual(SCRATCH_INODES);
  expect(count).toBeGreaterThan(0.9 * SCRATCH_INODES);
});

/** Share of one processor that the hostile sandbox uses over some seconds. */
async function share(): Promise<number> {
  await hostile.ask('/spin');
  await until(() => hostile.processes > 3);
  const [usage, started] = [hostile.figure('cpu.stat', 'usage_usec'), performance.now()];
  await sleep(4_000);
  return (hostile.figure('cpu.stat', 'usage_usec') - usage) / 1_000 / (performance.now() - started);
}

test('D5 cpu-spin: cpu.max holds three loops at a quarter of a processor', async () => {
  hostile.limit({ cpu: 0.25 });
  expect(await share()).toBeLessThan(0.25 * 1.25);
  expect(hostile.figure('cpu.stat', 'nr_throttled')).toBeGreaterThan(0);
});

test('D5 control: without cpu.max the loops take more', async () => {
  hostile.limit({ cpu: 2 });
  expect(await share()).toBeGreaterThan(0.25 * 1.25);
});

test('D6 block-forever: a stopped child, a child that ignores signals and a main thread that waits for ever are ended', async () => {
  hostile.provoke('/block');
  await until(() => hostile.processes > 2);
  const started = performance.now();
  await hostile.end();
  expect(performance.now() - started).toBeLessThan(GONE_MS);
});

test('D9 fd-exhaust: open files end at the limit, and no earlier', async () => {
  const { count, code: error } = await hostile.ask<{ count: number; code: string }>('/open-files');
  expect(error).toBe('EMFILE');
  expect(count).toBeLessThan(OPEN_FILES);
  expect(count).toBeGreaterThan(0.9 * OPEN_FILES);
});

test('D11 limits-before-code: all limits are set to the requested values [VM1]', () => {
  expect(hostile.read('memory.max')).toBe(String(MEMORY));
  expect(hostile.read('memory.oom.group')).toBe('1');
  expect(hostile.read('memory.swap.max')).toBe('0');
  expect(hostile.read('pids.max')).toBe(String(PIDS));
  expect(hostile.read('cpu.max')).toBe('100000 100000');
  expect(hostile.processes).toBe(1);
});

test('D11 limits-before-code: the first line of a module is already limited', async () => {
  const greedy = await bench.addCode(
    `const kept = []; for (;;) kept.push(Buffer.alloc(${8 * MB}, 1)); export default {};`,
  );
  let left: { oomKills: number; processes: number[] } | undefined;
  const onFailure = (cgroup: Cgroup): void => {
    left = { oomKills: cgroup.oomKills(), processes: cgroup.pids() };
  };
  await expect(bench.start(greedy, false, { onFailure })).rejects.toThrow('signal SIGKILL');
  expect(left?.oomKills).toBeGreaterThan(0);
  expect(left?.processes).toEqual([]);
});

describe('cgroup.kill', () => {
  /** A kill request through the zygote would wait for a zygote that does not answer. */
  let zygote: number;
  beforeEach(() => {
    const [first] = hostile.pids;
    zygote = Number(/^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${first}/status`, 'utf8'))?.[1]);
    process.kill(zygote, 'SIGSTOP');
  });
  afterEach(() => {
    process.kill(zygote, 'SIGCONT');
  });

  test.each([
    ['a fork bomb', '/fork-bomb', 32],
    ['daemons in sessions of their own that ignore signals', '/daemons', 12],
  ])('cgroup.kill ends %s whole, also when its zygote does not answer [VM3]', async (_, path, processes) => {
    await hostile.ask(path);
    await until(() => hostile.processes >= processes);
    hostile.kill();
    await until(() => hostile.figure('cgroup.events', 'populated') === 0);
    process.kill(zygote, 'SIGCONT');
    expect((await hostile.ended).signal).toBe('SIGKILL');
  });

  test('control: a kill request to a zygote that does not answer ends nothing', async () => {
    await hostile.ask('/daemons');
    bench.zygote.kill(hostile.slot);
    await sleep(2_000);
    expect(hostile.processes).toBeGreaterThan(0);
  });
});

test('D13 churn: thirty sandboxes leave no cgroup behind', async () => {
  const before = readdirSync(sandboxCgroups()).length;
  for (let each = 0; each < 30; each++) await (await bench.start(code, each % 2 === 0)).end();
  expect(readdirSync(sandboxCgroups())).toHaveLength(before);
});

/** Memory that the whole machine could still allocate. */
function availableBytes(): number {
  const kilobytes = /^MemAvailable:\s+(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1];
  return Number(kilobytes) * 1024;
}
