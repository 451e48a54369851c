/** Peer: BullMQ with waitUntilFinished, queue and worker in this process, a job that does nothing. No HTTP, no sandbox. */
import { Queue, QueueEvents, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { parseRedisUrl } from '#storage/redis.ts';
import { figure, type Figure } from '../stats.ts';

export async function bullmqRows(
  redisUrl: string,
  calls: number,
  atOnce: number,
): Promise<{ single: Figure; many: Figure }> {
  const connection = new Redis({
    path: parseRedisUrl(redisUrl).path ?? '',
    maxRetriesPerRequest: null,
    replyMapping: 'legacy',
  });
  const queue = new Queue('bench', { connection });
  const events = new QueueEvents('bench', { connection });
  const worker = new Worker('bench', async () => 'hello', { connection, concurrency: atOnce });
  // Each waiting call listens; BullMQ does not raise Node's limit by itself.
  events.setMaxListeners(0);
  queue.setMaxListeners(0);
  await Promise.all([events.waitUntilReady(), worker.waitUntilReady()]);
  const call = async (): Promise<void> => {
    const job = await queue.add('hello', {}, { removeOnComplete: 1_000 });
    await job.waitUntilFinished(events);
  };
  for (let warm = 0; warm < 100; warm++) await call();
  const times: number[] = [];
  for (let round = 0; round < calls; round++) {
    const start = performance.now();
    await call();
    times.push(performance.now() - start);
  }
  const started = performance.now();
  let left = calls * 5;
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (left-- > 0) await call();
    }),
  );
  const rate = (calls * 5) / ((performance.now() - started) / 1000);
  await worker.close();
  await events.close();
  await queue.close();
  connection.disconnect();
  const name = 'BullMQ waitUntilFinished (no HTTP, no sandbox)';
  return { single: figure(name, 'ms', times), many: figure(name, 'per second', [rate]) };
}
