/** A primary with a replica and three Sentinels: the primary is ended, and the platform goes on without help. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Platform } from '../support/platform/platform.ts';
import { RedisSentinels, until } from '../support/redis/redis-server.ts';
import { Stopwatch } from '../support/platform/stopwatch.ts';
import { acknowledged, ended, enqueuer, type Enqueue } from './history.ts';

const RECOVERY_MS = 60_000;

let redis: RedisSentinels;
let platform: Platform;
let enqueue: Enqueue;
beforeEach(async () => {
  redis = await RedisSentinels.start();
  platform = await Platform.start({ REDIS_URL: redis.url, OFFSHOOT_CAPACITY: '16', OFFSHOOT_PREPARED: '1' });
  await platform.deploy('retries');
  enqueue = enqueuer(platform, 'retries');
}, 90_000);
afterEach(async () => {
  await platform?.stop();
  await redis?.stop();
});

const called = (): Promise<Response> => platform.call('retries', { method: 'POST', body: '{}' });

test('Q23 sentinel: when the primary ends, Sentinel promotes its replica, and no acknowledged job is lost [RE3]', async () => {
  const pids = [platform.pid('worker'), platform.pid('gateway')];
  const ids = await acknowledged(enqueue, 40, { sleepMs: 300 });
  expect(ids).toHaveLength(40);
  // Replication is asynchronous, so writes that the replica lacks are lost with the primary. The replica is
  // milliseconds behind.
  await sleep(250);
  const old = await redis.primary();
  await old.kill();
  const before = Stopwatch.start(platform.pid('gateway'), platform.pid('worker'));
  const [sync, queued] = await Promise.all([called(), enqueue({})]);
  // Callers are refused at once, and do not wait.
  expect([sync.status, queued.status]).toEqual([503, 503]);
  expect(before.stop()).toBeLessThan(8_000);
  await until(async () => (await redis.primary()).port !== old.port, 'Sentinel has promoted the replica');
  await until(async () => (await called()).status === 200, 'calls are answered');
  await ended(platform, ids, RECOVERY_MS);
  await ended(platform, await acknowledged(enqueue, 20, {}), 30_000);
  expect([platform.pid('worker'), platform.pid('gateway')]).toEqual(pids);
  for (const pid of pids) expect(process.kill(pid, 0)).toBe(true);
});

test('Q24 sentinel-hung: a primary that hangs and comes back as a replica is left, and gets no more writes [RE3]', async () => {
  const ids = await acknowledged(enqueue, 20, { sleepMs: 300 });
  await sleep(250);
  const old = await redis.primary();
  process.kill(old.pid, 'SIGSTOP');
  await until(async () => (await redis.primary()).port !== old.port, 'Sentinel has promoted the replica');
  await until(async () => (await called()).status === 200, 'calls are answered');
  const during = await acknowledged(enqueue, 10, {});
  expect(during).toHaveLength(10);
  process.kill(old.pid, 'SIGCONT');
  await until(
    async () => (await old.ask((server) => server.info('replication'))).includes('role:slave'),
    'the old primary follows the new one',
  );
  await ended(platform, [...ids, ...during], RECOVERY_MS);
  await ended(platform, await acknowledged(enqueue, 10, {}), 30_000);
});
