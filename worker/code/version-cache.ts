/** Caches versions of functions that the gateway has stored. A version never changes, so it stays cached until it is removed. */
import type { Redis } from 'ioredis';
import { VersionRecord } from '#contract/api/api.ts';
import { keys } from '#contract/platform/keys.ts';

const MAX_KEPT = 5_000;

export interface LoadedVersion extends VersionRecord {
  readonly namespace: string;
  readonly name: string;
  /** `namespace/name@version`, the key of everything that belongs to this version. */
  readonly key: string;
}

export class Functions {
  readonly #redis: Redis;
  readonly #versions = new Map<string, LoadedVersion>();
  /** Number of removals. A version read while one happened may be gone, and is not cached. */
  #forgotten = 0;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** Returns the version; undefined when it does not exist (any more). */
  async get(namespace: string, name: string, version: number): Promise<LoadedVersion | undefined> {
    const key = `${namespace}/${name}@${version}`;
    const kept = this.#versions.get(key);
    if (kept) return kept;
    const forgotten = this.#forgotten;
    const json = await this.#redis.hget(keys.versions(namespace, name), String(version));
    if (!json) return undefined;
    const loaded = { ...VersionRecord.parse(JSON.parse(json)), namespace, name, key };
    if (forgotten !== this.#forgotten) return loaded;
    if (this.#versions.size >= MAX_KEPT) this.#versions.clear();
    this.#versions.set(key, loaded);
    return loaded;
  }

  /** Does the version still exist? Asks Redis, because this worker may have missed its removal. */
  async has(namespace: string, name: string, version: number): Promise<boolean> {
    return (await this.#redis.hexists(keys.versions(namespace, name), String(version))) === 1;
  }

  /** Drops all versions of the removed function `namespace/name`. */
  forget(name: string): void {
    this.#forgotten++;
    for (const key of this.#versions.keys()) if (key.startsWith(`${name}@`)) this.#versions.delete(key);
  }
}
