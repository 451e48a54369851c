/**
 * Reports to Redis, several times a second, that this worker lives, and its load. Other processes take a silent worker for dead.
 */
import type { Redis } from 'ioredis';
import type { WorkerStatus } from '#contract/api/api.ts';
import { keys } from '#contract/platform/keys.ts';
import { WORKER_HEARTBEAT_MS, WORKER_TTL_MS } from '#contract/functions/limits.ts';
import { sharedNow } from '#storage/redis/clock.ts';

export class Heartbeat {
  readonly #redis: Redis;
  readonly #status: () => WorkerStatus;
  #timer: NodeJS.Timeout | undefined;

  constructor(redis: Redis, status: () => WorkerStatus) {
    this.#redis = redis;
    this.#status = status;
  }

  async start(): Promise<void> {
    this.#timer = setInterval(() => void this.#beat(), WORKER_HEARTBEAT_MS);
    await this.#beat();
  }

  /** Removes this worker from Redis, so that other processes need not wait for the silence. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    const { id } = this.#status();
    await Promise.all([this.#redis.del(keys.worker(id)), this.#redis.zrem(keys.workers(), id)]).catch(
      () => undefined,
    );
  }

  async #beat(): Promise<void> {
    const status = this.#status();
    await Promise.all([
      this.#redis.set(keys.worker(status.id), JSON.stringify(status), 'PX', WORKER_TTL_MS),
      this.#redis.zadd(keys.workers(), sharedNow(), status.id),
    ]).catch(() => undefined);
  }
}
