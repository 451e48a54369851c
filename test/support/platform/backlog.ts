/** Fills queues as the gateway does, but with many jobs in one round trip. */
import { Redis } from 'ioredis';
import { encodePayload, type RequestMeta } from '#contract/wire/payload.ts';
import { QueuedStore } from '#storage/queued/records.ts';
import { Queues } from '#storage/queued/jobs.ts';
import { parseRedisUrl } from '#storage/redis/redis.ts';
import { openRecord } from './records.ts';

const AT_ONCE = 2_000;

export async function withRedis<T>(url: string, use: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis({ ...parseRedisUrl(url), replyMapping: 'legacy', maxRetriesPerRequest: null });
  try {
    return await use(redis);
  } finally {
    redis.disconnect();
  }
}

/** Queues the event `count` times for a function whose version 1 is deployed. */
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
      const records = Array.from({ length: Math.min(AT_ONCE, count - done) }, () =>
        openRecord({ namespace, name }),
      );
      await Promise.all(records.map((record) => store.create(record, input)));
      await queue.addBulk(
        records.map(({ id }) => ({ name: 'invocation', data: { id }, opts: { jobId: id } })),
      );
    }
  });
}

/** Waiting jobs of a namespace. */
export function queueLength(url: string, namespace: string): Promise<number> {
  return withRedis(url, (redis) => new Queues(redis).of(namespace).count());
}
