/**
 * A whole platform on a Cluster of three primaries: all its commands keep to the slots, and it outlives one primary.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DeadLetters, InvocationDetail } from '#contract/api/api.ts';
import { keys } from '#contract/platform/keys.ts';
import { acknowledged, ended, enqueuer, look } from '../faults/history.ts';
import { Platform } from '../support/platform/platform.ts';
import { RedisCluster, until } from '../support/redis/redis-server.ts';
import { Stopwatch } from '../support/platform/stopwatch.ts';

/** Each has a primary of its own, which the first test checks. */
const NAMESPACES = ['default', 'second', 'red'];

let redis: RedisCluster;
let platform: Platform;
beforeAll(async () => {
  redis = await RedisCluster.start({ replicas: true });
  platform = await Platform.start({ REDIS_URL: redis.url, OFFSHOOT_CAPACITY: '8', OFFSHOOT_PREPARED: '1' });
  for (const namespace of NAMESPACES) await platform.deploy('retries', {}, namespace);
}, 120_000);
afterAll(async () => {
  await platform?.stop();
  await redis?.stop();
});

function call(namespace: string, event: unknown): Promise<Response> {
  return fetch(`${platform.url}/fn/${namespace}/retries`, { method: 'POST', body: JSON.stringify(event) });
}

async function post(path: string, body: unknown = {}): Promise<unknown> {
  const response = await platform.api(path, { method: 'POST', body: JSON.stringify(body) });
  expect(response.status).toBeLessThan(300);
  return await response.json();
}

test('the three namespaces lie on three primaries', async () => {
  const slots = await Promise.all(
    NAMESPACES.map(
      async (namespace) =>
        (await redis.servers[0]?.ask((server) => server.cluster('KEYSLOT', keys.lane(namespace)))) ?? 0,
    ),
  );
  expect(new Set(slots.map((slot) => Math.floor((slot * 3) / 16_384))).size).toBe(3);
});

describe('calls on a Cluster', () => {
  test('calls of all namespaces are answered at once, side by side [RE2]', async () => {
    for (const namespace of NAMESPACES) await call(namespace, { answer: 0 });
    const before = Stopwatch.start(platform.pid('gateway'), platform.pid('worker'));
    const answers = await Promise.all(
      Array.from({ length: 30 }, (_, index) => call(NAMESPACES[index % 3] ?? '', { answer: index })),
    );
    expect(before.stop()).toBeLessThan(3_000);
    for (const [index, answer] of answers.entries())
      expect(await answer.json()).toMatchObject({ answer: index });
  });

  test('calls of one namespace do not wait for those of another that has more than the worker takes', async () => {
    const many = Array.from({ length: 24 }, () => call('default', { sleepMs: 500 }));
    await sleep(200);
    const before = Stopwatch.start(platform.pid('gateway'), platform.pid('worker'));
    expect((await call('second', {})).status).toBe(200);
    // Two rounds of eight would be in front of it in a common line.
    expect(before.stop()).toBeLessThan(900);
    for (const one of await Promise.all(many)) expect(one.status).toBe(200);
  });

  test('calls of a new namespace are taken by workers that already run', async () => {
    await platform.deploy('retries', {}, 'late');
    expect(await (await call('late', { answer: 7 })).json()).toMatchObject({ answer: 7 });
  });

  test('calls have records and logs', async () => {
    const record = await platform.record(await call('second', {}));
    expect(record).toMatchObject({ outcome: 'ok', namespace: 'second', lane: 'sync' });
    await expect
      .poll(async () => (await platform.api(`/invocations/${record.id}`)).json())
      .toMatchObject({
        logs: [{ text: `runs ${record.id}` }],
      });
    const logs = await platform.cli('logs', 'retries', '--namespace', 'second');
    expect(logs.stdout).toContain(`runs ${record.id}`);
  });
});

