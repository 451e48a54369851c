/** Each limit of offshoot.json, in real sandboxes: the error in the function, the answer to its caller, the record. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseEnv } from '../../../worker/process/env.ts';
import { pendingSignalsEach, pendingSignalsHere } from '../../../worker/cgroup/user-limits.ts';
import { Platform } from '../../support/platform/platform.ts';

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start();
  await platform.deploy('faulty', {
    name: 'narrow',
    // Large enough that each other limit is met before that of memory.
    memory: 512,
    timeout: 20,
    cpuTime: 0.4,
    pids: 24,
    tmpSize: 3,
    tmpFiles: 100,
    openFiles: 80,
    responseSize: 1,
    logSize: 2,
  });
  await platform.deploy('faulty', { name: 'wide', timeout: 20, pids: 80, tmpSize: 8, openFiles: 2_000 });
  await platform.deploy('faulty', { name: 'full', timeout: 25, memory: 128 });
  await platform.deploy('faulty', { name: 'threaded', timeout: 20, memory: 512, pids: 24 });
}, 60_000);
afterAll(() => platform.stop());

const outcomeOf = (response: Response): string | null => response.headers.get('x-offshoot-outcome');

test('a sandbox has the memory that the manifest sets [LM1]', async () => {
  await platform.deploy('faulty', { name: 'small', timeout: 20, memory: 64 });
  const small = await platform.call('small/hold?mb=200');
  expect(outcomeOf(small)).toBe('out_of_memory');
  const { error } = (await small.json()) as { error: { next: string } };
  expect(error.next).toContain('"memory"');
  expect(await (await platform.call('narrow/hold?mb=200')).json()).toEqual({ bytes: 200 * 1024 * 1024 });
});

test.each(['fill-heap', 'fill-thread'])(
  '%s, as K7 B43: the end by a limit of V8 is out_of_memory and names memory [LM15]',
  async (path) => {
    const before = await platform.record(await platform.call('full/ok'));
    const response = await platform.call(`full/${path}`);
    expect(outcomeOf(response)).toBe('out_of_memory');
    const { error } = (await response.json()) as { error: { next: string } };
    expect(error.next).toContain('"memory"');
    // The heap is full, so no other call may meet it.
    const after = await platform.record(await platform.call('full/ok'));
    expect(after.report?.sandbox).not.toBe(before.report?.sandbox);
  },
);

test('a sandbox has the processors that the manifest sets: 300 ms of work at a fifth of one take over a second', async () => {
  await platform.deploy('faulty', { name: 'slow', cpu: 0.2, timeout: 20 });
  // Loading may have used up the quota of a period; only a run counts that has nothing else to do.
  const record = await platform.record(await platform.call('slow/spin?ms=300'));
  expect(record.outcome).toBe('ok');
  expect(record.report?.usage?.cpu).toBeGreaterThanOrEqual(300);
  expect(record.report?.timings.run).toBeGreaterThan(1_000);
});

describe('processor time', () => {
  test('a run that uses up its processor time is killed and ends as cpu_limit, long before its timeout [LM2]', async () => {
    const response = await platform.call('narrow/busy');
    expect(outcomeOf(response)).toBe('cpu_limit');
    expect(response.status).toBe(504);
    const { error } = (await response.json()) as { error: { next: string } };
    expect(error.next).toContain('"cpuTime"');
    const { report } = await platform.record(response);
    expect(report?.usage?.cpu).toBeGreaterThanOrEqual(400);
    expect(report?.usage?.cpu).toBeLessThan(2_000);
  });

  test('a run that waits for longer than its processor time uses none of it', async () => {
    const response = await platform.call('narrow/sleep?ms=900');
    expect(outcomeOf(response)).toBe('ok');
  });

  test('processor time is counted for each run, not for the life of the sandbox', async () => {
    const sandboxes = new Set<string | undefined>();
    for (let run = 0; run < 4; run++) {
      const response = await platform.call('narrow/spin?ms=150');
      expect(outcomeOf(response)).toBe('ok');
      sandboxes.add((await platform.record(response)).report?.sandbox);
    }
    expect(sandboxes.size).toBe(1);
  });
});

describe('processes and threads', () => {
  test('a function that fails because no more processes are allowed gets an error that names the limit [LM3]', async () => {
    const response = await platform.call('narrow/spawn');
    expect(outcomeOf(response)).toBe('pids_limit');
    expect(response.status).toBe(502);
    const { error } = (await response.json()) as { error: { next: string } };
    expect(error.next).toContain('"pids"');
    const { report } = await platform.record(response);
    expect(report?.pidsRefused).toBeGreaterThan(0);
    expect(report?.error?.message).toMatch(/EAGAIN/);
    // The next run has a new sandbox, without processes of the last run.
    const next = await platform.record(await platform.call('full/ok'));
    expect(next.outcome).toBe('ok');
    expect(next.report?.sandbox).not.toBe(report?.sandbox);
    expect(next.report?.pidsRefused).toBeUndefined();
  });

  test('threads count as processes', async () => {
    const response = await platform.call('threaded/threads');
    expect(outcomeOf(response)).toBe('pids_limit');
  });

  test('a function that copes with refused processes succeeds, and its record counts them [LM3]', async () => {
    const response = await platform.call('narrow/spawn?caught=1');
    expect(outcomeOf(response)).toBe('ok');
    expect(((await response.json()) as { spawned: number }).spawned).toBeLessThan(24);
    const record = await platform.record(response);
    expect(record.report?.pidsRefused).toBeGreaterThan(0);
  });

  test('each function has its own limit of processes', async () => {
    const response = await platform.call('wide/spawn?caught=1');
    const { spawned } = (await response.json()) as { spawned: number };
    expect(spawned).toBeGreaterThan(40);
    expect(spawned).toBeLessThan(80);
  });
});

test('a child process that runs out of memory ends its sandbox, and later failures are not blamed on memory', async () => {
  const first = await platform.record(await platform.call('threaded/child-memory'));
  expect(first.outcome).toBe('out_of_memory');
  const second = await platform.record(await platform.call('threaded/exit?code=3'));
  expect(second.outcome).toBe('exited');
  expect(second.report?.exitCause).toBe('exit code 3');
  expect(second.report?.sandbox).not.toBe(first.report?.sandbox);
});

describe('files', () => {
  interface Filled {
    readonly bytes: number;
    readonly stoppedBy: string;
    readonly files: number;
    readonly filesStoppedBy: string;
  }

  test('/tmp takes as many bytes and files as the manifest says, also in a prepared sandbox [LM1]', async () => {
    const filled = (await (await platform.call('narrow/fill-tmp')).json()) as Filled;
    expect(filled.stoppedBy).toBe('ENOSPC');
    expect(filled.bytes).toBeLessThanOrEqual(3 * 1024 * 1024);
    expect(filled.bytes).toBeGreaterThan(2.5 * 1024 * 1024);
    expect(filled.filesStoppedBy).toBe('ENOSPC');
    expect(filled.files).toBeLessThanOrEqual(100);
    expect(filled.files).toBeGreaterThan(90);
    const wide = (await (await platform.call('wide/fill-tmp')).json()) as Filled;
    expect(wide.bytes).toBeGreaterThan(7.5 * 1024 * 1024);
    expect(wide.files).toBeGreaterThan(1_000);
  });

  test('open files are limited for each process', async () => {
    const narrow = (await (await platform.call('narrow/open-files')).json()) as {
      count: number;
      stoppedBy: string;
    };
    expect(narrow.stoppedBy).toBe('EMFILE');
    expect(narrow.count).toBeLessThan(80);
    const wide = (await (await platform.call('wide/open-files')).json()) as { count: number };
    expect(wide.count).toBeGreaterThan(1_500);
  });
});

test('pending signals of all sandboxes together stay below those of the worker', async () => {
  const limits = await (await platform.call('narrow/own-limits')).text();
  const each = Number(/^Max pending signals\s+(\d+)/m.exec(limits)?.[1]);
  const { OFFSHOOT_MAX_SANDBOXES: sandboxes } = parseEnv({ ...process.env, OFFSHOOT_STATE: '/nowhere' });
  expect(each).toBe(pendingSignalsEach(pendingSignalsHere(), sandboxes));
});

describe('output', () => {
  test('a response over its size limit is broken off, and the run is ended [LM5]', async () => {
    const response = await platform.call('narrow/large-response?bytes=9000000');
    await expect(response.arrayBuffer()).rejects.toThrow();
    const record = await platform.record(response);
    expect(record.outcome).toBe('response_too_large');
    expect(record.responseBytes).toBeLessThanOrEqual(1024 * 1024);
    const whole = await platform.call('wide/large-response?bytes=9000000');
    expect((await whole.arrayBuffer()).byteLength).toBe(9_000_000);
  });

  test('logs over their size limit are cut, and the record says by how much', async () => {
    const record = await platform.record(await platform.call('narrow/print-some?lines=1000'));
    expect(record.outcome).toBe('ok');
    expect(record.report?.logBytes).toBeLessThanOrEqual(2 * 1024);
    expect(record.report?.logBytesDropped).toBeGreaterThan(0);
    expect(record.logs.at(-1)?.text).toContain('"logSize"');
  });
});

test('offshoot describe shows the limits of a function', async () => {
  const { stdout } = await platform.cli('describe', 'narrow');
  for (const text of ['0.4 s in a run', '24 processes', '80 open files', '3 MB, 100 files', '1 MB in a resp'])
    expect(stdout).toContain(text);
});
