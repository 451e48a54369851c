/** Keeps functions and their versions in Redis. */
import type { Redis } from 'ioredis';
import { FunctionRecord, VersionRecord } from '#contract/api/api.ts';
import { keys } from '#contract/platform/keys.ts';
import type { StoredFunction } from '../dispatch/target.ts';

/**
 * Makes a version the active one, and creates the function when it is new.
 *
 *   KEYS[1]  hash of functions      ARGV[1]  name         ARGV[3]  time now
 *   KEYS[2]  hash of versions       ARGV[2]  version      ARGV[4]  namespace
 *                                   ARGV[5]  1: not when a newer version is active
 *
 * Guarantee: a function never points to a missing version. Of two simultaneous deploys the newer one wins, in whatever order
 * they load. Returns 1: done; 0: there is no such version; -1: a newer version is active.
 */
const ACTIVATE = `
  if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 0 then return 0 end
  local stored = redis.call('HGET', KEYS[1], ARGV[1])
  local record = stored and cjson.decode(stored)
    or { namespace = ARGV[4], name = ARGV[1], createdAt = tonumber(ARGV[3]) }
  local version = tonumber(ARGV[2])
  if ARGV[5] == '1' and record.activeVersion and record.activeVersion > version then return -1 end
  record.activeVersion = version
  record.updatedAt = tonumber(ARGV[3])
  redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(record))
  return 1
`;

/**
 * Removes a version unless it is active, so that a deploy that failed to load leaves nothing behind.
 *
 *   KEYS[1]  hash of functions          ARGV[1]  name
 *   KEYS[2]  hash of versions           ARGV[2]  version
 */
const DISCARD = `
  local stored = redis.call('HGET', KEYS[1], ARGV[1])
  if stored and cjson.decode(stored).activeVersion == tonumber(ARGV[2]) then return 0 end
  return redis.call('HDEL', KEYS[2], ARGV[2])
`;

export class FunctionStore {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  async namespaces(): Promise<string[]> {
    return (await this.#redis.smembers(keys.namespaces())).toSorted();
  }

  async hasNamespace(namespace: string): Promise<boolean> {
    return (await this.#redis.sismember(keys.namespaces(), namespace)) === 1;
  }

  /** True when the namespace is new. */
  async addNamespace(namespace: string): Promise<boolean> {
    return (await this.#redis.sadd(keys.namespaces(), namespace)) === 1;
  }

  async names(namespace: string): Promise<string[]> {
    return (await this.#redis.hkeys(keys.functions(namespace))).toSorted();
  }

  async find(namespace: string, name: string): Promise<StoredFunction | undefined> {
    const stored = await this.#redis.hget(keys.functions(namespace), name);
    if (stored === null) return undefined;
    const record = FunctionRecord.parse(JSON.parse(stored));
    const active = await this.version(namespace, name, record.activeVersion);
    return active && { record, active };
  }

  async list(namespace: string): Promise<StoredFunction[]> {
    const found = await Promise.all((await this.names(namespace)).map((name) => this.find(namespace, name)));
    return found.filter((one) => one !== undefined);
  }

  async version(namespace: string, name: string, version: number): Promise<VersionRecord | undefined> {
    const stored = await this.#redis.hget(keys.versions(namespace, name), String(version));
    return stored === null ? undefined : VersionRecord.parse(JSON.parse(stored));
  }

  async hasVersion(namespace: string, name: string, version: number): Promise<boolean> {
    return (await this.#redis.hexists(keys.versions(namespace, name), String(version))) === 1;
  }

  /** Newest first. */
  async versions(namespace: string, name: string): Promise<VersionRecord[]> {
    const stored = await this.#redis.hvals(keys.versions(namespace, name));
    return stored
      .map((one) => VersionRecord.parse(JSON.parse(one)))
      .toSorted((a, b) => b.version - a.version);
  }

  /** Stores a version under the next free number. Calls do not go to it yet. */
  async addVersion(
    namespace: string,
    name: string,
    facts: Omit<VersionRecord, 'version'>,
  ): Promise<VersionRecord> {
    const version = await this.#redis.incr(keys.versionCounter(namespace, name));
    const record = { version, ...facts };
    await this.#redis.hset(keys.versions(namespace, name), String(version), JSON.stringify(record));
    return record;
  }

  /** `absent`: there is no such version; `newer`: a newer version is active, and `unlessNewer` was set. */
  async activate(
    namespace: string,
    name: string,
    version: number,
    { unlessNewer = false } = {},
  ): Promise<'done' | 'absent' | 'newer'> {
    const hashes = [keys.functions(namespace), keys.versions(namespace, name)];
    const facts = [name, version, Date.now(), namespace, unlessNewer ? 1 : 0];
    const result = await this.#redis.eval(ACTIVATE, hashes.length, ...hashes, ...facts);
    if (result === 1) return 'done';
    return result === -1 ? 'newer' : 'absent';
  }

  async discardVersion(namespace: string, name: string, version: number): Promise<void> {
    const hashes = [keys.functions(namespace), keys.versions(namespace, name)];
    await this.#redis.eval(DISCARD, hashes.length, ...hashes, name, version);
  }

  /** Keeps the newest versions and the active one, so that a function that is deployed all day does not grow for ever. */
  async trimVersions(namespace: string, name: string, keep: number, active: number): Promise<void> {
    const old = (await this.versions(namespace, name)).slice(keep).filter((one) => one.version !== active);
    await Promise.all(old.map((one) => this.discardVersion(namespace, name, one.version)));
  }

  /** False when there was no such function. The counter of versions stays, so that no number is used twice. */
  async remove(namespace: string, name: string): Promise<boolean> {
    const results = await this.#redis
      .multi()
      .hdel(keys.functions(namespace), name)
      .del(keys.versions(namespace, name), keys.recent(namespace, name), keys.logStream(namespace, name))
      .exec();
    return results?.[0]?.[1] === 1;
  }

  /** Announces a change to every gateway: `namespace/name`, or `*` for namespaces and API keys. */
  async announce(change: string): Promise<void> {
    await this.#redis.publish(keys.changes(), change);
  }
}
