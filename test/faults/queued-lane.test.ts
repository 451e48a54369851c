/**
 * Faults that the queued lane survives, on real processes: Q1 to Q15 of the list of scenarios; those of the network, Q5 and Q9,
 * are in proxy.test.ts.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Accepted, DeadLetters } from '#contract/api/api.ts';
import { parseRedisUrl } from '#storage/redis/redis.ts';
import { fillQueue, queueLength } from '../support/platform/backlog.ts';
import { sandboxCgroups } from '../support/sandbox/cgroup-paths.ts';
import { Platform } from '../support/platform/platform.ts';
import { Stopwatch } from '../support/platform/stopwatch.ts';
import { acknowledged, ended, enqueuer, look, type Enqueue } from './history.ts';

/** A lost worker's jobs restart after their lock expires and the queue is checked twice, about 16 s; then they run. */
const RECOVERY_MS = 45_000;

let platform: Platform;
let enqueue: Enqueue;
beforeEach(async () => {
  platform = await Platform.start({ OFFSHOOT_CAPACITY: '16', OFFSHOOT_PREPARED: '1' });
  await platform.deploy('retries');
  enqueue = enqueuer(platform, 'retries');
}, 60_000);
afterEach(() => platform.stop());

/** Kills the worker, starts another, and checks that no process of the first is left. */
async function replaceWorker(): Promise<void> {
  const pid = platform.pid('worker');
  await platform.kill('worker');
  const left = (): string[] =>
    readdirSync(sandboxCgroups())
      .filter((name) => name.startsWith(`${pid}-`))
      .filter((name) => readFileSync(`${sandboxCgroups()}/${name}/cgroup.procs`, 'utf8') !== '');
  await expect.poll(left, { timeout: 5_000 }).toEqual([]);
  platform.run('worker');
}

test('Q1 worker-kill: workers that are killed during their jobs lose no job and leave no process [QU1, ST3]', async () => {
  const ids: string[] = [];
  for (let round = 0; round < 5; round++) {
    ids.push(...(await acknowledged(enqueue, 20, { sleepMs: 150 })));
    await sleep(250);
    await replaceWorker();
  }
  expect(ids).toHaveLength(100);
  const records = await ended(platform, ids, RECOVERY_MS);
  const lost = records
    .flatMap(({ attempts = [] }) => attempts)
    .filter(({ outcome }) => outcome === 'worker_lost');
  expect(lost.length).toBeGreaterThan(0);
  for (const { outcome, dead } of records)
    expect(['ok', 'worker_lost'].includes(outcome) && (dead ?? 'poison')).toBe('poison');
});

test('Q2 stopped-worker: a worker that was stopped for longer than its locks does not end jobs of another worker [QU8]', async () => {
  const [id = ''] = await acknowledged(enqueue, 1, { sleepMs: 1_000 });
  await expect.poll(async () => (await look(platform, id)).state, { timeout: 5_000 }).toBe('running');
  const held = platform.pid('worker');
  process.kill(held, 'SIGSTOP');
  platform.run('worker');
  const second = platform.pid('worker');
  const record = await ended(platform, [id], RECOVERY_MS).then(([one]) => one);
  process.kill(held, 'SIGCONT');
  expect(record?.attempts?.map(({ outcome }) => outcome)).toEqual(['worker_lost', 'ok']);
  await sleep(2_000);
  const { logs: _before, ...before } = record ?? { logs: [] };
  const { logs: _after, ...after } = await look(platform, id);
  expect(after).toEqual(before);
  expect(second).not.toBe(held);
  process.kill(held, 'SIGKILL');
});

test('Q3 redis-restart: three seconds without Redis lose no job, and callers get 503', async () => {
  const ids = await acknowledged(enqueue, 40, { sleepMs: 100 });
  expect(ids).toHaveLength(40);
  await platform.redis.kill();
  const [sync, queued] = await Promise.all([
    platform.call('retries', { method: 'POST', body: '{}' }),
    enqueue({}),
  ]);
  expect([sync.status, queued.status]).toEqual([503, 503]);
  await sleep(3_000);
  await platform.redis.resume();
  await platform.ready();
  await ended(platform, ids, RECOVERY_MS);
  await ended(platform, await acknowledged(enqueue, 5, {}), 20_000);
});

test('Q4 redis-stopped: eight seconds of a silent Redis lose no job', async () => {
  const ids = await acknowledged(enqueue, 20, { sleepMs: 100 });
  const redis = platform.redis.pid ?? 0;
  process.kill(redis, 'SIGSTOP');
  const before = performance.now();
  expect((await enqueue({})).status).toBe(503);
  expect(performance.now() - before).toBeLessThan(5_000);
  await sleep(8_000 - (performance.now() - before));
  process.kill(redis, 'SIGCONT');
  // Connections that were silent for that time are made anew.
  await platform.ready();
  await ended(platform, ids, RECOVERY_MS);
  await ended(platform, await acknowledged(enqueue, 5, {}), 20_000);
});

test('Q6 redis-full: a job for which Redis has no memory is refused, and jobs are accepted again when it has [QU10]', async () => {
  const redis = new Redis({ ...parseRedisUrl(platform.redis.url), replyMapping: 'legacy' });
  await redis.config('SET', 'maxmemory', '1mb');
  const refused = await enqueue({ answer: 'x'.repeat(1_000) });
  expect(refused.status).toBe(503);
  await redis.config('SET', 'maxmemory', '0');
  redis.disconnect();
  await ended(platform, await acknowledged(enqueue, 10, {}), RECOVERY_MS);
});

