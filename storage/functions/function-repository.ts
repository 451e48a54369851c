/**
 * Functions and their versions in Redis. Gateways and workers come to these keys through this class only; record-changes.ts and
 * kept-versions.ts are its parts.
 */
import type { Redis } from 'ioredis';
import { type FunctionRecord, VersionRecord } from '#contract/functions/records.ts';
import type { FunctionSettings } from '#contract/functions/settings.ts';
import { keys } from '#contract/platform/keys.ts';
import { sharedNow } from '../redis/clock.ts';
import { keepVersion } from './kept-versions.ts';
import { changeRecord, discardVersions, parsed, readRecord } from './record-changes.ts';

/** A function and its active version. */
export interface StoredFunction {
  readonly record: FunctionRecord;
  readonly active: VersionRecord;
}

/** Time for which a version stays after hold(): longer than its caller needs to write what refers to it. */
const HOLD_MS = 60_000;

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
    return (await readRecord(this.#redis, namespace, name)).record;
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
    return await changeRecord(this.#redis, { namespace, name }, underWayMs, (before) =>
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
    return await changeRecord(this.#redis, { namespace, name }, underWayMs, (before) =>
      before ? { ...before, activeVersion: version, updatedAt: Date.now() } : 'absent',
    );
  }

  /** Removes a version that failed to load, unless it is active. */
  async discardVersion(namespace: string, name: string, version: number): Promise<void> {
    await discardVersions(this.#redis, { namespace, name }, () => [version]);
  }

  /**
   * Removes versions that are older than the newest `most` ones, so that a function that is deployed all day does not grow for
   * ever. Versions that anything refers to stay: the record of the function, a record of an invocation, a batch, a call under way.
   */
  async trimVersions(namespace: string, name: string, most: number): Promise<void> {
    await discardVersions(this.#redis, { namespace, name }, (versions) =>
      versions.toSorted((a, b) => b - a).slice(most),
    );
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
}
