/**
 * The BullMQ queues of the queued lane: one for each namespace, under its hash tag. A job carries only the id of its
 * invocation. All other facts are in the record (records.ts), which outlives the job.
 */
import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { keys } from '#contract/platform/keys.ts';

export const QUEUE_NAME = 'queued';

/** Data of a job. A job of a schedule gets the id of its invocation when a worker takes it. */
export interface QueuedJob {
  readonly id?: string;
  /** Number of times that the invocation was redriven from the dead letters, this time included. */
  readonly again?: number;
  /** Name of the function, for jobs of a schedule. */
  readonly schedule?: string;
}

/** Bounds on completed jobs, which are kept for a while so that a repeated id is noticed. */
export const JOB_RETENTION = { age: 600, count: 1_000 } as const;
const WORKER_ATTEMPTS = 100_000;
const WORKER_RETRY_MS = 1_000;
const MAX_QUEUES = 1_000;

export class Queues {
  readonly #redis: Redis;
  readonly #queues = new Map<string, Queue<QueuedJob>>();

  /** `redis`: a connection of the role `commands`. */
  constructor(redis: Redis) {
    this.#redis = redis;
    // Each queue listens to its errors.
    redis.setMaxListeners(0);
  }

  of(namespace: string): Queue<QueuedJob> {
    let queue = this.#queues.get(namespace);
    if (!queue) {
      queue = new Queue(QUEUE_NAME, {
        connection: this.#redis,
        prefix: keys.queuePrefix(namespace),
        // While Redis is unavailable, commands fail at once instead of waiting.
        skipWaitingForReady: true,
        defaultJobOptions: {
          removeOnComplete: JOB_RETENTION,
          removeOnFail: JOB_RETENTION,
          // Attempts of workers that fail at a job, for example without Redis. The record counts those of the function.
          attempts: WORKER_ATTEMPTS,
          backoff: { type: 'fixed', delay: WORKER_RETRY_MS },
        },
        // No process reads these events, because results are in records.
        streams: { events: { maxLen: 100 } },
      });
      queue.on('error', () => undefined); // logged by the connection
      if (this.#queues.size >= MAX_QUEUES) this.#queues.clear();
      this.#queues.set(namespace, queue);
    }
    return queue;
  }

  /** Whether the invocation has a job, in any state. */
  async has(namespace: string, id: string, again = 0): Promise<boolean> {
    const key = `${keys.queuePrefix(namespace)}:${QUEUE_NAME}:${jobId(id, again)}`;
    return (await this.#redis.exists(key)) === 1;
  }

  /** Takes a job out of the queue; does nothing when a worker has it. */
  async remove(namespace: string, id: string, again = 0): Promise<void> {
    await this.of(namespace).remove(jobId(id, again));
  }

  /** Lets a delayed job begin now; does nothing when it is not delayed. */
  async promote(namespace: string, id: string, again = 0): Promise<void> {
    const job = await this.of(namespace).getJob(jobId(id, again));
    if (job && (await job.isDelayed())) await job.promote().catch(() => undefined); // it has begun meanwhile
  }

  /**
   * Puts an invocation into the queue of its namespace. The id of the job is derived from the invocation's, so a repeated call
   * after a lost answer of Redis adds nothing. `again` tells the redrives of a dead letter apart.
   */
  async add(
    namespace: string,
    id: string,
    {
      delayMs = 0,
      priority,
      again = 0,
    }: { delayMs?: number; priority?: number | undefined; again?: number } = {},
  ): Promise<void> {
    await this.of(namespace).add(
      'invocation',
      { id, ...(again > 0 && { again }) },
      {
        jobId: jobId(id, again),
        ...(delayMs > 0 && { delay: delayMs }),
        ...(priority !== undefined && { priority }),
      },
    );
  }
}

function jobId(id: string, again: number): string {
  return again === 0 ? id : `${id}-${again}`;
}
