/**
 * Functions and their versions in Redis. Gateways and workers come to these keys through this class only. A change compares the
 * record with the text that was read. So of two changes at once, the second one reads anew.
 */
import type { Redis } from 'ioredis';
import type { z } from 'zod';
import { OffshootError } from '#contract/api/errors.ts';
import { FunctionRecord, reachableVersions, VersionRecord } from '#contract/functions/records.ts';
import type { FunctionSettings } from '#contract/functions/settings.ts';
import { keys } from '#contract/platform/keys.ts';
import { sharedNow } from '../redis/clock.ts';
import { Script } from '../redis/script.ts';
import { keepVersion } from './kept-versions.ts';

/** A function and its active version. */
export interface StoredFunction {
  readonly record: FunctionRecord;
  readonly active: VersionRecord;
}

/** Time for which a version stays after hold(): longer than its caller needs to write what refers to it. */
const HOLD_MS = 60_000;

/**
 * Writes a record that leads to a version. The version that was active before stays until a time, for the calls under way to it.
 *
 *   KEYS  functions; versions; times of kept versions
 *   ARGV  name, record as read, new record, its version, version before, time until which that stays
 *
 * The record as read and the version before are empty for a new function. Guarantee: a record never leads to a missing version.
 * Returns 1: done; 0: there is no such version; -1: the record has changed since it was read.
 */
const LEAD = new Script(`
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return -1 end
if redis.call('HEXISTS', KEYS[2], ARGV[4]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
if ARGV[5] ~= '' then redis.call('ZADD', KEYS[3], 'GT', ARGV[6], ARGV[5]) end
return 1`);

/**
 * Removes versions, except those that stay for something that refers to them.
 *
 *   KEYS  functions; versions; times of kept versions
 *   ARGV  name, record as read, time now, versions
 *
 * Returns -1: the record has changed since it was read, and may lead to one of them.
 */
const DISCARD = new Script(`
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return -1 end
for i = 4, #ARGV do
  local time = redis.call('ZSCORE', KEYS[3], ARGV[i])
  if not time or tonumber(time) <= tonumber(ARGV[3]) then
    redis.call('HDEL', KEYS[2], ARGV[i])
    redis.call('ZREM', KEYS[3], ARGV[i])
  end
end
return 1`);

const NamedDigest = VersionRecord.pick({ digest: true });

export class FunctionRepository {
  readonly #redis: Redis;

  /** `redis`: a connection of the role `commands`. */
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

