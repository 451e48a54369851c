/**
 * A whole platform on cgroup v2: each limit has its outcome, the caller is answered when the processes are gone, and
 * the next call is served. The time it takes is tested on real machines, by test/integration/platform/faults.test.ts.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { figureOf } from '../support/platform/metrics.ts';
import { sandboxCgroups } from '../support/sandbox/cgroup-paths.ts';
import { freePort, Platform } from '../support/platform/platform.ts';

/** Timeout in seconds, long enough for a function that answers. */
const TIMEOUT_S = 8;
/** Timeout in seconds, long enough to fill a heap, with all the garbage collection before the end. */
const LONG_TIMEOUT_S = 240;

/** Answers with a byte a second, for ever. */
const DRIP = `export default { fetch: () => new Response(new ReadableStream({ async pull(controller) {
  await new Promise((resolve) => setTimeout(resolve, 1000));
  controller.enqueue(new Uint8Array(1));
} })) };`;

let platform: Platform;
let metricsPort = 0;
beforeAll(async () => {
  metricsPort = await freePort();
  platform = await Platform.start({ OFFSHOOT_PREPARED: '1', OFFSHOOT_METRICS_PORT: String(metricsPort) });
  const patience = { initTimeout: 60, memory: 128 };
  await platform.deploy('faulty', { ...patience, timeout: TIMEOUT_S });
  await platform.deploy('faulty', { ...patience, timeout: LONG_TIMEOUT_S, name: 'greedy', pids: 24 });
  await platform.deploy('faulty', { ...patience, timeout: LONG_TIMEOUT_S, name: 'clocked', cpuTime: 3 });
  await platform.deploy('hello-fetch', { name: 'honest', timeout: 60, initTimeout: 60 });
});
afterAll(async () => {
  const worker = platform.pid('worker');
  await platform.stop();
  // A stopped worker leaves no cgroup behind.
  expect(readdirSync(sandboxCgroups()).filter((name) => name.startsWith(`${worker}-`))).toEqual([]);
});
afterEach(async () => {
  expect((await platform.call('honest')).status).toBe(200);
});

test.each([
  ['D3 mem-bomb-js: buffers without end', 'greedy/allocate', 'out_of_memory', 502],
  ['D3 mem-bomb-js: a heap without end', 'greedy/heap', 'out_of_memory', 502],
  ['D4 mem-bomb-native: a child process without end', 'greedy/child-memory', 'out_of_memory', 502],
  ['D5 cpu-spin: a loop that uses its processor time up', 'clocked/busy', 'cpu_limit', 504],
  ['D5 cpu-spin: a loop without end', 'faulty/busy', 'timeout', 504],
  ['D6 block-forever: no answer', 'faulty/never', 'timeout', 504],
  ['D7 output-flood: output without end', 'faulty/print', 'timeout', 504],
])('%s', async (_, path, outcome, status) => {
  const response = await platform.call(path);
  expect(response.headers.get('x-offshoot-outcome')).toBe(outcome);
  expect(response.status).toBe(status);
  const { report } = await platform.record(response);
  expect(processesOf(report?.sandbox)).toBe(0);
  // Read from cpu.stat and memory.peak.
  expect(report?.usage?.cpu).toBeGreaterThan(0);
  expect(report?.usage?.memoryPeak).toBeGreaterThan(0);
});

test('D1 fork-bomb: a function that fails because it gets no more processes ends as pids_limit', async () => {
  const response = await platform.call('greedy/spawn');
  expect(response.headers.get('x-offshoot-outcome')).toBe('pids_limit');
  const { report } = await platform.record(response);
  // Read from pids.events.
  expect(report?.pidsRefused).toBeGreaterThan(0);
});

test('D7 output-flood: the worker keeps its size, and says how much it cut', async () => {
  const before = memoryOf(platform.pid('worker'));
  const { report } = await platform.record(await platform.call('faulty/print'));
  expect(report?.logBytesDropped).toBeGreaterThan(0);
  expect(report?.logBytes).toBeLessThanOrEqual(256 * 1024);
  expect(memoryOf(platform.pid('worker')) - before).toBeLessThan(64);
});

test('D8 slow-output: a byte a second for ever ends at the time limit', async () => {
  await deploySource('drip', DRIP);
  const response = await platform.call('drip');
  expect(response.status).toBe(200);
  await expect(response.text()).rejects.toThrow();
  const { outcome, report } = await platform.record(response);
  expect(outcome).toBe('timeout');
  expect(processesOf(report?.sandbox)).toBe(0);
});

test('D10 log-injection: control characters of a function stay data', async () => {
  const response = await platform.call('faulty/print-control');
  expect(response.status).toBe(200);
  const { logs } = await platform.record(response);
  expect(logs.map(({ text }) => text).join()).toContain('red');
  const { stdout } = await platform.cli('trace', response.headers.get('x-offshoot-invocation') ?? '');
  expect(stdout).toContain('red');
  for (const raw of ['\u0007', '\u202e', '\u001b[31m']) expect(stdout).not.toContain(raw);
});

test('the worker’s metrics show the memory of all sandboxes, and its limit [OB13]', async () => {
  const text = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
  // From memory.current and memory.max.
  expect(figureOf(text, 'offshoot_sandboxes_memory_bytes')).toBeGreaterThan(1_000_000);
  expect(figureOf(text, 'offshoot_sandboxes_memory_limit_bytes')).toBeGreaterThan(
    figureOf(text, 'offshoot_sandboxes_memory_bytes'),
  );
});

/** Deploys a module that is not in functions/. */
async function deploySource(name: string, source: string): Promise<void> {
  const folder = join(platform.state, name);
  await mkdir(folder);
  await writeFile(join(folder, 'index.js'), source);
  const manifest = { name, entry: 'index.js', access: 'public', timeout: TIMEOUT_S, initTimeout: 60 };
  await writeFile(join(folder, 'offshoot.json'), JSON.stringify(manifest));
  const { code, stderr } = await platform.cli('deploy', folder, '--json');
  if (code !== 0) throw new Error(stderr);
}

/** Processes in the cgroup of a sandbox; 0 when it is gone. */
function processesOf(sandbox: string | undefined): number {
  expect(sandbox).toBeTruthy();
  try {
    const file = `${sandboxCgroups()}/${platform.pid('worker')}-${sandbox}/cgroup.procs`;
    return readFileSync(file, 'utf8').split('\n').filter(Boolean).length;
  } catch {
    return 0;
  }
}

/** MB that a process has in memory. */
function memoryOf(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}