describe('the queued lane on a Cluster', () => {
  test('accepted jobs run, in all namespaces', async () => {
    const ids: string[] = [];
    for (const namespace of NAMESPACES)
      ids.push(...(await acknowledged(enqueuer(platform, 'retries', namespace), 10, { answer: 1 })));
    expect(ids).toHaveLength(30);
    for (const record of await ended(platform, ids, 20_000)) expect(record).toMatchObject({ outcome: 'ok' });
    expect(await (await platform.api(`/invocations/${ids[0]}/result`)).json()).toMatchObject({ answer: 1 });
  });

  test('jobs are retried, become dead letters, and are queued again', async () => {
    const enqueue = enqueuer(platform, 'retries', 'second');
    const [retried = ''] = await acknowledged(enqueue, 1, { fail: 'throw', times: 2 });
    const [record] = await ended(platform, [retried], 20_000);
    expect(record?.attempts?.map(({ outcome }) => outcome)).toEqual(['error', 'error', 'ok']);
    await platform.deploy('retries', { name: 'once', retries: { attempts: 1 } }, 'second');
    const [dead = ''] = await acknowledged(enqueuer(platform, 'once', 'second'), 1, { fail: 'throw' });
    await ended(platform, [dead], 20_000);
    const letters = async (): Promise<string[]> =>
      ((await (await platform.api('/dead-letters/second')).json()) as DeadLetters).deadLetters.map(
        ({ id }) => id,
      );
    expect(await letters()).toEqual([dead]);
    expect(await post('/dead-letters/second/redrive', { ids: [dead] })).toEqual({ ids: [dead] });
    await expect
      .poll(async () => ((await look(platform, dead)) as InvocationDetail).attempts?.length, {
        timeout: 5_000,
      })
      .toBe(2);
    await ended(platform, [dead], 20_000);
    expect(await post('/dead-letters/second/purge')).toEqual({ ids: [dead] });
  });

  test('requests with the same Idempotency-Key are the same invocation', async () => {
    const enqueue = enqueuer(platform, 'retries', 'red');
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => enqueue({ answer: 1 }, { 'idempotency-key': 'order' })),
    );
    const ids = await Promise.all(answers.map(async (one) => ((await one.json()) as { id: string }).id));
    expect(new Set(ids).size).toBe(1);
    const [record] = await ended(platform, [ids[0] ?? ''], 20_000);
    expect(record?.logs).toHaveLength(1);
  });

  test('waiting and running invocations can be cancelled', async () => {
    const enqueue = enqueuer(platform, 'retries', 'red');
    const answer = await enqueue({}, { 'x-offshoot-delay': '60' });
    const { id: waiting } = (await answer.json()) as { id: string };
    const [running = ''] = await acknowledged(enqueue, 1, { sleepMs: 20_000 });
    await expect.poll(async () => (await look(platform, running)).state, { timeout: 5_000 }).toBe('running');
    for (const id of [waiting, running]) await post(`/invocations/${id}/cancel`);
    for (const record of await ended(platform, [waiting, running], 5_000))
      expect(record).toMatchObject({ outcome: 'cancelled' });
  });

  test('schedules run', async () => {
    await platform.deploy('nightly', { schedule: { cron: '* * * * * *', input: { keepDays: 3 } } }, 'second');
    const runs = async (): Promise<number> => {
      const answer = await platform.api('/invocations?namespace=second&name=nightly&outcome=ok');
      return ((await answer.json()) as { invocations: unknown[] }).invocations.length;
    };
    await expect.poll(runs, { timeout: 10_000 }).toBeGreaterThanOrEqual(2);
    expect((await platform.api('/functions/second/nightly', { method: 'DELETE' })).status).toBeLessThan(300);
  });
});

test('when a primary dies, its replica takes over: no process is restarted, and no job is lost [RE3]', async () => {
  const enqueues = NAMESPACES.map((namespace) => enqueuer(platform, 'retries', namespace));
  const ids: string[] = [];
  for (const enqueue of enqueues) ids.push(...(await acknowledged(enqueue, 8, { sleepMs: 400 })));
  // A replica may be some milliseconds behind; writes that it lacks would be lost with its primary.
  await sleep(200);
  const { worker, gateway } = { worker: platform.pid('worker'), gateway: platform.pid('gateway') };
  await redis.servers[0]?.kill();
  const role = async (): Promise<string> =>
    (await redis.servers[3]?.ask((server) => server.info('replication'))) ?? '';
  await until(async () => (await role()).includes('role:master'), 'the replica has taken over');
  await until(
    async () => (await platform.api('/dead-letters/second')).status === 200,
    'the gateway has seen it',
  );
  await ended(platform, ids, 60_000);
  const before = Stopwatch.start(platform.pid('gateway'), platform.pid('worker'));
  const answered = async (namespace: string): Promise<boolean> => (await call(namespace, {})).status === 200;
  for (const namespace of NAMESPACES) await until(() => answered(namespace), `${namespace} is answered`);
  expect(before.stop()).toBeLessThan(10_000);
  const later: string[] = [];
  for (const enqueue of enqueues) later.push(...(await acknowledged(enqueue, 5, {})));
  expect(later).toHaveLength(15);
  await ended(platform, later, 30_000);
  expect([platform.pid('worker'), platform.pid('gateway')]).toEqual([worker, gateway]);
  for (const pid of [worker, gateway]) expect(process.kill(pid, 0)).toBe(true);
}, 120_000);