  async hasFunctions(namespace: string): Promise<boolean> {
    return (await this.#redis.hlen(keys.functions(namespace))) > 0;
  }

  /** Throws `function_outdated`, as all readers of records do. */
  async record(namespace: string, name: string): Promise<FunctionRecord | undefined> {
    return (await this.#read(namespace, name)).record;
  }

  async find(namespace: string, name: string): Promise<StoredFunction | undefined> {
    const record = await this.record(namespace, name);
    const active = record && (await this.version(namespace, name, record.activeVersion));
    return active && { record, active };
  }

  async list(namespace: string): Promise<StoredFunction[]> {
    const found = await Promise.all((await this.names(namespace)).map((name) => this.find(namespace, name)));
    return found.filter((one) => one !== undefined);
  }

  async version(namespace: string, name: string, version: number): Promise<VersionRecord | undefined> {
    const stored = await this.#redis.hget(keys.versions(namespace, name), String(version));
    return stored === null ? undefined : parsed(VersionRecord, stored, namespace, name);
  }

  async hasVersion(namespace: string, name: string, version: number): Promise<boolean> {
    return (await this.#redis.hexists(keys.versions(namespace, name), String(version))) === 1;
  }

  /** Newest first. */
  async versions(namespace: string, name: string): Promise<VersionRecord[]> {
    const stored = await this.#redis.hvals(keys.versions(namespace, name));
    return stored
      .map((one) => parsed(VersionRecord, one, namespace, name))
      .toSorted((a, b) => b.version - a.version);
  }

  /** Keeps a version for a caller that is about to refer to it. False when there is no such version. */
  async hold(namespace: string, name: string, version: number): Promise<boolean> {
    return await keepVersion(this.#redis, { namespace, name, version }, sharedNow() + HOLD_MS);
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

  /**
   * Makes a loaded version the active one, and its settings those of the function, which is new or not. Of two simultaneous deploys
   * the newer one wins, in whatever order they load. `underWayMs`: time for which calls may be under way to the version before.
   * `absent`: there is no such version; `newer`: a newer version is active.
   */
  async deployed(
    namespace: string,
    name: string,
    version: number,
    settings: FunctionSettings,
    underWayMs: number,
  ): Promise<'done' | 'absent' | 'newer'> {
    const now = Date.now();
    const fresh = { namespace, name, createdAt: now };
    return await this.#lead(namespace, name, underWayMs, (before) =>
      (before?.activeVersion ?? 0) > version
        ? 'newer'
        : { ...(before ?? fresh), settings, activeVersion: version, updatedAt: now },
    );
  }

  /** Makes a version the active one and leaves the settings of the function as they are. `absent`: there is no such version. */
  async activate(
    namespace: string,
    name: string,
    version: number,
    underWayMs: number,
  ): Promise<'done' | 'absent'> {
    return await this.#lead(namespace, name, underWayMs, (before) =>
      before ? { ...before, activeVersion: version, updatedAt: Date.now() } : 'absent',
    );
  }

  /** Removes a version that failed to load, unless it is active. */
  async discardVersion(namespace: string, name: string, version: number): Promise<void> {
    await this.#discard(namespace, name, () => [version]);
  }

  /**
   * Removes versions that are older than the newest `most` ones, so that a function that is deployed all day does not grow for
   * ever. Versions that anything refers to stay: the record of the function, a record of an invocation, a batch, a call under way.
   */
  async trimVersions(namespace: string, name: string, most: number): Promise<void> {
    await this.#discard(namespace, name, (versions) => versions.toSorted((a, b) => b - a).slice(most));
  }

  /** False when there was no such function. The counter of versions stays, so that no number is used twice. */
  async remove(namespace: string, name: string): Promise<boolean> {
    const results = await this.#redis
      .multi()
      .hdel(keys.functions(namespace), name)
      .del(
        keys.versions(namespace, name),
        keys.keptVersions(namespace, name),
        keys.recent(namespace, name),
        keys.logStream(namespace, name),
      )
      .exec();
    return results?.[0]?.[1] === 1;
  }

  /**
   * The digests of all archives that a version of any function names, in records of any form. The first version of a function that
   * is just being loaded is not among them yet. Throws when a record has no digest, because its archive must not count as unneeded.
   */
  async namedDigests(): Promise<Set<string>> {
    const digests = new Set<string>();
    for (const namespace of await this.namespaces())
      for (const name of await this.names(namespace))
        for (const stored of await this.#redis.hvals(keys.versions(namespace, name)))
          digests.add(NamedDigest.parse(JSON.parse(stored)).digest);
    return digests;
  }

  /** Announces a change to every gateway: `namespace/name`, or `*` for namespaces and API keys. */
  async announce(change: string): Promise<void> {
    await this.#redis.publish(keys.changes(), change);
  }

  async #read(namespace: string, name: string): Promise<{ raw: string; record?: FunctionRecord }> {
    const raw = await this.#redis.hget(keys.functions(namespace), name);
    return raw === null ? { raw: '' } : { raw, record: parsed(FunctionRecord, raw, namespace, name) };
  }

  async #lead<R extends string>(
    namespace: string,
    name: string,
    underWayMs: number,
    change: (before: FunctionRecord | undefined) => FunctionRecord | R,
  ): Promise<'done' | 'absent' | R> {
    for (;;) {
      const { raw, record: before } = await this.#read(namespace, name);
      const after = change(before);
      if (typeof after === 'string') return after;
      const values = [name, raw, JSON.stringify(after), after.activeVersion];
      values.push(before?.activeVersion ?? '', sharedNow() + underWayMs);
      const done = await LEAD.run(this.#redis, touchedBy(namespace, name), values);
      if (done !== -1) return done === 1 ? 'done' : 'absent';
    }
  }

  /** `choose`: picks from the numbers of all versions. */
  async #discard(
    namespace: string,
    name: string,
    choose: (versions: readonly number[]) => readonly number[],
  ): Promise<void> {
    for (;;) {
      const { raw, record } = await this.#read(namespace, name);
      const all = await this.#redis.hkeys(keys.versions(namespace, name));
      const reachable = new Set(record && reachableVersions(record));
      const chosen = choose(all.map(Number)).filter((version) => !reachable.has(version));
      if (chosen.length === 0) return;
      const values = [name, raw, sharedNow(), ...chosen];
      if ((await DISCARD.run(this.#redis, touchedBy(namespace, name), values)) !== -1) return;
    }
  }
}

function touchedBy(namespace: string, name: string): string[] {
  return [keys.functions(namespace), keys.versions(namespace, name), keys.keptVersions(namespace, name)];
}

/** Nothing converts a record of an older form, because its function can be deployed again. */
function parsed<T>(schema: z.ZodType<T>, stored: string, namespace: string, name: string): T {
  const found = schema.safeParse(JSON.parse(stored));
  if (found.success) return found.data;
  throw new OffshootError(
    'function_outdated',
    `Redis holds the function "${namespace}/${name}" in a form that this version of Offshoot does not read; type: offshoot rm ${namespace}/${name}`,
    { cause: found.error },
  );
}
