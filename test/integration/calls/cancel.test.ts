/** An accepted cancel holds, at whatever moment of an invocation it comes. */
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { Accepted } from '#contract/api/api.ts';
import type { AnyInvocation } from '#contract/invocations/invocation.ts';
import { encodePayload, type RequestMeta } from '#contract/wire/payload.ts';
import type { QueuedStore } from '#storage/queued/records.ts';
import type { QueueControl } from '../../../gateway/queued/control.ts';
import { Platform } from '../../support/platform/platform.ts';
import { PrivateRedis } from '../../support/redis/private-redis.ts';
import { openQueueControl } from '../../support/platform/queue-control.ts';
import { openRecord } from '../../support/platform/records.ts';
import { readyConnection } from '../../support/redis/redis-for-tests.ts';
import { TcpProxy } from '../../support/faults/tcp-proxy.ts';

/** The canceller of these tests. */
const KEY = { by: 'key', key: 'k1' } as const;

let server: PrivateRedis;
/** Between Redis and the platform, but not between Redis and the test. */
let proxy: TcpProxy;
let platform: Platform;
let redis: Redis;
let control: QueueControl;
let store: QueuedStore;
beforeAll(async () => {
  server = await PrivateRedis.start();
  proxy = await TcpProxy.start({ path: join(server.directory, 'redis.sock') });
  platform = await Platform.start({
    REDIS_URL: `redis://127.0.0.1:${proxy.port}`,
    OFFSHOOT_PREPARED: '1',
  });
  await platform.deploy('retries', {
    timeout: 30,
    retries: { attempts: 3, minDelay: 3_600, maxDelay: 3_600 },
  });
  await platform.deploy('retries', { name: 'once', retries: { attempts: 1 } });
  redis = await readyConnection(server.url);
  ({ control, store } = openQueueControl(redis, join(platform.state, 'blobs')));
}, 60_000);
afterEach(() => proxy.heal());
afterAll(async () => {
  redis.disconnect();
  await platform.stop();
  await proxy.stop();
  await server.stop();
});

async function queued(name: string, event: unknown): Promise<string> {
  const path = `/functions/default/${name}/invocations`;
  const response = await platform.api(path, { method: 'POST', body: JSON.stringify(event) });
  expect(response.status).toBe(202);
  return ((await response.json()) as Accepted).id;
}

async function look(id: string): Promise<AnyInvocation | undefined> {
  return (await store.find(id))?.record;
}

async function reaches(id: string, state: AnyInvocation['state'], timeout = 10_000): Promise<AnyInvocation> {
  await expect.poll(async () => (await look(id))?.state, { timeout, interval: 2 }).toBe(state);
  return (await look(id)) as AnyInvocation;
}

/** Lines that all attempts of the invocation have printed. */
async function printed(id: string): Promise<string[]> {
  const response = await platform.api(`/invocations/${id}`);
  return ((await response.json()) as { logs: { text: string }[] }).logs.map(({ text }) => text);
}

/**
 * Waits until the function has begun. From then on its worker gets a cancel only as a frame, which these tests do not
 * send.
 */
async function runs(id: string): Promise<AnyInvocation> {
  await expect.poll(() => printed(id), { timeout: 5_000, interval: 20 }).toEqual([`runs ${id}`]);
  return (await look(id)) as AnyInvocation;
}

test('a cancel holds for an invocation that runs but whose worker has no input yet', async () => {
  proxy.conditions.latencyMs = 150;
  const id = await queued('retries', { sleepMs: 20_000 });
  await reaches(id, 'running');
  // Takes a few milliseconds. The worker learns of the cancel while it waits for Redis.
  expect(await control.cancel(id, KEY)).toMatchObject({ state: 'running' });
  expect(await reaches(id, 'done')).toMatchObject({ outcome: 'cancelled', cancelledBy: KEY });
});

test('a cancel holds for an invocation that its worker gave back: it is not started again [QU7]', async () => {
  const record = openRecord({ name: 'retries', attempts: [] });
  await store.requestCancel(record, KEY);
  const meta: RequestMeta = { kind: 'event', method: 'POST', url: 'http://localhost/', headers: [] };
  await store.create(record, encodePayload(meta, Buffer.from('{}')));
  await control.enqueuer.add(record);
  expect(await reaches(record.id, 'done')).toMatchObject({ outcome: 'cancelled', cancelledBy: KEY });
  expect(await printed(record.id)).toEqual([]);
});

test('a cancel holds for an invocation whose attempt fails at that moment: there is no other attempt', async () => {
  const id = await queued('retries', { fail: 'throw', sleepMs: 1_000 });
  await store.requestCancel(await runs(id), KEY);
  const record = await reaches(id, 'done');
  expect(record).toMatchObject({ outcome: 'cancelled', cancelledBy: KEY });
  expect(record.attempts?.map(({ outcome }) => outcome)).toEqual(['error']);
});

test('a cancel that came too late counts no more once the dead letter is queued again', async () => {
  const id = await queued('once', { fail: 'throw', sleepMs: 1_000 });
  await store.requestCancel(await runs(id), KEY);
  expect(await reaches(id, 'done')).toMatchObject({ outcome: 'error', dead: 'attempts_used' });
  expect(await control.redrive('default', { ids: [id] })).toEqual({ ids: [id] });
  const record = await reaches(id, 'done');
  expect(record).toMatchObject({ outcome: 'error', redriven: 1 });
  expect(record.attempts?.map(({ outcome }) => outcome)).toEqual(['error', 'error']);
});
