/**
 * Announces that this gateway is alive, and deletes the lists that dead processes leave in Redis. A worker that answers a dead
 * gateway pushes to a list without a reader. So does a gateway that cancels a call of a dead worker.
 */
import type { Redis } from 'ioredis';
import { keys } from '#contract/platform/keys.ts';
import type { Log } from '#storage/log.ts';
import { sharedNow } from '#storage/redis/clock.ts';

const INTERVAL_MS = 10_000;
/** Silence after which a gateway or worker counts as dead. */
const DEAD_AFTER_MS = 60_000;
/** Silence after which it is forgotten: longer than a function may run, so nothing is pushed to its list any more. */
const FORGET_AFTER_MS = 25 * 3_600_000;

export class Heartbeat {
  readonly #redis: Redis;
  readonly #id: string;
  readonly #log: Log;
  #timer: NodeJS.Timeout | undefined;

  constructor(redis: Redis, id: string, log: Log) {
    this.#redis = redis;
    this.#id = id;
    this.#log = log;
  }

  start(): void {
    this.#timer = setInterval(() => void this.#beat(), INTERVAL_MS);
    this.#redis.on('ready', () => void this.#beat());
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#redis.del(keys.replies(this.#id)).catch(() => undefined);
    await this.#redis.zrem(keys.gateways(), this.#id).catch(() => undefined);
  }

  async #beat(): Promise<void> {
    const now = sharedNow();
    try {
      await this.#redis.zadd(keys.gateways(), now, this.#id);
      await this.#clear(keys.gateways(), keys.replies, now);
      await this.#clear(keys.workers(), keys.control, now);
    } catch (error) {
      // Redis is unavailable; the next beat does the work that this one missed.
      this.#log.info({ error: String(error) }, 'the heartbeat of this gateway was not noted');
    }
  }

  async #clear(register: string, listOf: (id: string) => string, now: number): Promise<void> {
    const dead = await this.#redis.zrangebyscore(register, '-inf', now - DEAD_AFTER_MS);
    await Promise.all(dead.map((id) => this.#redis.del(listOf(id))));
    await this.#redis.zremrangebyscore(register, '-inf', now - FORGET_AFTER_MS);
  }
}
