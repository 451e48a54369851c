/** The queued lane: jobs that are accepted over HTTP and run in a sandbox; plain BullMQ beside it, on the same Redis. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import autocannon from 'autocannon';
import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { Queues } from '#storage/queued/jobs.ts';
import { parseRedisUrl } from '#storage/redis/redis.ts';
import { startRedis } from '../../infra/platform/redis.ts';
import { figureOf, interleave, type Contestant } from '../measure/interleave.ts';
import { startOwnPlatform } from '../measure/own-platform.ts';
import type { Run } from '../measure/run.ts';
import { HELLO } from './sandbox-rows.ts';
import { compared, figure, type Figure, type Section } from '../measure/stats.ts';

const AT_ONCE = 64;
const TURNS = 5;
const PEER_QUEUE = 'peer';
const LOOK_MS = 5;

/** Jobs a second, from the first request to the end of the last job. */
export async function queuedSection(run: Run): Promise<Section> {
  const jobs = run.counts.calls;
  const redis = await startRedis({ dir: join(run.temporary, 'redis') });
  const connections: Redis[] = [];
  const connect = (): Redis => {
    const made = new Redis({
      ...parseRedisUrl(redis.url),
      maxRetriesPerRequest: null,
      replyMapping: 'legacy',
    });
    connections.push(made);
    return made;
  };
  const platform = await startOwnPlatform(run, redis.url);
  try {
    const url = await platform.deploy('hello', HELLO);
    const queue = new Queues(connect()).of('default');
    const ours = async (): Promise<number> => {
      const start = performance.now();
      const sent = await autocannon({
        url,
        connections: AT_ONCE,
        amount: jobs,
        method: 'POST',
        headers: { prefer: 'respond-async', authorization: `Bearer ${platform.key}` },
        body: '{}',
      });
      if (sent['2xx'] !== jobs) throw new Error(`of ${jobs} jobs, ${sent['2xx']} were accepted`);
      while ((await queue.getJobCountByTypes('wait', 'active', 'delayed', 'prioritized')) > 0)
        await sleep(LOOK_MS);
      return (jobs / (performance.now() - start)) * 1000;
    };
    const peer = new Queue(PEER_QUEUE, { connection: connect() });
    const plain = async (): Promise<number> => {
      const { promise, resolve } = Promise.withResolvers<void>();
      let done = 0;
      const worker = new Worker(PEER_QUEUE, async () => ({ greeting: 'Hello' }), {
        connection: connect(),
        concurrency: AT_ONCE,
      });
      worker.on('completed', () => {
        if (++done === jobs) resolve();
      });
      const start = performance.now();
      await atOnce(jobs, () => peer.add('hello', {}, { removeOnComplete: 1_000 }));
      await promise;
      const rate = (jobs / (performance.now() - start)) * 1000;
      await worker.close();
      return rate;
    };
    const contestants: Contestant<number>[] = [
      { row: 'offshoot: over HTTP, run in sandboxes, result kept', turns: TURNS, warmUp: 1, turn: ours },
      { row: 'BullMQ alone: added and run in one process', turns: TURNS, warmUp: 1, turn: plain },
    ];
    const standings = await interleave(contestants, run.stopping);

    return {
      name: 'queued',
      title: `Jobs of the queued lane: accepted and run, ${AT_ONCE} at a time`,
      figures: compared(standings.map((standing) => figureOf(standing, 'per second', ratesOf))),
      notes: [`medians of ${TURNS} runs of ${jobs} jobs`],
    };
  } finally {
    await platform.stop();
    for (const one of connections) one.disconnect();
    await redis.stop();
  }
}

function ratesOf(results: readonly number[], row: string): Figure {
  return figure(row, 'per second', results);
}

/** Calls `act` `count` times, AT_ONCE of them at the same time. */
async function atOnce(count: number, act: () => Promise<unknown>): Promise<void> {
  let left = count;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (left-- > 0) await act();
    }),
  );
}
