/** Deliveries on a real Redis, turn by turn, where a test decides which process dies and which turn comes twice. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Callback, InvocationRecord, OpenInvocation } from '#contract/invocations/invocation.ts';
import { keys } from '#contract/platform/keys.ts';
import { Deliveries } from '#storage/queued/deliveries.ts';
import { QueuedStore, type Versioned } from '#storage/queued/records.ts';
import { Retention } from '#storage/queued/retention.ts';
import { deliver, type DeliveryDeps } from '../../../../gateway/callbacks/deliver.ts';
import { Guard } from '../../../../gateway/callbacks/guard.ts';
import { SecretStore } from '../../../../gateway/callbacks/secrets.ts';
import type { PrivateRedis } from '../../../support/redis/private-redis.ts';
import { Receiver, verify } from '../../../support/servers/receiver.ts';
import { DEAD, endedRecord, openRecord } from '../../../support/platform/records.ts';
import { redisForTests } from '../../../support/redis/redis-for-tests.ts';
import { Stopwatch } from '../../../support/platform/stopwatch.ts';
import { startGateway, waitFor } from '../../../support/gateway/fixture.ts';

let server: PrivateRedis;
let redis: Redis;
let store: QueuedStore;
let secrets: SecretStore;
let receiver: Receiver;
redisForTests((ready, its) => {
  server = its;
  redis = ready;
  store = new QueuedStore(redis);
  secrets = new SecretStore(redis);
});
beforeEach(async () => {
  receiver = await Receiver.start();
});
afterEach(() => receiver.stop());

const never = new AbortController().signal;

function deps(options: Partial<DeliveryDeps> = {}): DeliveryDeps {
  return {
    store,
    retention: new Retention(redis, 1_000),
    secrets,
    guard: new Guard({ allow: ['127.0.0.1'], ports: new Set() }),
    terms: { attempts: 3, firstDelayMs: 100, lastDelayMs: 200 },
    timeoutMs: 2_000,
    version: 'test',
    ...options,
  };
}

function turn(id: string, again = 0): Parameters<typeof deliver>[1] {
  return { id, again, addedAt: Date.now(), stopping: never };
}

async function opened(): Promise<Versioned & { record: OpenInvocation }> {
  const callback = { url: receiver.url, state: 'pending', attempts: 0 } as const;
  const record = openRecord({ name: 'f', state: 'running', callback });
  await store.create(record, Buffer.alloc(0));
  return (await store.find(record.id)) as Versioned & { record: OpenInvocation };
}

async function ended(before?: Versioned & { record: OpenInvocation }): Promise<string> {
  const found = before ?? (await opened());
  const record = endedRecord(found.record, DEAD);
  expect(await store.swap(found, record)).toBeDefined();
  return record.id;
}

async function callbackOf(id: string): Promise<Callback | undefined> {
  return (await store.find(id))?.record.callback;
}

async function change(id: string, how: (record: InvocationRecord) => InvocationRecord | OpenInvocation) {
  const found = await store.find(id);
  if (!found) throw new Error('there is no such record');
  expect(await store.swap(found, how(found.record as InvocationRecord))).toBeDefined();
}

describe('a turn', () => {
  test('a turn that finds the invocation still open comes again, later each time, until it has ended', async () => {
    const before = await opened();
    const { id } = before.record;
    const soon = (await deliver(deps(), turn(id))) ?? 0;
    expect(soon - Date.now()).toBeLessThanOrEqual(60);
    const old = { ...turn(id), addedAt: Date.now() - 5_000 };
    expect(((await deliver(deps(), old)) ?? 0) - Date.now()).toBeGreaterThan(4_000);
    expect(receiver.received).toEqual([]);
    await ended(before);
    expect(await deliver(deps(), turn(id))).toBeUndefined();
    expect(receiver.received).toHaveLength(1);
  });

  test('a turn that comes after the delivery, or too early, sends nothing', async () => {
    const id = await ended();
    await deliver(deps(), turn(id));
    expect(await deliver(deps(), turn(id))).toBeUndefined();
    expect(receiver.received).toHaveLength(1);
    const waiting = await ended();
    const nextAt = Date.now() + 60_000;
    await change(waiting, (record) => ({
      ...record,
      callback: { url: receiver.url, state: 'pending', attempts: 1, nextAt },
    }));
    expect(await deliver(deps(), turn(waiting))).toBe(nextAt);
    expect(receiver.received).toHaveLength(1);
  });

  test('after its last turn, an invocation counts among the ended jobs kept by number, unless it is a dead letter', async () => {
    const kept = (): Promise<string[]> => redis.lrange(keys.endedJobs('default', 'f'), 0, -1);
    const letter = await ended();
    await deliver(deps(), turn(letter));
    const [told, refused] = [await ended(), await ended()];
    for (const id of [told, refused]) await change(id, (record) => ({ ...record, dead: undefined }));
    expect(await kept()).toEqual([]);
    await deliver(deps(), turn(told));
    receiver.answer = (response) => void response.writeHead(500).end();
    expect(await deliver(deps(), turn(refused))).toBeDefined();
    expect(await kept()).toEqual([told]);
    receiver.answer = (response) => void response.writeHead(410).end();
    await expect.poll(() => deliver(deps(), turn(refused))).toBeUndefined();
    expect(await kept()).toEqual([told, refused]);
  });

  test('of two turns at the same time, the record lets only one send', async () => {
    const id = await ended();
    receiver.answer = (response) => void setTimeout(() => response.writeHead(200).end(), 200);
    const [one, two] = await Promise.all([deliver(deps(), turn(id)), deliver(deps(), turn(id))]);
    // The other turn must look again at once.
    expect([one, two].filter((next) => next === undefined)).toHaveLength(1);
    expect(receiver.received).toHaveLength(1);
  });

  test('a turn of a gateway that was taken for dead: its success counts, its failure does not', async () => {
    const overtake = (record: InvocationRecord): InvocationRecord => ({
      ...record,
      callback: { url: receiver.url, state: 'pending', attempts: 2 },
    });
    const failed = await ended();
    receiver.answer = (response) => void change(failed, overtake).then(() => response.writeHead(500).end());
    expect(await deliver(deps(), turn(failed))).toBeUndefined();
    expect(await callbackOf(failed)).toEqual({ url: receiver.url, state: 'pending', attempts: 2 });
    const succeeded = await ended();
    receiver.answer = (response) =>
      void change(succeeded, overtake).then(() => response.writeHead(200).end());
    await deliver(deps(), turn(succeeded));
    expect(await callbackOf(succeeded)).toMatchObject({ state: 'delivered', attempts: 2 });
    // The failure of the other turn comes too late then.
    expect(await deliver(deps(), turn(succeeded))).toBeUndefined();
    expect(await callbackOf(succeeded)).toMatchObject({ state: 'delivered', attempts: 2 });
  });

  test('a delivery is counted before it is sent, and none starts after the last', async () => {
    const id = await ended();
    let seen: Callback | undefined;
    receiver.answer = (response) =>
      void callbackOf(id).then((callback) => {
        seen = callback;
        response.writeHead(500).end();
      });
    await deliver(deps(), turn(id));
    expect(seen).toEqual({ url: receiver.url, state: 'pending', attempts: 1 });
    // State after a gateway that died in the last delivery.
    await change(id, (record) => ({
      ...record,
      callback: { url: receiver.url, state: 'pending', attempts: 3 },
    }));
    expect(await deliver(deps(), turn(id))).toBeUndefined();
    expect(await callbackOf(id)).toMatchObject({ state: 'failed', attempts: 3 });
    expect(receiver.received).toHaveLength(1);
  });

  test('a turn for an end that a redrive has overtaken reports nothing, whether before or while it is sent', async () => {
    const redrive = (record: InvocationRecord): OpenInvocation => {
      const { dead: _d, outcome: _o, status: _s, duration: _u, ...rest } = record;
      return {
        ...rest,
        state: 'queued',
        redriven: (record.redriven ?? 0) + 1,
        callback: { url: receiver.url, state: 'pending', attempts: 0 },
      };
    };
    const before = await ended();
    await change(before, redrive);
    expect(await deliver(deps(), turn(before))).toBeUndefined();
    expect(receiver.received).toEqual([]);
    const during = await ended();
    receiver.answer = (response) => void change(during, redrive).then(() => response.writeHead(200).end());
    expect(await deliver(deps(), turn(during))).toBeUndefined();
    expect((await store.find(during))?.record).toMatchObject({
      state: 'queued',
      callback: { state: 'pending', attempts: 0 },
    });
    // The next end is reported, under an id of its own.
    await ended((await store.find(during)) as Versioned & { record: OpenInvocation });
    await deliver(deps(), turn(during, 1));
    expect(receiver.received.at(-1)?.headers['webhook-id']).toBe(`${during}-1`);
  });

  test('a turn keeps other changes that were made to the record meanwhile', async () => {
    const id = await ended();
    receiver.answer = (response) =>
      void change(id, (record) => {
        const { dead: _, ...purged } = record;
        return purged;
      }).then(() => response.writeHead(200).end());
    expect(await deliver(deps(), turn(id))).toBeUndefined();
    const record = (await store.find(id))?.record;
    expect(record).toMatchObject({ callback: { state: 'delivered', attempts: 1 } });
    expect(record).not.toHaveProperty('dead');
  });

  test('a delivery ends at its timeout, and is tried again', async () => {
    const id = await ended();
    receiver.answer = () => undefined;
    const next = await deliver(deps({ timeoutMs: 200 }), turn(id));
    expect(next).toBeDefined();
    expect(await callbackOf(id)).toMatchObject({
      state: 'pending',
      attempts: 1,
      nextAt: next,
      lastError: 'the receiver did not answer within 200 ms',
    });
  });

  test('a delivery to a name that leads inside has failed for good, and the record says why', async () => {
    const id = await ended();
    await change(id, (record) => ({
      ...record,
      callback: { url: `http://inside.example:${receiver.port}/`, state: 'pending', attempts: 0 },
    }));
    const resolve = (): Promise<{ address: string; family: number }[]> =>
      Promise.resolve([{ address: '127.0.0.1', family: 4 }]);
    const guarded = (allow: string[]): DeliveryDeps =>
      deps({ guard: new Guard({ allow, ports: new Set(), resolve }) });
    expect(await deliver(guarded([]), turn(id))).toBeUndefined();
    expect(await callbackOf(id)).toMatchObject({
      state: 'failed',
      attempts: 1,
      lastError: expect.stringContaining('inside.example leads to an address that is not public') as unknown,
    });
    expect(receiver.received).toEqual([]);
    // Control: with the allowance, the same name is reached.
    await change(id, (record) => ({
      ...record,
      callback: { url: `http://inside.example:${receiver.port}/`, state: 'pending', attempts: 0 },
    }));
    await deliver(guarded(['127.0.0.1']), turn(id));
    expect(receiver.received).toHaveLength(1);
  });

  test('a turn for an invocation whose record is gone is over', async () => {
    expect(await deliver(deps(), turn('gone'))).toBeUndefined();
  });
});

describe('a gateway', () => {
  test('a gateway that is stopped leaves its started deliveries to the next one, at once', async () => {
    const env = { OFFSHOOT_CALLBACK_ALLOW: '127.0.0.1', OFFSHOOT_CALLBACK_TIMEOUT_MS: '60000' };
    const state = await mkdtemp(join(tmpdir(), 'offshoot-state-'));
    const first = await startGateway(server, { env, state });
    receiver.answer = (response, count) => void (count > 0 && response.writeHead(200).end());
    const before = await opened();
    await new Deliveries(redis).add(before.record);
    await sleep(200);
    // Its delivery has started, and not ended yet.
    expect(receiver.received).toEqual([]);
    const id = await ended(before);
    await waitFor(() => receiver.received.length === 1);
    const stopped = Stopwatch.start();
    await first.close(100);
    expect(stopped.stop()).toBeLessThan(2_000);
    // Not a try that has failed: a receiver has all of its own.
    expect(await callbackOf(id)).toMatchObject({ state: 'pending', attempts: 0 });
    const second = await startGateway(server, { env, state });
    await waitFor(async () => (await callbackOf(id))?.state === 'delivered');
    expect(receiver.received).toHaveLength(2);
    // Nothing is left of it in Redis except its record.
    await waitFor(
      async () => (await redis.keys(`${keys.queuePrefix('default')}:deliveries:${id}*`)).length === 0,
    );
    await second.close(100);
    await rm(state, { recursive: true });
  });
});

describe('the secret of a namespace', () => {
  test('a namespace has one secret, also when many requests want the first at the same time', async () => {
    const all = await Promise.all(Array.from({ length: 20 }, () => secrets.of('first')));
    expect(new Set(all.map(({ current }) => current.secret)).size).toBe(1);
  });

  test('a rotated secret stays valid for a day beside the new one, and no longer', async () => {
    const hour = 3_600_000;
    const entry = (secret: string, age: number): string =>
      JSON.stringify({ secret, createdAt: Date.now() - age });
    await redis.rpush(
      keys.callbackSecrets('rotated'),
      entry('whsec_bmV3', hour),
      entry('whsec_b2xk', 26 * hour),
      entry('whsec_b2xkZXN0', 100 * hour),
    );
    const { current, previous } = await secrets.of('rotated');
    expect(current.secret).toBe('whsec_bmV3');
    // Replaced an hour ago; the oldest was replaced 26 hours ago.
    expect(previous.map(({ secret }) => secret)).toEqual(['whsec_b2xk']);
    for (let times = 0; times < 10; times++) await secrets.rotate('rotated');
    expect(await redis.llen(keys.callbackSecrets('rotated'))).toBe(4);
  });

  test('the secret of a namespace signs its deliveries', async () => {
    await deliver(deps(), turn(await ended()));
    const [got] = receiver.received;
    if (!got) throw new Error('nothing came');
    verify((await secrets.of('default')).current.secret, got);
  });
});
