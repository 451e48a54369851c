/** Time for which invocations of the queued lane are kept, with everything that they need. */
import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { describe, expect, it } from 'vitest';
import type { OpenInvocation } from '#contract/invocations/invocation.ts';
import { IllegalMove } from '#contract/invocations/transitions.ts';
import { keys, RECENT_LENGTH, RECORD_TTL_S } from '#contract/platform/keys.ts';
import { BatchStore, groupRecord } from '#storage/queued/batches.ts';
import { isHeld } from '#storage/artifacts/held-blobs.ts';
import { QueuedStore } from '#storage/queued/records.ts';
import { DEAD, endedRecord, oneTryUntil, openRecord } from '../../../support/platform/records.ts';
import { redisForTests } from '../../../support/redis/redis-for-tests.ts';

const DAY_S = 86_400;
/** Tolerance for the time between a write and its check. */
const PATIENCE_S = 30;

let redis: Redis;
let store: QueuedStore;
redisForTests((ready) => {
  redis = ready;
  store = new QueuedStore(redis);
});

/** An invocation that may start within `waitsS` seconds from now. */
function open(waitsS: number, more: Partial<OpenInvocation> = {}): OpenInvocation {
  return openRecord({ terms: oneTryUntil(Date.now() + waitsS * 1000), ...more });
}

async function expectKept(key: string, seconds: number): Promise<void> {
  const ttl = await redis.ttl(key);
  expect(ttl, key).toBeGreaterThan(seconds - PATIENCE_S);
  expect(ttl, key).toBeLessThan(seconds + PATIENCE_S);
}

describe('what an invocation needs', () => {
  it.each([
    ['a day', 1],
    ['as long as a delay and a time to live may be together', 60],
  ])(
    'the data of an invocation are kept for a week after its last possible start: %s [QU19]',
    async (_, days) => {
      const record = open(days * DAY_S, { inputBlob: `inputs/${randomBytes(4).toString('hex')}` });
      await store.create(record, Buffer.from('{}'));
      const wanted = days * DAY_S + RECORD_TTL_S;
      const held = keys.heldBlob(record.inputBlob ?? '');
      for (const key of [keys.invocation(record.id), keys.input(record.id), held])
        await expectKept(key, wanted);
      expect(await redis.ttl(keys.recent('default', 'fn'))).toBeGreaterThan(wanted - PATIENCE_S);
    },
  );

  it('the data of an invocation are kept as long as its record, when it has ended and when it is queued again', async () => {
    const record = open(2 * DAY_S, { inputBlob: `inputs/${randomBytes(4).toString('hex')}` });
    await store.create(record, Buffer.from('{}'));
    const mine = [keys.invocation(record.id), keys.input(record.id), keys.heldBlob(record.inputBlob ?? '')];
    // An attempt that ends late.
    for (const key of mine) await redis.expire(key, DAY_S);
    const before = await store.find(record.id);
    const letter = before && (await store.swap(before, endedRecord(record, DEAD)));
    for (const key of mine) await expectKept(key, RECORD_TTL_S);
    // On its last day.
    for (const key of mine) await redis.expire(key, DAY_S);
    const expiresAt = Date.now() + 10 * DAY_S * 1000;
    const again = { ...record, redriven: 1, terms: oneTryUntil(expiresAt) };
    expect(letter && (await store.swap(letter, again))).toBeDefined();
    for (const key of mine) await expectKept(key, 10 * DAY_S + RECORD_TTL_S);
  });

  it('the batch of a group is kept through all waits and ends of its groups', async () => {
    const batches = new BatchStore(redis);
    const id = randomBytes(16).toString('hex');
    const terms = { maxAttempts: 1, minDelay: 0, maxDelay: 0, queueMs: 14 * DAY_S * 1000 };
    const facts = { id, namespace: 'default', name: 'fn', version: 1, createdAt: Date.now(), size: 2, terms };
    const whole = { ...facts, traceId: id, spanId: id.slice(16), sampled: true };
    await batches.create(whole);
    await batches.add(id, 2, 10, `batches/${id}/in/0`);
    const entry = await batches.group(id, 0);
    if (!entry) throw new Error('the group has no entry');
    await store.create(groupRecord(whole, 0, entry));
    const mine = [keys.batch(id), keys.batchGroups(id)];
    for (const key of mine) await expectKept(key, 14 * DAY_S + RECORD_TTL_S);
    // Another group does not shorten this, except for a moment.
    await batches.add(id, 2, 10, `batches/${id}/in/1`);
    for (const key of mine) await expectKept(key, 14 * DAY_S + RECORD_TTL_S);
    // The batch ends on its last day; its results are kept for a week from then on.
    for (const key of mine) await redis.expire(key, DAY_S);
    const record = groupRecord(whole, 0, entry);
    await batches.report(id, { group: 0, attempt: 1, ok: 2, failed: 0, final: true });
    const before = await store.find(record.id);
    expect(before && (await store.swap(before, endedRecord(record, DEAD)))).toBeDefined();
    for (const key of [...mine, keys.batchEnded(id)]) await expectKept(key, RECORD_TTL_S);
    expect(await isHeld(redis, `batches/${id}/in/0`)).toBe(true);
    expect(await isHeld(redis, `batches/${id.replace(/./g, '0')}/in/0`)).toBe(false);
  });
});

describe('a change that no invocation makes', () => {
  it.each([
    ['its outcome changes', { outcome: 'crashed' }],
    ['it is cancelled by no one', { outcome: 'cancelled' }],
  ] as const)('swap() refuses it and writes nothing: %s', async (_, more) => {
    const record = open(60);
    await store.create(record, Buffer.from('{}'));
    const found = await store.find(record.id);
    if (!found) throw new Error('the record was not written');
    const isEnded = more.outcome === 'crashed';
    const before = isEnded ? await store.swap(found, endedRecord(record)) : found;
    if (!before) throw new Error('the record has changed');
    const after = endedRecord(record, more);
    await expect(store.swap(before, after)).rejects.toThrow(IllegalMove);
    expect((await store.find(record.id))?.raw).toBe(before.raw);
    // Control: the same end is taken where it is legal.
    const legal = isEnded ? before.record : { ...after, cancelledBy: { by: 'key' as const } };
    expect(await store.swap(before, legal)).toBeDefined();
  });
});

describe('the list of a function', () => {
  it('the list of a function is bounded in length and time, whatever other functions are queued beside it', async () => {
    const lists = ['first', 'second'].map((name) => keys.recent('default', name));
    for (const list of lists)
      await redis.zadd(list, ...Array.from({ length: RECENT_LENGTH }, (_, at) => [at, `old-${at}`]).flat());
    // Strictly in turn.
    for (let round = 0; round < 8; round++)
      for (const name of ['first', 'second']) await store.create(open(DAY_S, { name }));
    for (const list of lists) {
      expect(await redis.zcard(list)).toBe(RECENT_LENGTH);
      await expectKept(list, DAY_S + RECORD_TTL_S);
    }
    await store.create(open(60, { name: 'first' }));
    await expectKept(lists[0] ?? '', DAY_S + RECORD_TTL_S);
  });
});

it('refuses a change of state that is none, and leaves the record as it was', async () => {
  const record = open(1);
  await store.create(record, Buffer.from('{}'));
  const before = await store.find(record.id);
  const done = before && (await store.swap(before, endedRecord(record)));
  await expect(done && store.swap(done, record)).rejects.toThrow('cannot go from done to queued');
  expect((await store.find(record.id))?.raw).toBe(done?.raw);
});
