/** Dead letters by the thousand, in a real Redis: each can be found, queued again and purged, however many are newer. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { InvocationRecord } from '#contract/invocations/invocation.ts';
import { keys } from '#contract/platform/keys.ts';
import { Queues } from '#storage/queued/jobs.ts';
import type { QueuedStore } from '#storage/queued/records.ts';
import type { QueueControl } from '../../../../gateway/queued/control.ts';
import { PrivateRedis } from '../../../support/redis/private-redis.ts';
import { openQueueControl } from '../../../support/platform/queue-control.ts';
import { DEAD, endedRecord, oneTryUntil, openRecord } from '../../../support/platform/records.ts';
import { readyConnection } from '../../../support/redis/redis-for-tests.ts';

const NOW = Date.now();
const OLD = 200;
const ALL = 1_200;
/** Ended jobs of a function. */
const KEPT = 300;

let server: PrivateRedis;
let redis: Redis;
let root: string;
let store: QueuedStore;
let control: QueueControl;
beforeEach(async () => {
  server = await PrivateRedis.start();
  root = await mkdtemp(join(tmpdir(), 'dead-letters-'));
  redis = await readyConnection(server.url);
  // Only an existing record is queued again.
  for (const name of ['fn', 'old', 'new']) await redis.hset(keys.versions('default', name), '1', '{}');
  ({ control, store } = openQueueControl(redis, root, KEPT));
});
afterEach(async () => {
  redis.disconnect();
  await server.stop();
  await rm(root, { recursive: true, force: true });
});

function letter(name: string, at: number): InvocationRecord {
  const startedAt = at - 1_000;
  const attempts = [{ startedAt, worker: 'w', outcome: 'error', endedAt: at } as const];
  const open = openRecord({ name, startedAt, attempts, terms: oneTryUntil(startedAt + 60_000) });
  return endedRecord(open, { ...DEAD, duration: 1_000 });
}

/**
 * Dead letters as after days: those of `old`, and then many more of `new`, several of which ended in the same
 * millisecond.
 */
async function fill(): Promise<InvocationRecord[]> {
  const all = Array.from({ length: ALL }, (_, at) =>
    letter(at < OLD ? 'old' : 'new', NOW - 100_000 + Math.floor(at / 3)),
  );
  await Promise.all(
    all.flatMap((one) => [
      redis.set(keys.invocation(one.id), JSON.stringify(one)),
      redis.zadd(keys.dead('default'), one.startedAt + one.duration, one.id),
    ]),
  );
  return all;
}

const ids = (records: readonly InvocationRecord[]): string[] => records.map(({ id }) => id).toSorted();
const indexed = (): Promise<number> => redis.zcard(keys.dead('default'));

test('a dead letter that is queued again and again has the same attempts and time each time', async () => {
  const first = letter('fn', NOW - 86_400_000);
  await redis.set(keys.invocation(first.id), JSON.stringify(first));
  for (let round = 1; round <= 3; round++) {
    await redis.zadd(keys.dead('default'), NOW + round, first.id);
    expect(await control.redrive('default', { ids: [first.id] })).toEqual({ ids: [first.id] });
    const found = await store.find(first.id);
    const { record } = found ?? {};
    if (!found || record?.state !== 'queued' || !record.terms) throw new Error('it is not queued again');
    expect(record.terms).toMatchObject({ maxAttempts: 1, triedBefore: round });
    expect(Math.abs(record.terms.expiresAt - Date.now() - 60_000)).toBeLessThan(1_000);
    // It fails again.
    const attempts = [...(record.attempts ?? []), ...(first.attempts ?? [])];
    const { outcome, status, duration, gateway, queue, responseBytes, dead } = first;
    const facts = { outcome, status, duration, gateway, queue, responseBytes, dead };
    expect(await store.swap(found, { ...record, ...facts, attempts, state: 'done' })).toBeDefined();
  }
});

test('delayed invocations that are cancelled, again and again, leave no job, and no more records than are kept', async () => {
  for (let round = 0; round < KEPT + 50; round++) {
    const dueAt = NOW + 30 * 86_400_000;
    const record = openRecord({ startedAt: NOW - 1_000, terms: oneTryUntil(dueAt + 1_000), dueAt });
    await control.enqueuer.queue(record);
    await control.cancel(record.id, { by: 'key', key: 'k1' });
  }
  const records = await redis.keys(keys.invocation('*'));
  expect(records).toHaveLength(KEPT);
  expect(await new Queues(redis).of('default').count()).toBe(0);
});

