/**
 * Bounds the number of ended invocations that are kept of a function. Records also expire by time, but a function that is called
 * thousands of times a second would fill Redis long before. So only the newest invocations are kept.
 */
import type { Redis } from 'ioredis';
import type { InvocationRecord } from '#contract/invocations/invocation.ts';
import { IDEMPOTENCY_TTL_S, KEY_PREFIX, keys, RECORD_TTL_S } from '#contract/platform/keys.ts';
import { sharedNow } from '../redis/clock.ts';
import { Script } from '../redis/script.ts';

/** Upper bound on the invocations that one script removes, because Redis is blocked meanwhile. */
const AT_ONCE = 500;

/** Takes the ids beyond the bound off the list, and returns them. */
const TAKE = `
redis.call('RPUSH', KEYS[1], unpack(ARGV, 4))
redis.call('EXPIRE', KEYS[1], ARGV[2])
local over = redis.call('LLEN', KEYS[1]) - ARGV[1]
if over <= 0 then return {} end
local ids = redis.call('LPOP', KEYS[1], math.min(over, ${AT_ONCE}))`;
const TAKE_ONLY = new Script(`${TAKE}\nreturn ids`);
/** On a single Redis the script also removes the keys, which costs a tenth of a command for each. */
const TAKE_AND_REMOVE = new Script(`${TAKE}
for _, id in ipairs(ids) do
  local tag = '{' .. id .. '}'
  redis.call('UNLINK', ARGV[3] .. 'invocation:' .. tag, ARGV[3] .. 'input:' .. tag, ARGV[3] .. 'result:' .. tag,
    ARGV[3] .. 'logs:' .. id, ARGV[3] .. 'late-spans:' .. id)
end
return {}`);

/** Upper bound on the upload of a body, after which the invocation's idempotency key is claimed. */
const UPLOAD_MS = 3_600_000;

/** Holds an id until its time, and returns the ids whose time has come. */
const HOLD = new Script(`
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
local due = redis.call('ZRANGE', KEYS[1], '-inf', ARGV[4], 'BYSCORE', 'LIMIT', 0, ${AT_ONCE})
if #due > 0 then redis.call('ZREM', KEYS[1], unpack(due)) end
return due`);

export class Retention {
  readonly #redis: Redis;
  readonly #kept: number;

  /** `kept`: number of ended invocations of each function that are kept. */
  constructor(redis: Redis, kept: number) {
    this.#redis = redis;
    this.#kept = kept;
  }

  /**
   * To be called when a queued invocation has ended, is no longer a dead letter, or its callback is settled. It counts as soon as
   * only its id leads to it. Until then it is kept: a dead letter for its whole lifetime, and a record as long as its callback
   * or Idempotency-Key needs it.
   */
  async endedJob(record: InvocationRecord): Promise<void> {
    const { id, namespace, name, dead, callback, deduplicates, startedAt } = record;
    if (dead !== undefined || callback?.state === 'pending') return;
    const now = sharedNow();
    const heldUntil = deduplicates ? startedAt + UPLOAD_MS + IDEMPOTENCY_TTL_S * 1000 : 0;
    const free = heldUntil > now ? await this.#hold(record, heldUntil, now) : [id];
    if (free.length > 0) await this.ended(keys.endedJobs(namespace, name), free);
  }

  async #hold({ id, namespace, name }: InvocationRecord, until: number, now: number): Promise<string[]> {
    const list = keys.endedKeyed(namespace, name);
    return (await HOLD.run(this.#redis, [list], [until, id, RECORD_TTL_S, now])) as string[];
  }

  /** Adds up to a few hundred ended invocations; `list` is one of keys.ended*(). Removes the oldest ones beyond the bound. */
  async ended(list: string, ids: readonly string[]): Promise<void> {
    const values = [this.#kept, RECORD_TTL_S, KEY_PREFIX, ...ids];
    if (!this.#redis.isCluster) return void (await TAKE_AND_REMOVE.run(this.#redis, [list], values));
    // On a Cluster, the keys of an invocation are in another slot than the list.
    const over = (await TAKE_ONLY.run(this.#redis, [list], values)) as string[];
    await Promise.all(
      over.flatMap((id) => [
        this.#redis.unlink(keys.invocation(id), keys.input(id), keys.result(id)),
        this.#redis.unlink(keys.logs(id)),
        this.#redis.unlink(keys.lateSpans(id)),
      ]),
    );
  }
}
