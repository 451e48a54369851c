/**
 * A whole platform on cgroup v2: each limit has its outcome, the caller is answered when the processes are gone, and the
 * next call is served. How soon is asked on real machines, by test/integration/platform-faults.test.ts.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { sandboxCgroups } from '../support/cgroup-paths.ts';
import { Platform } from '../support/platform.ts';

/** Seconds; time enough for the load of a function, but not for one that spins. */
const TIMEOUT_S = 8;

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start({ OFFSHOOT_PREPARED: '1' });
  await platform.deploy('faulty', { timeout: TIMEOUT_S, initTimeout: 60, memory: 128 });
  await platform.deploy('hello-fetch', { name: 'honest', timeout: 60, initTimeout: 60 });
});
afterAll(async () => {
  const worker = platform.pid('worker');
  await platform.stop();
  // A worker that stops leaves no cgroup behind.
  expect(readdirSync(sandboxCgroups()).filter((name) => name.startsWith(`${worker}-`))).toEqual([]);
});
afterEach(async () => {
  expect((await platform.call('honest')).status).toBe(200);
});

test.each([
  ['D3 mem-bomb-js: buffers without end', 'allocate', 'out_of_memory', 502],
  ['D3 mem-bomb-js: a heap without end', 'heap', 'out_of_memory', 502],
  ['D5 cpu-spin: a loop without end', 'busy', 'timeout', 504],
  ['D6 block-forever: no answer', 'never', 'timeout', 504],
  ['D7 output-flood: output without end', 'print', 'timeout', 504],
])('%s', async (_, path, outcome, status) => {
  const response = await platform.call(`faulty/${path}`);
  expect(response.headers.get('x-offshoot-outcome')).toBe(outcome);
  expect(response.status).toBe(status);
  const { report } = await platform.record(response);
  expect(processesOf(report?.sandbox)).toBe(0);
  // Read from cpu.stat and memory.peak.
  expect(report?.usage?.cpu).toBeGreaterThan(0);
  expect(report?.usage?.memoryPeak).toBeGreaterThan(0);
  expect(report?.logBytes).toBeLessThanOrEqual(256 * 1024);
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

/** Processes in the cgroup of a sandbox; 0 when it is no more. */
function processesOf(sandbox: string | undefined): number {
  expect(sandbox).toBeTruthy();
  try {
    const file = `${sandboxCgroups()}/${platform.pid('worker')}-${sandbox}/cgroup.procs`;
    return readFileSync(file, 'utf8').split('\n').filter(Boolean).length;
  } catch {
    return 0;
  }
}
