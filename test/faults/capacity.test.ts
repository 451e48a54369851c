/**
 * Memory of Redis and of the processes does not grow with the work that has passed through them: Q7, Q8 and Q13 of the
 * list of scenarios.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterEach, expect, test } from 'vitest';
import { parseRedisUrl } from '#storage/redis/redis.ts';
import { Platform } from '../support/platform/platform.ts';
import { acknowledged, ended, enqueuer } from './history.ts';

const MB = 1024 * 1024;

let platform: Platform;
afterEach(() => platform.stop());

async function withRedis<T>(use: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis({ ...parseRedisUrl(platform.redis.url), replyMapping: 'legacy' });
  try {
    return await use(redis);
  } finally {
    redis.disconnect();
  }
}

async function health(): Promise<string> {
  const answer = (await (await fetch(`${platform.url}/healthz`)).json()) as { status: string };
  return answer.status;
}

test('Q7 eviction: a Redis that may evict keys raises an alarm, which the health check shows [RE5]', async () => {
  platform = await Platform.start({ OFFSHOOT_PREPARED: '1' });
  expect(await health()).toBe('ok');
  await withRedis((redis) => redis.config('SET', 'maxmemory-policy', 'allkeys-lru'));
  // Redis is checked whenever a connection is made.
  await platform.kill('gateway');
  platform.run('gateway');
  const alarm = 'its maxmemory-policy is not noeviction';
  await expect.poll(() => platform.output, { timeout: 10_000 }).toContain(alarm);
  // A new gateway is degraded until it sees a worker; the alarm must keep it degraded beyond that.
  await expect.poll(() => health().catch(() => undefined), { timeout: 10_000 }).toBe('degraded');
  await sleep(1_000);
  expect(await health()).toBe('degraded');
  await withRedis((redis) => redis.config('SET', 'maxmemory-policy', 'noeviction'));
  await platform.kill('gateway');
  platform.run('gateway');
  await platform.ready();
});

test('Q8 paused-gateway: 200 callers of a gateway that stands still for five seconds get their own answers', async () => {
  platform = await Platform.start({ OFFSHOOT_CAPACITY: '256', OFFSHOOT_PREPARED: '1' });
  await platform.deploy('retries', { concurrency: 50 });
  const enqueue = enqueuer(platform, 'retries');
  const jobs = await acknowledged(enqueue, 300, { sleepMs: 100 });
  const calls = Array.from({ length: 200 }, async (_, at) => {
    const answer = await platform.call('retries', {
      method: 'POST',
      body: JSON.stringify({ answer: at, sleepMs: 1_000 }),
    });
    expect(answer.status).toBe(200);
    return ((await answer.json()) as { answer: number }).answer;
  });
  await sleep(700);
  const gateway = platform.pid('gateway');
  process.kill(gateway, 'SIGSTOP');
  await sleep(5_000);
  process.kill(gateway, 'SIGCONT');
  expect(await Promise.all(calls)).toEqual(Array.from({ length: 200 }, (_, at) => at));
  await ended(platform, jobs, 30_000);
});

interface Held {
  readonly redis: number;
  readonly keys: number;
  readonly worker: number;
  readonly gateway: number;
}

/** MB, and keys. */
async function held(): Promise<Held> {
  const residentMb = (pid: number): number =>
    Number(/^RssAnon:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
  return await withRedis(async (redis) => {
    return {
      redis: Number(/^used_memory:(\d+)/m.exec(await redis.info('memory'))?.[1]) / MB,
      keys: await redis.dbsize(),
      worker: residentMb(platform.pid('worker')),
      gateway: residentMb(platform.pid('gateway')),
    };
  });
}

test('Q13 plateau: after 10,000 jobs and 10,000 calls, as much memory is held as after 4,000 of each [QU17]', async () => {
  platform = await Platform.start({
    OFFSHOOT_PREPARED: '1',
    OFFSHOOT_KEPT_JOBS: '500',
    OFFSHOOT_KEPT_CALLS: '500',
    NODE_OPTIONS: `--import=${join(import.meta.dirname, '../support/faults/collect-on-signal.mjs')}`,
  });
  await platform.deploy('retries', { concurrency: 20, retries: { attempts: 1, minDelay: 0, maxDelay: 0 } });
  const enqueue = enqueuer(platform, 'retries');
  const round = async (): Promise<Held> => {
    for (let part = 0; part < 20; part++) {
      const jobs = await acknowledged(enqueue, 100, { answer: 'x'.repeat(500) });
      expect(jobs).toHaveLength(100);
      await Promise.all(
        Array.from({ length: 100 }, () => platform.call('retries', { method: 'POST', body: '{}' })),
      );
      await ended(platform, jobs.slice(-1), 20_000);
    }
    for (const part of ['worker', 'gateway'] as const) process.kill(platform.pid(part), 'SIGUSR2');
    await sleep(1_000);
    return await held();
  };
  await round();
  const before = await round();
  await round();
  await round();
  const last = await round();
  console.log(JSON.stringify({ before, last }));
  expect(last.keys).toBeLessThan(before.keys * 1.15 + 50);
  expect(last.redis).toBeLessThan(before.redis * 1.15 + 1);
  expect(last.worker).toBeLessThan(before.worker * 1.15 + 10);
  expect(last.gateway).toBeLessThan(before.gateway * 1.15 + 10);
}, 180_000);
