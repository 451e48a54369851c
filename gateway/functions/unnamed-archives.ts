/**
 * Archives that no version names, with the time since which that is so. Whoever is about to name one claims it: its time begins
 * anew then, so that it cannot go between an upload and the deploy, nor while its first version is loaded.
 */
import type { Redis } from 'ioredis';
import { keys } from '#contract/platform/keys.ts';
import { Script } from '#storage/redis/script.ts';

/** Longer than the requests take by which a store removes an archive, with all that is tried again. */
const REMOVAL_MS = 300_000;
const AT_ONCE = 500;

/** KEYS: the times; set while this archive is removed. ARGV: digest. 1: it stays; 0: somebody is removing it. */
const CLAIM = new Script(`
  if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
  redis.call('ZREM', KEYS[1], ARGV[1])
  return 1
`);

/** The same KEYS. ARGV: digest, before when it must have begun, milliseconds of the removal. 1: it may be removed. */
const TAKE = new Script(`
  local since = redis.call('ZSCORE', KEYS[1], ARGV[1])
  if not since or tonumber(since) > tonumber(ARGV[2]) then return 0 end
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('SET', KEYS[2], '1', 'PX', ARGV[3])
  return 1
`);

export class UnnamedArchives {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** From now on it has all its time again. False: it is being removed at this moment. */
  async claim(digest: string): Promise<boolean> {
    return (await CLAIM.run(this.#redis, keysOf(digest), [digest])) === 1;
  }

  /** Of the archives that there are, these were found without a version at a time; of all others the time ends. */
  async found(digests: ReadonlySet<string>, now: number): Promise<void> {
    const known = await this.#redis.zrange(keys.unnamedArchives(), 0, '-1');
    await this.#inPieces(
      known.filter((digest) => !digests.has(digest)),
      (piece) => this.#redis.zrem(keys.unnamedArchives(), ...piece),
    );
    // NX: those that were found before keep their time.
    await this.#inPieces([...digests], (piece) =>
      this.#redis.zadd(keys.unnamedArchives(), 'NX', ...piece.flatMap((digest) => [now, digest])),
    );
  }

  async #inPieces(digests: readonly string[], each: (piece: string[]) => Promise<unknown>): Promise<void> {
    for (let from = 0; from < digests.length; from += AT_ONCE)
      await each(digests.slice(from, from + AT_ONCE));
  }

  /** Those that have been without a version since then. */
  async since(before: number): Promise<string[]> {
    return await this.#redis.zrangebyscore(keys.unnamedArchives(), '-inf', before);
  }

  /** True: whoever asks may remove it, and nobody claims it until removed() or some minutes have passed. */
  async take(digest: string, before: number): Promise<boolean> {
    return (await TAKE.run(this.#redis, keysOf(digest), [digest, before, REMOVAL_MS])) === 1;
  }

  async removed(digest: string): Promise<void> {
    await this.#redis.del(keys.archiveRemoval(digest));
  }
}

function keysOf(digest: string): string[] {
  return [keys.unnamedArchives(), keys.archiveRemoval(digest)];
}
