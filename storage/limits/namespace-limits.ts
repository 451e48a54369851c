/** Keeps the limits of namespaces that an administrator has set. */
import type { Redis } from 'ioredis';
import { keys } from '#contract/platform/keys.ts';
import { NamespaceLimits } from '#contract/functions/quota.ts';

export class NamespaceLimitsStore {
  readonly #redis: Redis;

  /** `redis`: a connection of the role `commands`. */
  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** Undefined for a namespace without limits. */
  async find(namespace: string): Promise<NamespaceLimits | undefined> {
    const stored = await this.#redis.hget(keys.limits(), namespace);
    return stored === null ? undefined : NamespaceLimits.parse(JSON.parse(stored));
  }

  /** Limits of all namespaces that have any. */
  async all(): Promise<Map<string, NamespaceLimits>> {
    const stored = await this.#redis.hgetall(keys.limits());
    return new Map(
      Object.entries(stored).map(([namespace, json]) => [namespace, NamespaceLimits.parse(JSON.parse(json))]),
    );
  }

  /** Replaces all limits of a namespace; an empty object removes them. */
  async set(namespace: string, limits: NamespaceLimits): Promise<void> {
    if (Object.keys(limits).length === 0) await this.#redis.hdel(keys.limits(), namespace);
    else await this.#redis.hset(keys.limits(), namespace, JSON.stringify(limits));
  }
}
