/** Writes the records of invocations to Redis: after the answer, in batches, and without delaying any call. */
import type { Redis } from 'ioredis';
import type { AnyInvocation } from '#contract/invocations/invocation.ts';
import { keys, RECENT_LENGTH, RECORD_TTL_S } from '#contract/platform/keys.ts';
import { type Log, LogThrottle } from '#storage/log.ts';
import { Retention } from '#storage/queued/retention.ts';
import { type KeyedCommand, sendTogether } from '#storage/redis/redis.ts';
import { sharedNow } from '#storage/redis/clock.ts';

/** Upper bound on the records in transit to Redis. Further ones are dropped and counted, so memory stays bounded. */
const MAX_OUTSTANDING = 10_000;
const MAX_BATCH = 500;
const FLUSH_AFTER_MS = 10;
/** Lifetime of the record of an open call whose gateway has died: longer than a call may run. */
const OPEN_TTL_S = 25 * 3600;

export class Recorder {
  readonly #redis: Redis;
  readonly #retention: Retention;
  readonly #log: Log;
  readonly #complaints = new LogThrottle(5_000);
  #waiting: AnyInvocation[] = [];
  #outstanding = 0;
  #dropped = 0;
  #timer: NodeJS.Timeout | undefined;
  readonly #writing = new Set<Promise<void>>();
  /** Ids of calls that are in the index of open calls. */
  readonly #open = new Set<string>();

  /** `kept`: number of ended calls of each function that keep their records. */
  constructor(redis: Redis, log: Log, kept: number) {
    this.#retention = new Retention(redis, kept);
    this.#redis = redis;
    this.#log = log;
  }

  /** Records that were dropped since the start. */
  get dropped(): number {
    return this.#dropped;
  }

  add(record: AnyInvocation): void {
    if (this.#outstanding >= MAX_OUTSTANDING) {
      this.#drop(1, 'more records than Redis takes');
      return;
    }
    this.#outstanding++;
    this.#waiting.push(record);
    if (this.#waiting.length >= MAX_BATCH) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), FLUSH_AFTER_MS);
  }

  /** Resolves when everything that was added is written or dropped. */
  async close(): Promise<void> {
    this.#flush();
    await Promise.all(this.#writing);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#waiting.length === 0) return;
    const batch = this.#waiting;
    this.#waiting = [];
    const writing = this.#write(batch)
      .catch((error: unknown) => this.#drop(batch.length, String(error)))
      .finally(() => {
        this.#outstanding -= batch.length;
        this.#writing.delete(writing);
      });
    this.#writing.add(writing);
  }

  async #write(batch: readonly AnyInvocation[]): Promise<void> {
    const commands: KeyedCommand[] = batch.map((record) => {
      const seconds = record.state === 'done' ? RECORD_TTL_S : OPEN_TTL_S;
      const key = keys.invocation(record.id);
      return [key, (pipeline) => pipeline.set(key, JSON.stringify(record), 'EX', seconds)];
    });
    const byFunction = Map.groupBy(batch, (record) => keys.recent(record.namespace, record.name));
    for (const [recent, records] of byFunction) {
      const members = records.flatMap((record) => [record.startedAt, record.id]);
      commands.push([
        recent,
        (pipeline) =>
          pipeline
            .zadd(recent, ...members)
            .zremrangebyrank(recent, 0, -RECENT_LENGTH - 1)
            // Never shortened: queued invocations, which may wait longer, are in the same index.
            .expire(recent, RECORD_TTL_S, 'NX')
            .expire(recent, RECORD_TTL_S, 'GT'),
      ]);
    }
    for (const { id, namespace, state } of batch) {
      const open = keys.open(namespace);
      if (state !== 'done') {
        this.#open.add(id);
        commands.push([open, (pipeline) => pipeline.zadd(open, sharedNow(), id)]);
      } else if (this.#open.delete(id)) commands.push([open, (pipeline) => pipeline.zrem(open, id)]);
    }
    await sendTogether(this.#redis, commands);
    await Promise.all(
      [...Map.groupBy(batch, ({ namespace, name }) => keys.endedCalls(namespace, name))].map(
        ([list, records]) => {
          const ended = records.filter(({ state }) => state === 'done').map(({ id }) => id);
          return ended.length > 0 ? this.#retention.ended(list, ended) : Promise.resolve();
        },
      ),
    );
  }

  #drop(count: number, reason: string): void {
    this.#dropped += count;
    this.#complaints.run(() =>
      this.#log.error({ dropped: this.#dropped, reason }, 'records of invocations were dropped'),
    );
  }
}
