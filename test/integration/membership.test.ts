/** Which workers there are: how one joins, leaves, dies and hangs, and what becomes of calls meanwhile. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { WorkerStatus } from '#contract/api.ts';
import { Platform } from '../support/platform.ts';

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start({ OFFSHOOT_CAPACITY: '12', OFFSHOOT_PREPARED: '1' });
  await platform.deploy('retries');
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

/** Starts a second worker; resolves to the process and the name of the first, which is this function's caller's to end. */
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

test('a worker is listed with what it may take, what it runs, and its sandboxes', async () => {
  await expect
    .poll(async () => (await workers())[0], { timeout: 1_000 })
    .toMatchObject({
      capacity: 12,
      running: 0,
    });
  const running = [call(1_500), call(1_500), call(1_500)];
  await expect.poll(async () => (await workers())[0]?.running, { timeout: 1_400 }).toBe(3);
  await Promise.all(running);
  await expect.poll(async () => (await workers())[0]?.running, { timeout: 1_000 }).toBe(0);
});

test('one that is asked to stop finishes what it has, takes nothing more, and is gone at once', async () => {
  await workerOf(await call(0));
  const slow = call(4_000);
  await expect.poll(async () => (await workers())[0]?.running, { timeout: 2_000 }).toBe(1);
  const first = await join();
  process.kill(first.pid, 'SIGTERM');
  await sleep(200);
  const others = await Promise.all(Array.from({ length: 20 }, () => call(20)));
  for (const answer of others) expect(await workerOf(answer)).not.toBe(first.id);
  expect(lives(first.pid)).toBe(true);
  expect(await workerOf(await slow)).toBe(first.id);
  await expect.poll(() => lives(first.pid), { timeout: 5_000 }).toBe(false);
  // It has said so itself: nobody has to wait for its silence.
  expect((await workers()).map(({ id }) => id)).not.toContain(first.id);
}, 30_000);

test('one that is ended without a word is gone in under two seconds, and calls go on', async () => {
  const first = await join();
  process.kill(first.pid, 'SIGKILL');
  const at = performance.now();
  await expect.poll(async () => (await workers()).length, { timeout: 4_000, interval: 20 }).toBe(1);
  expect(performance.now() - at).toBeLessThan(2_000);
  for (let one = 0; one < 5; one++) expect(await workerOf(await call(0))).not.toBe(first.id);
}, 30_000);

test('one that hangs loses its calls in under two seconds, and what comes then goes to others', async () => {
  const slow = call(4_500);
  await expect.poll(async () => (await workers())[0]?.running, { timeout: 2_000 }).toBe(1);
  const first = await join();
  process.kill(first.pid, 'SIGSTOP');
  const at = performance.now();
  const told = await slow;
  expect(told.headers.get('x-offshoot-outcome')).toBe('worker_lost');
  expect(performance.now() - at).toBeLessThan(2_000);
  expect((await workers()).map(({ id }) => id)).not.toContain(first.id);
  for (let one = 0; one < 5; one++) {
    const sent = performance.now();
    const answer = await call(0);
    // What Redis hands to a connection that nobody reads is lost with it, and its caller is told.
    if (answer.status !== 200) expect(answer.headers.get('x-offshoot-outcome')).toBe('worker_lost');
    expect(performance.now() - sent).toBeLessThan(2_000);
  }
  process.kill(first.pid, 'SIGKILL');
}, 30_000);
