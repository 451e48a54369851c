/** Namespaces share a worker by weight, in both lanes, on real processes. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { WorkerStatus } from '#contract/api/api.ts';
import { NamespaceLimitsStore } from '#storage/limits/namespace-limits.ts';
import { acknowledged, ended, enqueuer } from '../faults/history.ts';
import { fillQueue, queueLength, withRedis } from '../support/platform/backlog.ts';
import { Platform } from '../support/platform/platform.ts';

/** A worker reads the weights again every two seconds. */
const WEIGHTS_KNOWN_MS = 2_500;
const SETTLE_MS = 1_500;
const MEASURED_MS = 5_000;
/** Callers of each namespace: several times the capacity, so that both always have work. */
const CALLERS = 40;

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start({ OFFSHOOT_CAPACITY: '16', OFFSHOOT_PREPARED: '1' });
  for (const namespace of ['heavy', 'light']) await platform.deploy('retries', {}, namespace);
}, 60_000);
afterAll(() => platform.stop());

async function weigh(heavy: number, light: number): Promise<void> {
  await withRedis(platform.redis.url, async (redis) => {
    const limits = new NamespaceLimitsStore(redis);
    await limits.set('heavy', { weight: heavy });
    await limits.set('light', { weight: light });
  });
  await sleep(WEIGHTS_KNOWN_MS);
}

/** Calls that ended while both namespaces had callers waiting. */
async function syncShares(): Promise<[number, number]> {
  const done = new Map([
    ['heavy', 0],
    ['light', 0],
  ]);
  const from = performance.now() + SETTLE_MS;
  const until = from + MEASURED_MS;
  const caller = async (namespace: string): Promise<void> => {
    while (performance.now() < until) {
      const body = JSON.stringify({ sleepMs: 40 });
      const answer = await fetch(`${platform.url}/fn/${namespace}/retries`, { method: 'POST', body });
      await answer.arrayBuffer();
      expect(answer.status).toBe(200);
      const now = performance.now();
      if (now > from && now < until) done.set(namespace, (done.get(namespace) ?? 0) + 1);
    }
  };
  const callers = ['heavy', 'light'].flatMap((namespace) =>
    Array.from({ length: CALLERS }, () => caller(namespace)),
  );
  await Promise.all(callers);
  return [done.get('heavy') ?? 0, done.get('light') ?? 0];
}

/** Jobs that ended while both namespaces had jobs left. */
async function queuedShares(): Promise<[number, number]> {
  const { url } = platform.redis;
  const both = ['heavy', 'light'] as const;
  for (const namespace of both) await fillQueue(url, { namespace, name: 'retries' }, 3_000, { sleepMs: 40 });
  await sleep(SETTLE_MS);
  const lengths = (): Promise<number[]> => Promise.all(both.map((namespace) => queueLength(url, namespace)));
  const before = await lengths();
  await sleep(MEASURED_MS);
  const after = await lengths();
  expect(Math.min(...after)).toBeGreaterThan(0);
  const [heavy = 0, light = 0] = before.map((length, index) => length - (after[index] ?? 0));
  for (const namespace of both) {
    await withRedis(url, (redis) => redis.del(`offshoot:{${namespace}}:queued:wait`));
  }
  return [heavy, light];
}

for (const [heavy, light] of [
  [3, 1],
  [1, 1],
] as const) {
  test(`namespaces with weights of ${heavy} and ${light} get these shares of both lanes [SH1]`, async () => {
    await weigh(heavy, light);
    const queued = await queuedShares();
    const sync = await syncShares();
    const wanted = heavy / light;
    for (const [first, second] of [queued, sync]) {
      expect(first + second).toBeGreaterThan(200);
      expect(first / second, JSON.stringify({ queued, sync })).toBeGreaterThan(wanted * 0.8);
      expect(first / second, JSON.stringify({ queued, sync })).toBeLessThan(wanted * 1.2);
    }
  }, 60_000);
}

test('a job of another namespace starts while one holds its permits for long, and calls still have room [SH3]', async () => {
  await fillQueue(platform.redis.url, { namespace: 'heavy', name: 'retries' }, 200, { sleepMs: 4_500 });
  const running = async (): Promise<number> => {
    const { workers } = (await (await platform.api('/workers')).json()) as { workers: WorkerStatus[] };
    return workers[0]?.running ?? 0;
  };
  // Of 8 permits, one is kept for namespaces that have none.
  await expect.poll(running, { timeout: 10_000 }).toBe(7);
  const light = enqueuer(platform, 'retries', 'light');
  const [id = ''] = await acknowledged(light, 1, {});
  const [record] = await ended(platform, [id], 10_000);
  expect((record?.attempts?.[0]?.startedAt ?? Infinity) - (record?.startedAt ?? 0)).toBeLessThan(1_000);
  // The other job has taken the last place, and no job of the heavy namespace has.
  expect(await running()).toBe(7);
  const calls = Array.from({ length: 9 }, () =>
    fetch(`${platform.url}/fn/heavy/retries`, { method: 'POST', body: JSON.stringify({ sleepMs: 500 }) }),
  );
  const answers = await Promise.all(calls);
  expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
}, 60_000);
