/** Keeps the index of each namespace's dead letters, which failed for good, by time of end. The records decide what is true. */
import type { Redis } from 'ioredis';
import type { InvocationRecord } from '#contract/invocations/invocation.ts';
import { keys, RECORD_TTL_S } from '#contract/platform/keys.ts';
import { sharedNow } from '../redis/clock.ts';
import type { QueuedStore, Versioned } from './records.ts';
import { Script } from '../redis/script.ts';

/** Upper bound on the entries that are read together. */
const PAGE = 500;

/** Removes an entry unless it was made anew since it was read. */
const REMOVE = new Script(`
if redis.call('ZSCORE', KEYS[1], ARGV[1]) == ARGV[2] then return redis.call('ZREM', KEYS[1], ARGV[1]) end
return 0`);

/** An invocation that has failed for good. */
export interface DeadLetter extends Versioned {
  readonly record: InvocationRecord;
  /** Its score in the index, as Redis writes it. */
  readonly at: string;
}

/** Selects dead letters of a namespace. */
export interface DeadLetterFilter {
  readonly ids?: readonly string[] | undefined;
  /** Only letters of this function. */
  readonly name?: string | undefined;
  /** Only letters that had ended by this Unix time in milliseconds. */
  readonly until?: number | undefined;
}

export class DeadLetters {
  readonly #redis: Redis;
  readonly #store: Pick<QueuedStore, 'find'>;

  /** `redis`: a connection of the role `commands`. */
  constructor(redis: Redis, store: Pick<QueuedStore, 'find'>) {
    this.#redis = redis;
    this.#store = store;
  }

  /** To be called before the record says so: lists skip an entry without such a record, but a record without an entry is lost. */
  async add(record: Pick<InvocationRecord, 'id' | 'namespace'>): Promise<void> {
    const dead = keys.dead(record.namespace);
    const now = sharedNow();
    await this.#redis.zadd(dead, now, record.id);
    await this.#redis.zremrangebyscore(dead, '-inf', now - RECORD_TTL_S * 1000);
  }

  /** Removes the entry of a former dead letter. `at`: its score; an entry with a newer score, from another failure, stays. */
  async remove({ namespace, id }: Pick<InvocationRecord, 'id' | 'namespace'>, at?: string): Promise<void> {
    const dead = keys.dead(namespace);
    if (at === undefined) await this.#redis.zrem(dead, id);
    else await REMOVE.run(this.#redis, [dead], [id, at]);
  }

  /** Newest first, `limit` at most. */
  async list(namespace: string, filter: DeadLetterFilter, limit: number): Promise<DeadLetter[]> {
    const { ids, name, until = Infinity } = filter;
    // Letters of one function may be few among many.
    const size = name === undefined ? Math.min(PAGE, limit) : PAGE;
    const entries =
      ids === undefined ? this.#pages(namespace, until, size) : this.#named(namespace, ids, until);
    const found = new Map<string, DeadLetter>();
    for await (const page of entries) {
      const letters = await Promise.all(page.map((entry) => this.#read(namespace, entry)));
      for (const letter of letters) {
        if (!letter || (name !== undefined && letter.record.name !== name)) continue;
        found.set(letter.record.id, letter);
        if (found.size >= limit) return [...found.values()];
      }
    }
    return [...found.values()];
  }

  async #read(namespace: string, { id, at }: Entry): Promise<DeadLetter | undefined> {
    const found = await this.#store.find(id);
    // The record has expired, so no process will add the entry again.
    if (!found) await this.remove({ namespace, id }, at);
    const record = found?.record;
    if (!found || record?.state !== 'done' || record.dead === undefined) return undefined;
    return { raw: found.raw, record, at };
  }

  /** Each page goes on from the score of the last entry, since others may be removed meanwhile. */
  async *#pages(namespace: string, until: number, size: number): AsyncGenerator<Entry[]> {
    const dead = keys.dead(namespace);
    let from = until === Infinity ? '+inf' : String(until);
    /** Number of entries with the score `from` that have been seen. */
    let seen = 0;
    for (;;) {
      const reply = await this.#redis.zrevrangebyscore(dead, from, '-inf', 'WITHSCORES', 'LIMIT', seen, size);
      const page: Entry[] = [];
      for (let index = 0; index < reply.length; index += 2)
        page.push({ id: reply[index] ?? '', at: reply[index + 1] ?? '' });
      if (page.length > 0) yield page;
      if (page.length < size) return;
      const last = page.at(-1)?.at ?? from;
      const same = page.filter(({ at }) => at === last).length;
      seen = last === from ? seen + same : same;
      from = last;
    }
  }

  async *#named(namespace: string, ids: readonly string[], until: number): AsyncGenerator<Entry[]> {
    if (ids.length === 0) return;
    const scores = await this.#redis.zmscore(keys.dead(namespace), ...ids);
    yield ids.flatMap((id, index) => {
      const at = scores[index];
      return typeof at === 'string' && Number(at) <= until ? [{ id, at }] : [];
    });
  }
}

interface Entry {
  readonly id: string;
  /** The time of its end, as Redis writes it. */
  readonly at: string;
}
