/** Versions of functions, as the gateway stored them. A version never changes, so what was read once is kept. */
import type { Redis } from 'ioredis';
import { VersionRecord } from '#contract/api.ts';
import { keys } from '#contract/keys.ts';

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

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** Undefined when there is no such version (any more). */
  async get(namespace: string, name: string, version: number): Promise<LoadedVersion | undefined> {
    const key = `${namespace}/${name}@${version}`;
    const kept = this.#versions.get(key);
    if (kept) return kept;
    const json = await this.#redis.hget(keys.versions(namespace, name), String(version));
    if (!json) return undefined;
    const loaded = { ...VersionRecord.parse(JSON.parse(json)), namespace, name, key };
    if (this.#versions.size >= MAX_KEPT) this.#versions.clear();
    this.#versions.set(key, loaded);
    return loaded;
  }
}