test('Q10 poison: an invocation that has ended three workers is not given a fourth, and other jobs go on [QU4]', async () => {
  await platform.deploy('retries', {
    name: 'patient',
    retries: { attempts: 50, minDelay: 0.1, maxDelay: 0.1 },
  });
  const [poison = ''] = await acknowledged(enqueuer(platform, 'patient'), 1, { sleepMs: 4_000 });
  for (let kill = 0; kill < 3; kill++) {
    await expect.poll(async () => (await look(platform, poison)).state, { timeout: 40_000 }).toBe('running');
    await sleep(200);
    await replaceWorker();
    // It counts as running until another worker takes it.
    await expect
      .poll(async () => (await look(platform, poison)).attempts?.length ?? 0, { timeout: 40_000 })
      .toBeGreaterThan(kill < 2 ? kill + 1 : 2);
  }
  const [record] = await ended(platform, [poison], RECOVERY_MS);
  expect(record).toMatchObject({ outcome: 'worker_lost', dead: 'poison' });
  expect(record?.attempts?.map(({ outcome }) => outcome)).toEqual([
    'worker_lost',
    'worker_lost',
    'worker_lost',
  ]);
  await ended(platform, await acknowledged(enqueue, 10, {}), 20_000);
}, 180_000);

test('Q11 dlq: a job that always fails uses all its attempts, waits longer before each, and records why [QU3]', async () => {
  await platform.deploy('retries', {
    name: 'failing',
    retries: { attempts: 4, minDelay: 0.1, maxDelay: 10 },
  });
  const [id = ''] = await acknowledged(enqueuer(platform, 'failing'), 1, { fail: 'throw' });
  const [record] = await ended(platform, [id], 20_000);
  expect(record).toMatchObject({
    outcome: 'error',
    dead: 'attempts_used',
    message: expect.stringContaining('failure 4') as unknown,
  });
  const letters = (await (await platform.api('/dead-letters/default')).json()) as DeadLetters;
  expect(letters.deadLetters.map((one) => one.id)).toEqual([id]);
  const waits = (record?.attempts ?? [])
    .slice(1)
    .map((attempt, index) => attempt.startedAt - (record?.attempts?.[index]?.endedAt ?? 0));
  for (const [index, wait] of waits.entries()) expect(wait).toBeLessThan(100 * 2 ** index + 1_000);
});

test('Q12 graceful: a worker that is asked to stop finishes or returns its jobs, and no job is tried twice', async () => {
  const ids = await acknowledged(enqueue, 60, { sleepMs: 300 });
  await sleep(150);
  const stopping = platform.kill('worker', 'SIGTERM');
  platform.run('worker');
  await stopping;
  const records = await ended(platform, ids, RECOVERY_MS);
  for (const { outcome, attempts } of records) expect([outcome, attempts?.length]).toEqual(['ok', 1]);
});

test('Q14 no-workers: without a worker, callers soon get an error, jobs are kept, and the age limit holds [QU6]', async () => {
  await platform.kill('worker');
  await sleep(2_000);
  const before = Stopwatch.start(platform.pid('gateway'), platform.pid('worker'));
  const sync = await platform.call('retries', { method: 'POST', body: '{}' });
  expect(sync.status).toBe(503);
  expect(before.stop()).toBeLessThan(5_000);
  const [kept = ''] = await acknowledged(enqueue, 1, {});
  const short = (await (await enqueue({}, { 'x-offshoot-ttl': '1' })).json()) as Accepted;
  await sleep(2_000);
  platform.run('worker');
  const [first, second] = await ended(platform, [kept, short.id], RECOVERY_MS);
  expect(first).toMatchObject({ outcome: 'ok' });
  expect(second).toMatchObject({ outcome: 'expired', logs: [] });
});

/** A namespace that fills its queue delays neither calls nor jobs of another. */
test('Q15 fairness: beside 100,000 queued jobs of one namespace, another waits 0.1 s for a call and 2 s for a job [QU9]', async () => {
  await platform.deploy('retries', {}, 'greedy');
  await platform.deploy('retries', {}, 'modest');
  const { url } = platform.redis;
  await fillQueue(url, { namespace: 'greedy', name: 'retries' }, 100_000, { sleepMs: 20 });
  const atFirst = await queueLength(url, 'greedy');
  expect(atFirst).toBeGreaterThan(90_000);
  // The first call of a function makes its sandbox, which is not what is measured here.
  const warm = (): Promise<Response> =>
    fetch(`${platform.url}/fn/modest/retries`, { method: 'POST', body: '{}' });
  expect((await warm()).status).toBe(200);
  const calls: number[] = [];
  const jobs: number[] = [];
  for (let probe = 0; probe < 10; probe++) {
    const { gateway, queue, report } = await platform.record(await warm());
    calls.push(gateway + queue + (report?.timings.acquire ?? Infinity) + (report?.timings.init ?? Infinity));
    const [id = ''] = await acknowledged(enqueuer(platform, 'retries', 'modest'), 1, {});
    const [record] = await ended(platform, [id], 20_000);
    jobs.push((record?.attempts?.[0]?.startedAt ?? Infinity) - (record?.startedAt ?? 0));
  }
  expect(Math.max(...calls), JSON.stringify(calls)).toBeLessThan(100);
  expect(Math.max(...jobs), JSON.stringify(jobs)).toBeLessThan(2_000);
  // Meanwhile the heavy namespace was served too, and had work all the time.
  const left = await queueLength(url, 'greedy');
  expect(left).toBeGreaterThan(1_000);
  expect(left).toBeLessThan(atFirst);
}, 180_000);
