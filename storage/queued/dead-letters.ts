/** The index of the dead letters of each namespace: what failed for good, by the time of its end. The records say what is true. */
import type { Redis } from 'ioredis';
import type { InvocationRecord } from '#contract/invocations/invocation.ts';
import { keys, RECORD_TTL_S } from '#contract/platform/keys.ts';
import { sharedNow } from '../redis/clock.ts';
import type { QueuedStore, Versioned } from './records.ts';
import { Script } from '../redis/script.ts';

/** Entries that are looked at together. */
const PAGE = 500;

/** Takes an entry off unless it was made anew since it was read. */
const REMOVE = new Script(`
if redis.call('ZSCORE', KEYS[1], ARGV[1]) == ARGV[2] then return redis.call('ZREM', KEYS[1], ARGV[1]) end
return 0`);

/** An invocation that has failed for good. */
export interface DeadLetter extends Versioned {
  readonly record: InvocationRecord;
  /** Its place in the index, as Redis gave it. */
  readonly at: string;
}

/** Which of the dead letters of a namespace. */
export interface DeadLetterFilter {
  readonly ids?: readonly string[] | undefined;
  /** Of one function. */
  readonly name?: string | undefined;
  /** Unix time in milliseconds by which they had ended. */
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

  /** Before the record says so: an entry without such a record is left out where they are listed, the other way it is lost. */
  async add(record: Pick<InvocationRecord, 'id' | 'namespace'>): Promise<void> {
    const dead = keys.dead(record.namespace);
    const now = sharedNow();
    await this.#redis.zadd(dead, now, record.id);
    await this.#redis.zremrangebyscore(dead, '-inf', now - RECORD_TTL_S * 1000);
  }

  /** It is none any more. `at`: the place that it had; one that it has had since, as it failed again, is left. */
  async remove({ namespace, id }: Pick<InvocationRecord, 'id' | 'namespace'>, at?: string): Promise<void> {
    const dead = keys.dead(namespace);
    if (at === undefined) await this.#redis.zrem(dead, id);
    else await REMOVE.run(this.#redis, [dead], [id, at]);
  }

  /** Newest first, `limit` at most. */
  async list(namespace: string, filter: DeadLetterFilter, limit: number): Promise<DeadLetter[]> {
    const { ids, name, until = Infinity } = filter;
    // Of those of one function, there may be few among many.
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
    // Its time is over, and nobody will add it again.
    if (!found) await this.remove({ namespace, id }, at);
    const record = found?.record;
    if (!found || record?.state !== 'done' || record.dead === undefined) return undefined;
    return { raw: found.raw, record, at };
  }

  /** Goes on from the place of the last one, since others may be taken off meanwhile. */
  async *#pages(namespace: string, until: number, size: number): AsyncGenerator<Entry[]> {
    const dead = keys.dead(namespace);
    let from = until === Infinity ? '+inf' : String(until);
    /** Of those at `from`, so many have been seen. */
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
    const places = await this.#redis.zmscore(keys.dead(namespace), ...ids);
    yield ids.flatMap((id, index) => {
      const at = places[index];
      return typeof at === 'string' && Number(at) <= until ? [{ id, at }] : [];
    });
  }
}

interface Entry {
  readonly id: string;
  /** The time of its end, as Redis writes it. */
  readonly at: string;
}
