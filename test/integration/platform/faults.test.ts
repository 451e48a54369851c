/**
 * Functions, processes and Redis that fail: each fault has its outcome, no other function is affected, and the platform
 * goes on.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { OUTCOMES } from '#contract/invocations/outcome.ts';
import { sandboxCgroups } from '../../support/sandbox/cgroup-paths.ts';
import { Platform } from '../../support/platform/platform.ts';
import { Stopwatch } from '../../support/platform/stopwatch.ts';

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start();
  await platform.deploy('faulty');
  await platform.deploy('hello-fetch', { name: 'honest' });
  await platform.deploy('faulty', { name: 'patient', timeout: 30 });
}, 60_000);
afterAll(() => platform.stop());

/** After each fault, another function is called, and so is the faulty one. */
afterEach(async () => {
  await platform.ready();
  expect((await platform.call('honest')).status).toBe(200);
  expect((await platform.call('faulty/ok')).status).toBe(200);
});

describe('a function that', () => {
  test.each([
    ['throws', 'throw', 'error', 500, /thrown on purpose/],
    ['throws what is not an error', 'throw-value', 'error', 500, /not an Error/],
    ['rejects', 'reject', 'error', 500, /rejected on purpose/],
    ['throws outside of any promise', 'late-throw', 'error', 500, /outside of any promise/],
    ['returns nothing', 'nothing', 'bad_response', 502, /returned nothing/],
    ['returns no response', 'no-response', 'bad_response', 502, /must return a Response/],
    ['exits its process', 'exit?code=3', 'exited', 502, undefined],
    ['aborts', 'abort', 'crashed', 502, undefined],
    ['sends itself a signal', 'signal?name=SIGTERM', 'crashed', 502, undefined],
    ['never answers', 'never', 'timeout', 504, undefined],
    ['spins for ever', 'busy', 'timeout', 504, undefined],
    // Their memory runs out before their time does, however slow the machine is.
    ['allocates buffers without end', 'allocate', 'out_of_memory', 502, undefined, 'patient'],
    ['fills its heap', 'heap', 'out_of_memory', 502, undefined, 'patient'],
    ['prints without end', 'print', 'timeout', 504, undefined],
  ] as const)(
    'a function that %s ends with the outcome and status of its fault',
    async (_, path, outcome, status, message, name: string = 'faulty') => {
      const response = await platform.call(`${name}/${path}`);
      expect(response.headers.get('x-offshoot-outcome')).toBe(outcome);
      expect(response.status).toBe(status);
      const text = await response.text();
      if (message) expect(text).toMatch(message);
      const record = await platform.record(response);
      expect(record.outcome).toBe(outcome);
      expect(record.report?.usage?.cpu ?? 0).toBeGreaterThanOrEqual(0);
      // An ended sandbox never serves again. One that is kept may have a younger sibling, which serves first.
      const next = await platform.record(await platform.call(`${name}/ok`));
      const ends = OUTCOMES[outcome].sandbox !== 'kept';
      if (ends) expect(next.report?.sandbox).not.toBe(record.report?.sandbox);
      if (outcome === 'exited') expect(record.report?.exitCause).toBe('exit code 3');
      if (outcome === 'crashed') expect(record.report?.exitCause).toMatch(/^signal SIG/);
    },
  );

  test('a function whose system call is refused sees the error, and its record names the call [IS12]', async () => {
    const response = await platform.call('faulty/refused');
    expect(await response.json()).toEqual({ code: 'EPERM' });
    const { report, logs } = await platform.record(response);
    expect(report?.refusedCalls).toEqual(['setuid']);
    expect(logs).toContainEqual(
      expect.objectContaining({ level: 'platform', text: 'seccomp: setuid was refused' }),
    );
    const honest = await platform.record(await platform.call('faulty/ok'));
    expect(honest.report?.refusedCalls).toBeUndefined();
  });

  test('a function that throws is reported with the lines of its source', async () => {
    const response = await platform.call('faulty/throw');
    const { report } = await platform.record(response);
    expect(report?.error?.name).toBe('TypeError');
    expect(report?.error?.stack).toMatch(/src\/index\.ts:\d+/);
    expect(report?.error?.stack).not.toContain('/opt/offshoot');
  });

  test('a function that prints without end has a bounded log that says how much was cut [CA4]', async () => {
    const record = await platform.record(await platform.call('faulty/print'));
    expect(record.report?.logBytes).toBeLessThanOrEqual(256 * 1024);
    expect(record.report?.logBytesDropped).toBeGreaterThan(0);
    expect(record.logs.at(-1)?.text).toMatch(/bytes of output were cut/);
  });

  test('a response that breaks off in the middle does not look complete', async () => {
    const response = await platform.call('faulty/broken-stream');
    await expect(response.text()).rejects.toThrow();
  });

  test('a function that ran out of time is gone before its caller gets the answer [LI3]', async () => {
    const before = processesBySandbox();
    const call = platform.call('faulty/busy');
    await sleep(500);
    const response = await call;
    const after = processesBySandbox();
    const { report } = await platform.record(response);
    expect(after.get(report?.sandbox ?? '') ?? 0).toBe(0);
    // Control: the idle sandbox of the other function appears in both lists.
    expect([...before.values()].filter((count) => count > 0).length).toBeGreaterThan(0);
    expect([...after.values()].filter((count) => count > 0).length).toBeGreaterThan(0);
  });
});

