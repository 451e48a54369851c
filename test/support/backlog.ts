/** Fills queues as the gateway does, but with many jobs in one round trip. */
import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { encodePayload, type RequestMeta } from '#contract/payload.ts';
import { QueuedStore } from '#storage/queued.ts';
import { Queues } from '#storage/queues.ts';
import { parseRedisUrl } from '#storage/redis.ts';

const AT_ONCE = 2_000;

export async function withRedis<T>(url: string, use: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis({ ...parseRedisUrl(url), replyMapping: 'legacy', maxRetriesPerRequest: null });
  try {
    return await use(redis);
  } finally {
    redis.disconnect();
  }
}

/** Queues the event so many times for a function that is there in version 1. */
export function fillQueue(
  url: string,
  { namespace, name }: { namespace: string; name: string },
  count: number,
  event: unknown,
): Promise<void> {
  return withRedis(url, async (redis) => {
    const store = new QueuedStore(redis);
    const queue = new Queues(redis).of(namespace);
    const meta: RequestMeta = { kind: 'event', method: 'POST', url: 'http://localhost/', headers: [] };
    const input = encodePayload(meta, Buffer.from(JSON.stringify(event)));
    for (let done = 0; done < count; done += AT_ONCE) {
      const ids = Array.from({ length: Math.min(AT_ONCE, count - done) }, () =>
        randomBytes(16).toString('hex'),
      );
      await Promise.all(ids.map((id) => store.create(openRecord(id, namespace, name), input)));
      await queue.addBulk(ids.map((id) => ({ name: 'invocation', data: { id }, opts: { jobId: id } })));
    }
  });
}

/** Jobs of a namespace that wait. */
export function queueLength(url: string, namespace: string): Promise<number> {
  return withRedis(url, (redis) => new Queues(redis).of(namespace).count());
}

function openRecord(id: string, namespace: string, name: string): Parameters<QueuedStore['create']>[0] {
  const now = Date.now();
  return {
    id,
    namespace,
    name,
    version: 1,
    lane: 'queued',
    state: 'queued',
    method: 'POST',
    path: '/',
    traceId: id,
    spanId: id.slice(16),
    sampled: true,
    startedAt: now,
    requestBytes: 2,
    terms: { maxAttempts: 1, minDelay: 0, maxDelay: 0, expiresAt: now + 3_600_000 },
  };
}
