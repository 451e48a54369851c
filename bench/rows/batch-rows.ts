/**
 * A batch of very many items: its speed, and the proof that the memory of gateway and worker does not grow with it.
 * Their resident set is sampled while the batch runs; growth over the second half would go on with more items.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Batch, ItemsTaken } from '#contract/invocations/batch.ts';
import { Redis } from 'ioredis';
import { parseRedisUrl } from '#storage/redis/redis.ts';
import { startRedis } from '../../infra/platform/redis.ts';
import { startOwnPlatform, type OwnPlatform } from '../measure/own-platform.ts';
import type { Run } from '../measure/run.ts';
import { HELLO } from './sandbox-rows.ts';
import { figure, type Figure, type Section } from '../measure/stats.ts';

const ORDERS = `export default {
  queue(batch) {
    return batch.messages.map(({ body }) => ({ total: body.quantity * 3 }));
  },
};
`;
const MB = 1024 * 1024;
const LOOK_MS = 100;
const LINES_AT_ONCE = 1_000;

export async function batchSection(run: Run): Promise<Section> {
  const { items } = run.counts;
  const redis = await startRedis({ dir: join(run.temporary, 'redis') });
  const platform = await startOwnPlatform(run, redis.url);
  try {
    await platform.deploy('orders', ORDERS, { memory: 64 });
    await platform.deploy('hello', HELLO, { memory: 64 });
    const together = await runBatch(platform, 'orders', items, run.stopping);
    const alone = await runBatch(platform, 'hello', Math.ceil(items / 10), run.stopping);
    return {
      name: 'batch',
      title: `Batches: items sent over HTTP as they are run`,
      figures: [
        figure(`queue(), 100 items at a time: ${items} items`, 'per second', [together.rate]),
        figure(`without queue(), one by one: ${Math.ceil(items / 10)} items`, 'per second', [alone.rate]),
        ...memoryFigures('gateway', together.gateway),
        ...memoryFigures('worker', together.worker),
        figure('Redis: used memory at the end of both', 'MB', [await redisMb(redis.url)]),
      ],
      notes: ['memory: resident set while the first row ran'],
    };
  } finally {
    await platform.stop();
    await redis.stop();
  }
}

interface Ran {
  readonly rate: number;
  /** Samples in MB. */
  readonly gateway: readonly number[];
  readonly worker: readonly number[];
}

async function runBatch(
  { url, key, pids }: OwnPlatform,
  name: string,
  items: number,
  stopping: AbortSignal,
): Promise<Ran> {
  const gateway: number[] = [];
  const worker: number[] = [];
  const looking = setInterval(() => {
    gateway.push(residentMb(pids.gateway));
    worker.push(residentMb(pids.worker));
  }, LOOK_MS);
  try {
    const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/x-ndjson' };
    const start = performance.now();
    // `duplex` is in the fetch standard, but in no type declaration here.
    const init: RequestInit & { duplex: 'half' } = {
      method: 'POST',
      headers,
      body: linesOf(items),
      duplex: 'half',
      signal: stopping,
    };
    const sent = await fetch(`${url}/api/v1/functions/default/${name}/batches`, init);
    const { batch } = (await sent.json()) as ItemsTaken;
    let now: Batch = batch;
    while (now.endedAt === undefined) {
      await sleep(LOOK_MS, undefined, { signal: stopping });
      now = (await (await fetch(`${url}/api/v1/batches/${batch.id}`, { headers })).json()) as Batch;
    }
    const rate = (items / (performance.now() - start)) * 1000;
    if (now.succeeded !== items) throw new Error(`of ${items} items ${now.succeeded} succeeded`);
    return { rate, gateway, worker };
  } finally {
    clearInterval(looking);
  }
}

function linesOf(items: number): ReadableStream<Uint8Array> {
  let made = 0;
  return new ReadableStream({
    pull(controller) {
      let text = '';
      for (let line = 0; line < LINES_AT_ONCE && made < items; line++, made++) {
        text += `{"order":"order-${made}","quantity":${made % 100}}\n`;
      }
      controller.enqueue(Buffer.from(text));
      if (made === items) controller.close();
    },
  });
}

function memoryFigures(name: string, looks: readonly number[]): Figure[] {
  const quarter = Math.ceil(looks.length / 4);
  return [
    figure(`memory of the ${name}: second quarter of the time`, 'MB', looks.slice(quarter, 2 * quarter)),
    figure(`memory of the ${name}: last quarter`, 'MB', looks.slice(-quarter)),
    figure(`memory of the ${name}: the most`, 'MB', [Math.max(...looks)]),
  ];
}

function residentMb(pid: number): number {
  const kb = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kb) / 1024;
}

async function redisMb(url: string): Promise<number> {
  const redis = new Redis({ ...parseRedisUrl(url), replyMapping: 'legacy' });
  try {
    return Number(/^used_memory:(\d+)/m.exec(await redis.info('memory'))?.[1]) / MB;
  } finally {
    redis.disconnect();
  }
}