describe('of 1,200 dead letters', () => {
  test('dead letters of the function that failed first are listed, newest first', async () => {
    const all = await fill();
    const found = await control.deadLetters('default', { name: 'old' }, 1_000);
    expect(ids(found)).toEqual(ids(all.slice(0, OLD)));
    expect(found[0]?.startedAt).toBe(all[OLD - 1]?.startedAt);
    expect(await control.deadLetters('default', { name: 'old' }, 7)).toHaveLength(7);
    expect(await control.deadLetters('default', {}, ALL + 1)).toHaveLength(ALL);
  });

  test('the oldest dead letter can be queued again by its id, and leaves the list then', async () => {
    const [oldest] = await fill();
    const chosen = [oldest?.id ?? '', 'no such id'];
    expect(await control.redrive('default', { ids: chosen })).toEqual({ ids: [oldest?.id] });
    expect((await store.find(oldest?.id ?? ''))?.record).toMatchObject({ state: 'queued', redriven: 1 });
    expect(await indexed()).toBe(ALL - 1);
    expect(await control.redrive('default', { ids: chosen })).toEqual({ ids: [] });
    // Another namespace has none of them.
    expect(await control.purge('other', { ids: [oldest?.id ?? ''] })).toEqual({ ids: [] });
  });

  test.each(['redrive', 'purge'] as const)('%s reaches all dead letters, each once', async (verb) => {
    const all = await fill();
    const first = await control[verb]('default', {});
    expect(first.ids).toHaveLength(1_000);
    expect(first.until).toBeDefined();
    // This one has failed again meanwhile.
    const again = { ...letter('new', Date.now() + 10), id: first.ids[0] ?? '' };
    await redis.zadd(keys.dead('default'), again.startedAt + again.duration, again.id);
    await redis.set(keys.invocation(again.id), JSON.stringify(again));
    const second = await control[verb]('default', { until: first.until });
    expect(second.until).toBeUndefined();
    expect([...first.ids, ...second.ids].toSorted()).toEqual(ids(all));
    expect(ids(await control.deadLetters('default', {}, 10))).toEqual([again.id]);
    expect(await indexed()).toBe(1);
  });

  test('dead letters whose function is gone do not hide older ones', async () => {
    const all = await fill();
    // The newest thousand are gone, but two of the older ones may have ended in the same millisecond.
    await redis.hdel(keys.versions('default', 'new'), '1');
    const first = await control.redrive('default', {});
    expect(first.ids.length).toBeLessThanOrEqual(2);
    const second = await control.redrive('default', { until: first.until });
    expect(second.until).toBeUndefined();
    expect([...first.ids, ...second.ids].toSorted()).toEqual(ids(all.slice(0, OLD)).toSorted());
    expect(await indexed()).toBe(ALL - OLD);
  });

  test('a dead letter that is queued again and cancelled leaves nothing on the list', async () => {
    const [, one] = await fill();
    const id = one?.id ?? '';
    await control.redrive('default', { ids: [id] });
    // State after a gateway that died in between.
    await redis.zadd(keys.dead('default'), NOW, id);
    expect(await control.cancel(id, { by: 'key', key: 'k1' })).toMatchObject({ outcome: 'cancelled' });
    expect(await indexed()).toBe(ALL - 1);
  });

  test('purged dead letters are kept as records in the same number as other ends', async () => {
    const all = await fill();
    const purged = [...(await control.purge('default', {})).ids, ...(await control.purge('default', {})).ids];
    expect(purged).toHaveLength(ALL);
    const left = await redis.exists(...all.map(({ id }) => keys.invocation(id)));
    // 200 of the old function, and the newest of the other.
    expect(left).toBe(OLD + KEPT);
  });

  test('an expired dead letter is taken off the list when it is read', async () => {
    const all = await fill();
    await redis.del(...all.slice(0, 5).map(({ id }) => keys.invocation(id)));
    expect(await control.deadLetters('default', {}, ALL)).toHaveLength(ALL - 5);
    expect(await indexed()).toBe(ALL - 5);
  });
});
