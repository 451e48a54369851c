/** Versions of functions, as the gateway stored them. A version never changes, so what was read once is kept until it is removed. */
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
  /** How often something was forgotten: what was read meanwhile may be gone, and is not kept. */
  #forgotten = 0;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** Undefined when there is no such version (any more). */
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

  /** Whether the version is still there. Asks Redis, because a worker may have missed that it was removed. */
  async has(namespace: string, name: string, version: number): Promise<boolean> {
    return (await this.#redis.hexists(keys.versions(namespace, name), String(version))) === 1;
  }

  /** The function `namespace/name` was removed, with all its versions. */
  forget(name: string): void {
    this.#forgotten++;
    for (const key of this.#versions.keys()) if (key.startsWith(`${name}@`)) this.#versions.delete(key);
  }
}
