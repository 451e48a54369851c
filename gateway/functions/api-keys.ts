/**
 * Keeps API keys in Redis. A key is 32 random bytes. Redis has its sha256 and never the key, so a reader of Redis cannot call
 * the API. A slow hash would add nothing, because 256 random bits cannot be guessed.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { ApiKeyRecord, type Scope } from '#contract/api/api.ts';
import { keys } from '#contract/platform/keys.ts';
import { EVERY_NAMESPACE } from '#contract/functions/names.ts';

export const API_KEY_PREFIX = 'osk_';

export class ApiKeyStore {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  async find(key: string): Promise<ApiKeyRecord | undefined> {
    return await this.findByHash(hashOfKey(key));
  }

  async findByHash(hash: string): Promise<ApiKeyRecord | undefined> {
    const stored = await this.#redis.hget(keys.apiKeys(), hash);
    return stored === null ? undefined : ApiKeyRecord.parse(JSON.parse(stored));
  }

  /** Registers a key, by default a new random one. Only the result holds the key itself; Redis does not. */
  async add(
    namespace: string,
    scopes: readonly Scope[],
    key = API_KEY_PREFIX + randomBytes(32).toString('base64url'),
  ): Promise<{ key: string; record: ApiKeyRecord }> {
    const record: ApiKeyRecord = {
      id: randomBytes(8).toString('hex'),
      namespace,
      scopes: [...scopes],
      last4: key.slice(-4),
      createdAt: Date.now(),
    };
    await this.#redis.hset(keys.apiKeys(), hashOfKey(key), JSON.stringify(record));
    return { key, record };
  }

  async list(): Promise<ApiKeyRecord[]> {
    const stored = await this.#redis.hvals(keys.apiKeys());
    return stored
      .map((one) => ApiKeyRecord.parse(JSON.parse(one)))
      .toSorted((a, b) => a.createdAt - b.createdAt);
  }

  async isEmpty(): Promise<boolean> {
    return (await this.#redis.hlen(keys.apiKeys())) === 0;
  }

  /** False when there is no key with this id. */
  async remove(id: string): Promise<boolean> {
    const all = await this.#redis.hgetall(keys.apiKeys());
    for (const [hash, stored] of Object.entries(all)) {
      if (ApiKeyRecord.parse(JSON.parse(stored)).id !== id) continue;
      return (await this.#redis.hdel(keys.apiKeys(), hash)) === 1;
    }
    return false;
  }
}

/** The form of a key that Redis has. */
export function hashOfKey(key: string): string {
  return createHash('sha256').update(key).digest('hex');
}

/** Whether the key has this scope in this namespace. */
export function allows(record: ApiKeyRecord, scope: Scope, namespace: string): boolean {
  return (
    (record.namespace === EVERY_NAMESPACE || record.namespace === namespace) && record.scopes.includes(scope)
  );
}
