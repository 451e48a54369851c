/**
 * Keeps the archives that no version names, each with the time at which that began. A client that is about to name an archive
 * claims it, and its time begins anew. So it cannot be removed between upload and deploy, nor while its first version loads.
 */
import type { Redis } from 'ioredis';
import { keys } from '#contract/platform/keys.ts';
import { Script } from '#storage/redis/script.ts';

/** Lifetime of the mark of a removal: longer than a store needs to remove an archive, with all retries. */
const REMOVAL_MS = 300_000;
const AT_ONCE = 500;

/** KEYS: the times; the mark of this archive's removal. ARGV: digest. 1: the archive stays; 0: it is being removed. */
const CLAIM = new Script(`
  if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
  redis.call('ZREM', KEYS[1], ARGV[1])
  return 1
`);

/** The same KEYS. ARGV: digest, latest begin of its time, lifetime of the mark in milliseconds. 1: it may be removed. */
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

  /** Ends the time of an archive, so that it is not removed soon. False: it is being removed at this moment. */
  async claim(digest: string): Promise<boolean> {
    return (await CLAIM.run(this.#redis, keysOf(digest), [digest])) === 1;
  }

  /** Notes that exactly these archives had no version at `now`: their times begin, and the times of all others end. */
  async found(digests: ReadonlySet<string>, now: number): Promise<void> {
    const known = await this.#redis.zrange(keys.unnamedArchives(), 0, '-1');
    await this.#inPieces(
      known.filter((digest) => !digests.has(digest)),
      (piece) => this.#redis.zrem(keys.unnamedArchives(), ...piece),
    );
    // NX: archives that were noted before keep their time.
    await this.#inPieces([...digests], (piece) =>
      this.#redis.zadd(keys.unnamedArchives(), 'NX', ...piece.flatMap((digest) => [now, digest])),
    );
  }

  async #inPieces(digests: readonly string[], each: (piece: string[]) => Promise<unknown>): Promise<void> {
    for (let from = 0; from < digests.length; from += AT_ONCE)
      await each(digests.slice(from, from + AT_ONCE));
  }

  /** Digests of archives that have had no version since then. */
  async since(before: number): Promise<string[]> {
    return await this.#redis.zrangebyscore(keys.unnamedArchives(), '-inf', before);
  }

  /** True: the caller may remove the archive, and no claim succeeds until removed(), or for some minutes. */
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