test('a caller that disconnects ends the run', async () => {
  const abort = new AbortController();
  const call = platform.call('patient/sleep?ms=25000', { signal: abort.signal });
  await expect.poll(running, { timeout: 10_000 }).toBe(1);
  abort.abort();
  await expect(call).rejects.toThrow();
  // The run would go on for 25 s.
  await expect.poll(running, { timeout: 10_000 }).toBe(0);
});

test('a zygote that dies is replaced in under a second, and its calls fail with an error [LI2]', async () => {
  await platform.call('faulty/ok');
  const slow = platform.call('patient/sleep?ms=25000');
  await expect.poll(running, { timeout: 10_000 }).toBe(1);
  for (const pid of launchers()) process.kill(pid, 'SIGKILL');
  const killed = Stopwatch.startWithChildren(platform.pid('worker'), platform.pid('gateway'));
  const response = await slow;
  expect(response.headers.get('x-offshoot-outcome')).toBe('platform_error');
  expect((await platform.call('honest')).status).toBe(200);
  expect(killed.stop()).toBeLessThan(1_000);
});

test('a worker that dies fails its calls within 2 s, and a new worker takes over [CA5, SH9]', async () => {
  const slow = platform.call('patient/sleep?ms=25000');
  await expect.poll(running, { timeout: 10_000 }).toBe(1);
  await platform.kill('worker');
  const killed = Stopwatch.start(platform.pid('gateway'));
  const response = await slow;
  expect(response.headers.get('x-offshoot-outcome')).toBe('worker_lost');
  expect(killed.stop()).toBeLessThan(2_000);
  platform.run('worker');
  await platform.ready();
});

test('while Redis is away, calls get 503 soon, and everything works when it is back [CA6]', async () => {
  await platform.redis.kill();
  const started = Stopwatch.start(platform.pid('gateway'));
  const response = await platform.call('honest');
  expect(response.status).toBe(503);
  expect(started.stop()).toBeLessThan(2_000);
  await platform.redis.resume();
  // The connections come back one by one, within half a second.
  await expect.poll(async () => (await platform.call('honest')).status, { timeout: 10_000 }).toBe(200);
});

test('a worker that is asked to stop finishes its running calls', async () => {
  const slow = platform.call('patient/sleep?ms=3000');
  // A call that the worker has not taken yet is not its own to finish.
  await expect.poll(running, { timeout: 2_500 }).toBe(1);
  await platform.kill('worker', 'SIGTERM');
  expect((await slow).status).toBe(200);
  expect(launchers()).toEqual([]);
  platform.run('worker');
  await platform.ready();
});

/** Runs of the worker, by its own report, which is some tenths of a second old. */
async function running(): Promise<number | undefined> {
  const { workers } = (await (await platform.api('/workers')).json()) as { workers: { running: number }[] };
  return workers[0]?.running;
}

/** Number of processes in the cgroup of each sandbox of this platform, by the sandbox's id. */
function processesBySandbox(): Map<string, number> {
  const root = sandboxCgroups();
  const prefix = `${platform.pid('worker')}-`;
  const counts = new Map<string, number>();
  for (const name of readdirSync(root).filter((entry) => entry.startsWith(prefix))) {
    try {
      const pids = readFileSync(`${root}/${name}/cgroup.procs`, 'utf8').split('\n').filter(Boolean);
      counts.set(name.slice(prefix.length), pids.length);
    } catch {
      // Removed since.
    }
  }
  return counts;
}

/** Launchers that this platform's worker has started. */
function launchers(): number[] {
  const worker = platform.pid('worker');
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const status = readFileSync(`/proc/${pid}/status`, 'utf8');
        return status.startsWith('Name:\tlauncher') && status.includes(`\nPPid:\t${worker}\n`);
      } catch {
        return false;
      }
    })
    .map(Number);
}
