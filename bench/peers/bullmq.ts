/**
 * Peer: BullMQ with waitUntilFinished. Usage: node bullmq.ts REDIS-URL EFFORT-AS-JSON
 * Queue and worker are in this process, and a job does nothing: no HTTP, no sandbox, no tenants.
 */
import { Queue, QueueEvents, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { parseRedisUrl } from '#storage/redis/redis.ts';
import { report } from '../measure/children.ts';
import type { Effort, LoadResult } from '../measure/http-load.ts';
import { loadResult } from '../measure/load-result.ts';

const [url = '', text = '{}'] = process.argv.slice(2);
const NAME = 'bench';
const WARM_UP = 50;
/** A waiter whose event was trimmed away would wait for ever. */
const WAIT_MS = 10_000;

function connect(): Redis {
  return new Redis({ ...parseRedisUrl(url), maxRetriesPerRequest: null, replyMapping: 'legacy' });
}

async function load(effort: Effort): Promise<LoadResult> {
  const atOnce = 'calls' in effort ? 1 : effort.atOnce;
  const queue = new Queue(NAME, { connection: connect() });
  const events = new QueueEvents(NAME, { connection: connect() });
  const worker = new Worker(NAME, async () => ({ greeting: 'Hello' }), {
    connection: connect(),
    concurrency: atOnce,
  });
  // Each waiter listens to both events.
  queue.setMaxListeners(0);
  events.setMaxListeners(0);
  await Promise.all([events.waitUntilReady(), worker.waitUntilReady()]);
  const call = async (): Promise<number> => {
    const start = performance.now();
    const job = await queue.add('hello', {}, { removeOnComplete: 1_000 });
    await job.waitUntilFinished(events, WAIT_MS);
    return performance.now() - start;
  };
  for (let warm = 0; warm < WARM_UP; warm++) await call();

  const times: number[] = [];
  const start = performance.now();
  const goesOn = (): boolean =>
    'calls' in effort ? times.length < effort.calls : performance.now() - start < effort.seconds * 1_000;
  const caller = async (): Promise<void> => {
    while (goesOn()) times.push(await call());
  };
  await Promise.all(Array.from({ length: atOnce }, caller));
  return loadResult(times, performance.now() - start, effort);
}

// The connections end with the process.
await report(() => load(JSON.parse(text) as Effort));
