import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { beforeEach, describe, expect, it } from 'vitest';
import type { InvocationRecord } from '#contract/invocations/invocation.ts';
import { keys } from '#contract/platform/keys.ts';
import { Retention } from '#storage/queued/retention.ts';
import { endedRecord, openRecord } from '../../../support/platform/records.ts';
import { redisForTests } from '../../../support/redis/redis-for-tests.ts';

const HOUR_MS = 3_600_000;

let redis: Redis;
redisForTests((ready) => void (redis = ready), { role: 'background' });

it.each([
  ['one Redis', false],
  ['a Cluster', true],
])(
  'a record beyond the newest is removed with everything that belongs to it: %s [QU17]',
  async (_, isCluster) => {
    const list = keys.endedJobs('default', `fn-${isCluster}`);
    const ids = Array.from({ length: 30 }, (_none, at) => `${isCluster}-${at}`);
    for (const id of ids)
      for (const key of [
        keys.invocation(id),
        keys.input(id),
        keys.result(id),
        keys.logs(id),
        keys.lateSpans(id),
      ])
        await redis.set(key, 'x');
    const retention = new Retention(
      new Proxy(redis, {
        get: (target, name) =>
          name === 'isCluster' ? isCluster : (Reflect.get(target, name, target) as unknown),
      }),
      10,
    );
    await retention.ended(list, ids.slice(0, 10));
    expect(await redis.exists(keys.invocation(ids[0] ?? ''))).toBe(1);
    await retention.ended(list, ids.slice(10));
    const left = await Promise.all(
      ids.map((id) => redis.exists(keys.invocation(id)).then((one) => (one === 1 ? id : undefined))),
    );
    expect(left.filter(Boolean)).toEqual(ids.slice(20));
    for (const of of [keys.input, keys.result, keys.logs, keys.lateSpans]) {
      expect(await redis.exists(of(ids[19] ?? ''))).toBe(0);
      expect(await redis.exists(of(ids[20] ?? ''))).toBe(1);
    }
  },
);

describe('an ended invocation of the queued lane', () => {
  const KEPT = 10;
  let name: string;
  let retention: Retention;
  beforeEach(() => {
    name = randomBytes(4).toString('hex');
    retention = new Retention(redis, KEPT);
  });

  async function end(count: number, facts: Partial<InvocationRecord> = {}): Promise<string[]> {
    const records = Array.from({ length: count }, () => endedRecord(openRecord({ name }), facts));
    for (const record of records) {
      await redis.set(keys.invocation(record.id), JSON.stringify(record));
      await retention.endedJob(record);
    }
    return records.map(({ id }) => id);
  }

  async function left(ids: readonly string[]): Promise<string[]> {
    const found = await Promise.all(ids.map((id) => redis.exists(keys.invocation(id))));
    return ids.filter((_, at) => found[at] === 1);
  }

  it('an ended invocation is kept, however many end after it, while a dead letter or a pending callback needs it', async () => {
    const dead = await end(3, { dead: 'attempts_used' });
    const untold = await end(3, { callback: { url: 'http://h/', state: 'pending', attempts: 1 } });
    const told = await end(3, { callback: { url: 'http://h/', state: 'delivered', attempts: 1 } });
    await end(2 * KEPT);
    expect(await left([...dead, ...untold, ...told])).toEqual([...dead, ...untold]);
  });

  it('an ended invocation is kept as long as its Idempotency-Key, and counts like others then', async () => {
    const old = await end(3, { deduplicates: true, startedAt: Date.now() - 30 * HOUR_MS });
    const keyed = await end(3 * KEPT, { deduplicates: true, startedAt: Date.now() - 23 * HOUR_MS });
    await end(2 * KEPT);
    expect(await left([...old, ...keyed])).toEqual(keyed);
    // Two hours pass.
    const list = keys.endedKeyed('default', name);
    for (const id of keyed) await redis.zincrby(list, -2 * HOUR_MS, id);
    const [newest = ''] = await end(1, { deduplicates: true });
    expect(await left(keyed)).toHaveLength(KEPT);
    expect(await redis.zrange(list, 0, '-1')).toEqual([newest]);
  });
});
