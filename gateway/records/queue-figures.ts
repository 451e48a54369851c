/** Reads from Redis, at each scrape, the queue lengths, dead letters and open batches of each namespace. */
import type { Redis } from 'ioredis';
import type { AnyInvocation } from '#contract/invocations/invocation.ts';
import { keys } from '#contract/platform/keys.ts';
import type { BatchStore } from '#storage/queued/batches.ts';
import { sharedNow } from '#storage/redis/clock.ts';
import type { Queues } from '#storage/queued/jobs.ts';

/** Upper bound on the namespaces with figures of their own; those of further ones are added up under `other`. */
const MAX_NAMESPACES = 100;
/** Upper bound on the namespaces that one scrape reads, so that it stays cheap. */
const MAX_LOOKED_AT = 1_000;
/** Upper bound on the batches that one scrape reads, the newest of each namespace. */
const MAX_BATCHES = 1_000;

export interface QueueSources {
  readonly commands: Redis;
  readonly queues: Queues;
  readonly batches: Pick<BatchStore, 'newest'>;
}

/** Figures of one namespace, or of all others together. Ages are seconds. */
export interface QueueFigures {
  readonly namespace: string;
  /** Waiting calls of the sync lane. */
  readonly calls: number;
  readonly waiting: number;
  readonly delayed: number;
  readonly active: number;
  /** Wait of the oldest job that is due and has no priority; 0 when none waits. */
  readonly oldestWaiting: number;
  readonly dead: number;
  readonly oldestDead: number;
}

export interface BatchFigures {
  readonly namespace: string;
  /** Batches that may get more items, and batches that have all their items. */
  readonly open: number;
  readonly running: number;
  /** Items of both. */
  readonly waiting: number;
  readonly succeeded: number;
  readonly failed: number;
}

export async function queueFigures(
  sources: QueueSources,
  namespaces: readonly string[],
): Promise<QueueFigures[]> {
  const found = await Promise.all(
    namespaces.slice(0, MAX_LOOKED_AT).map((namespace) => ofNamespace(sources, namespace)),
  );
  const [first, ...more] = found.slice(MAX_NAMESPACES);
  const own = found.slice(0, MAX_NAMESPACES);
  return first ? [...own, { ...more.reduce(added, first), namespace: 'other' }] : own;
}

async function ofNamespace(sources: QueueSources, namespace: string): Promise<QueueFigures> {
  const { commands, queues } = sources;
  const [calls, dead, [, endedAt], counts] = await Promise.all([
    commands.llen(keys.lane(namespace)),
    commands.zcard(keys.dead(namespace)),
    commands.zrange(keys.dead(namespace), 0, '0', 'WITHSCORES'),
    queues.of(namespace).getJobCounts('wait', 'prioritized', 'delayed', 'active'),
  ]);
  const { wait = 0, prioritized = 0, delayed = 0, active = 0 } = counts;
  const since = wait > 0 ? await oldestSince(sources, namespace) : undefined;
  return {
    namespace,
    calls,
    waiting: wait + prioritized,
    delayed,
    active,
    oldestWaiting: age(since),
    dead,
    oldestDead: age(endedAt === undefined ? undefined : Number(endedAt)),
  };
}

/** Unix time since which the next job has been due. */
async function oldestSince(
  { commands, queues }: QueueSources,
  namespace: string,
): Promise<number | undefined> {
  const [job] = await queues.of(namespace).getJobs(['wait'], 0, 0, true);
  if (!job) return undefined; // taken just now
  const stored = job.data.id === undefined ? null : await commands.get(keys.invocation(job.data.id));
  if (stored === null) return job.timestamp;
  const record = JSON.parse(stored) as AnyInvocation;
  return Math.max(record.startedAt, record.state === 'done' ? job.timestamp : (record.dueAt ?? 0));
}

function age(since: number | undefined): number {
  return since === undefined ? 0 : Math.max(0, sharedNow() - since) / 1_000;
}

function added(a: QueueFigures, b: QueueFigures): QueueFigures {
  return {
    namespace: a.namespace,
    calls: a.calls + b.calls,
    waiting: a.waiting + b.waiting,
    delayed: a.delayed + b.delayed,
    active: a.active + b.active,
    oldestWaiting: Math.max(a.oldestWaiting, b.oldestWaiting),
    dead: a.dead + b.dead,
    oldestDead: Math.max(a.oldestDead, b.oldestDead),
  };
}

/** Figures of the open batches of the first MAX_NAMESPACES namespaces; further namespaces are left out. */
export async function batchFigures(
  { batches }: QueueSources,
  namespaces: readonly string[],
): Promise<BatchFigures[]> {
  const asked = namespaces.slice(0, MAX_NAMESPACES);
  const each = Math.floor(MAX_BATCHES / Math.max(1, asked.length));
  return await Promise.all(
    asked.map(async (namespace) => {
      const newest = await batches.newest(namespace, each);
      const [open, running] = (['open', 'running'] as const).map((state) =>
        newest.filter((one) => one.state === state),
      );
      const both = [...(open ?? []), ...(running ?? [])];
      const sum = (of: 'items' | 'succeeded' | 'failed'): number =>
        both.reduce((total, one) => total + one[of], 0);
      const [succeeded, failed] = [sum('succeeded'), sum('failed')];
      return {
        namespace,
        open: open?.length ?? 0,
        running: running?.length ?? 0,
        // A group that will be retried keeps the counts of its last report, so they never exceed its items.
        waiting: Math.max(0, sum('items') - succeeded - failed),
        succeeded,
        failed,
      };
    }),
  );
}
