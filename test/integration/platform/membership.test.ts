/** The list of workers: how a worker joins, leaves, dies and hangs, and the fate of calls meanwhile. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { WorkerStatus } from '#contract/api/api.ts';
import { Platform } from '../../support/platform/platform.ts';
import { Stopwatch } from '../../support/platform/stopwatch.ts';

/** Less than the time that a worker waits for its runs when it is asked to stop. */
const SLOW_MS = 8_000;

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start({ OFFSHOOT_CAPACITY: '12', OFFSHOOT_PREPARED: '1' });
  await platform.deploy('retries', { timeout: 60 });
}, 60_000);
afterAll(() => platform.stop());

async function workers(): Promise<WorkerStatus[]> {
  return ((await (await platform.api('/workers')).json()) as { workers: WorkerStatus[] }).workers;
}

function call(sleepMs: number): Promise<Response> {
  return platform.call('retries', { method: 'POST', body: JSON.stringify({ sleepMs }) });
}

async function workerOf(response: Response): Promise<string | undefined> {
  expect(response.status).toBe(200);
  return (await platform.record(response)).report?.worker;
}

/**
 * Starts a second worker; resolves to the process and the name of the first, which the caller of this function must
 * end.
 */
async function join(): Promise<{ pid: number; id: string }> {
  const [first] = await workers();
  const pid = platform.pid('worker');
  platform.run('worker');
  await expect.poll(async () => (await workers()).length, { timeout: 10_000 }).toBe(2);
  return { pid, id: first?.id ?? '' };
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test('a worker is listed with its capacity, its runs and its sandboxes [SH9]', async () => {
  await expect
    .poll(async () => (await workers())[0], { timeout: 10_000 })
    .toMatchObject({
      capacity: 12,
      running: 0,
    });
  const running = [call(4_000), call(4_000), call(4_000)];
  await expect.poll(async () => (await workers())[0]?.running, { timeout: 3_900 }).toBe(3);
  await Promise.all(running);
  await expect.poll(async () => (await workers())[0]?.running, { timeout: 10_000 }).toBe(0);
});

test('a worker that is asked to stop finishes its runs, takes nothing more, and leaves the list at once', async () => {
  await workerOf(await call(0));
  const first = await join();
  const slow: Promise<Response>[] = [];
  // Either worker may take a call; meanwhile a worker starts, which takes its time.
  for (let taken = 0; taken === 0;) {
    slow.push(call(SLOW_MS));
    await expect
      .poll(async () => (await workers()).reduce((sum, { running }) => sum + running, 0), { timeout: 5_000 })
      .toBe(slow.length);
    taken = (await workers()).find(({ id }) => id === first.id)?.running ?? 0;
  }
  process.kill(first.pid, 'SIGTERM');
  await sleep(200);
  const others = await Promise.all(Array.from({ length: 20 }, () => call(20)));
  for (const answer of others) expect(await workerOf(answer)).not.toBe(first.id);
  expect(lives(first.pid)).toBe(true);
  expect(await Promise.all((await Promise.all(slow)).map(workerOf))).toContain(first.id);
  await expect.poll(() => lives(first.pid), { timeout: 10_000 }).toBe(false);
  // The worker has left by itself, so no heartbeat has to expire.
  expect((await workers()).map(({ id }) => id)).not.toContain(first.id);
}, 60_000);

test('a worker that is killed leaves the list within 2 s, and calls go on [SH9]', async () => {
  const first = await join();
  process.kill(first.pid, 'SIGKILL');
  const ended = Stopwatch.start(platform.pid('gateway'), platform.pid('worker'));
  await expect.poll(async () => (await workers()).length, { timeout: 20_000, interval: 20 }).toBe(1);
  expect(ended.stop()).toBeLessThan(2_000);
  for (let one = 0; one < 5; one++) expect(await workerOf(await call(0))).not.toBe(first.id);
}, 30_000);

test('a worker that hangs loses its calls within 2 s, and later calls go to others', async () => {
  const slow = call(30_000);
  await expect.poll(async () => (await workers())[0]?.running, { timeout: 10_000 }).toBe(1);
  const first = await join();
  process.kill(first.pid, 'SIGSTOP');
  const stopped = Stopwatch.start(platform.pid('gateway'), platform.pid('worker'));
  const told = await slow;
  expect(told.headers.get('x-offshoot-outcome')).toBe('worker_lost');
  expect(stopped.stop()).toBeLessThan(2_000);
  expect((await workers()).map(({ id }) => id)).not.toContain(first.id);
  for (let one = 0; one < 5; one++) {
    const sent = Stopwatch.start(platform.pid('gateway'), platform.pid('worker'));
    const answer = await call(0);
    // A call that Redis hands to a connection without a reader is lost with it, and its caller gets worker_lost.
    if (answer.status !== 200) expect(answer.headers.get('x-offshoot-outcome')).toBe('worker_lost');
    expect(sent.stop()).toBeLessThan(2_000);
  }
  process.kill(first.pid, 'SIGKILL');
}, 30_000);
