/** The tests write by hand the state that a sudden death leaves behind. The repair must bring it to its end. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import pino from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Accepted, AnyInvocationDetail } from '#contract/api/api.ts';
import type { OpenInvocation } from '#contract/invocations/invocation.ts';
import { keys } from '#contract/platform/keys.ts';
import { encodePayload, type RequestMeta } from '#contract/wire/payload.ts';
import { BatchStore, groupInvocationId } from '#storage/queued/batches.ts';
import { DirectoryBlobStore } from '#storage/artifacts/blobs.ts';
import { Deliveries } from '#storage/queued/deliveries.ts';
import { NamespaceLimitsStore } from '#storage/limits/namespace-limits.ts';
import { QueuedStore } from '#storage/queued/records.ts';
import { Queues } from '#storage/queued/jobs.ts';
import { QueueRate } from '../../../gateway/queued/queue-rate.ts';
import { Enqueuer } from '../../../gateway/queued/enqueuer.ts';
import { QueueRepair } from '../../../gateway/queued/queue-repair.ts';
import { Platform } from '../../support/platform/platform.ts';
import { oneTryUntil, openRecord } from '../../support/platform/records.ts';
import { readyConnection } from '../../support/redis/redis-for-tests.ts';

const log = pino({ level: 'silent' });
let platform: Platform;
let redis: Redis;
let queues: Queues;
let store: QueuedStore;
let batches: BatchStore;
let repair: QueueRepair;
beforeAll(async () => {
  platform = await Platform.start({ OFFSHOOT_PREPARED: '1' });
  await platform.deploy('retries');
  redis = await readyConnection(platform.redis.url);
  queues = new Queues(redis);
  store = new QueuedStore(redis);
  batches = new BatchStore(redis);
  const enqueuer = new Enqueuer({
    store,
    queues,
    deliveries: new Deliveries(redis),
    maxQueued: 1_000,
    limits: new NamespaceLimitsStore(redis),
    queueRate: new QueueRate(() => Promise.resolve([])),
  });
  const functions = { namespaces: () => Promise.resolve(['default']) };
  repair = new QueueRepair({ commands: redis, functions, store, batches, queues, enqueuer, log });
}, 60_000);
afterAll(async () => {
  redis.disconnect();
  await platform.stop();
});

async function look(id: string): Promise<AnyInvocationDetail> {
  return (await (await platform.api(`/invocations/${id}`)).json()) as AnyInvocationDetail;
}

it('the repair queues an invocation again that has lost its job, and leaves one that has its job', async () => {
  const delayed = await fetch(`${platform.url}/api/v1/functions/default/retries/invocations`, {
    method: 'POST',
    headers: { authorization: `Bearer ${platform.key}`, 'x-offshoot-delay': '3600' },
    body: '{}',
  });
  const { id: waiting } = (await delayed.json()) as Accepted;
  await platform.kill('worker');
  const sent = await platform.api('/functions/default/retries/invocations', { method: 'POST', body: '{}' });
  const { id } = (await sent.json()) as Accepted;
  await queues.of('default').remove(id);
  expect(await queues.has('default', id)).toBe(false);
  platform.run('worker');
  await platform.ready();
  await repair.look(0);
  await expect.poll(async () => (await look(id)).state, { timeout: 5_000 }).toBe('done');
  expect((await look(id)).attempts?.map(({ outcome }) => outcome)).toEqual(['ok']);
  expect(await queues.of('default').getDelayedCount()).toBe(1);
  expect((await look(waiting)).state).toBe('queued');
});

it('the repair finds an invocation without its job behind thousands that wait in order [QU15]', async () => {
  const dueAt = Date.now() + 3_600_000;
  const many = Array.from({ length: 2_000 }, () => ({ ...openJob(), dueAt }));
  await Promise.all(many.map((record) => store.create(record, Buffer.alloc(0))));
  const jobs = many.map(({ id }) => ({
    name: 'invocation',
    data: { id },
    opts: { jobId: id, delay: 3_600_000 },
  }));
  await queues.of('default').addBulk(jobs);
  const meta: RequestMeta = { kind: 'event', method: 'POST', url: 'http://localhost/', headers: [] };
  const lost = openJob();
  await sleep(2); // behind them in the index, which counts in milliseconds
  await store.create(lost, encodePayload(meta, Buffer.from('{}')));
  await repair.look(0);
  await expect.poll(async () => (await look(lost.id)).state, { timeout: 5_000 }).toBe('done');
  expect(await queues.of('default').getDelayedCount()).toBeGreaterThanOrEqual(2_000);
  await Promise.all(many.map(({ id }) => queues.remove('default', id)));
}, 60_000);

it('the repair queues a group that has its room in a batch but no record, when the batch makes no progress [QU15]', async () => {
  const id = randomBytes(16).toString('hex');
  const [traceId, spanId] = [randomBytes(16).toString('hex'), randomBytes(8).toString('hex')];
  const terms = { maxAttempts: 1, minDelay: 0, maxDelay: 0, queueMs: 60_000 };
  const facts = { id, namespace: 'default', name: 'retries', version: 1, createdAt: Date.now(), size: 2 };
  await batches.create({ ...facts, terms, traceId, spanId, sampled: true });
  const input = `batches/${id}/in/one`;
  await new DirectoryBlobStore(join(platform.state, 'blobs')).put(input, Buffer.from('{"answer":1}\n'));
  await batches.add(id, 1, 13, input);
  await batches.seal(id);
  // More newer batches than any list shows.
  for (let newer = 0; newer < 150; newer++)
    await batches.create({
      ...facts,
      id: randomBytes(16).toString('hex'),
      createdAt: facts.createdAt + 1 + newer,
      terms,
      traceId,
      spanId,
      sampled: true,
    });
  await repair.look(0);
  expect(await store.find(groupInvocationId(id, 0))).toBeUndefined();
  await repair.look(0);
  await expect.poll(async () => (await batches.find(id))?.batch.state, { timeout: 5_000 }).toBe('done');
  expect((await batches.find(id))?.batch.succeeded).toBe(1);
  // The batch that has ended is off the list of open ones.
  await repair.look(0);
  expect(await redis.zscore(keys.openBatches('default'), id)).toBeNull();
  expect(await redis.zcard(keys.openBatches('default'))).toBe(150);
});

it('the repair ends a call whose gateway is gone, and none whose gateway lives [QU15]', async () => {
  const lives = (await redis.zrange(keys.gateways(), 0, '-1'))[0] ?? '';
  const calls = await Promise.all(['gone', lives].map((gateway) => openCall(gateway)));
  await repair.look(0);
  const [lost, kept] = await Promise.all(calls.map((id) => look(id)));
  expect(lost).toMatchObject({ state: 'done', outcome: 'platform_error' });
  expect(kept?.state).toBe('running');
});

async function openCall(gatewayId: string): Promise<string> {
  const record = openRecord({
    name: 'retries',
    lane: 'sync',
    state: 'running',
    method: 'GET',
    startedAt: Date.now() - 1_000,
    requestBytes: 0,
    terms: undefined,
    worker: 'w-1',
    gatewayId,
  });
  await redis.set(keys.invocation(record.id), JSON.stringify(record));
  await redis.zadd(keys.open('default'), record.startedAt, record.id);
  return record.id;
}

function openJob(): OpenInvocation {
  return openRecord({ name: 'retries', terms: oneTryUntil(Date.now() + 7_200_000) });
}
