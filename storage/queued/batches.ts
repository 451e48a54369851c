/**
 * Keeps batches in Redis: their counts, and an entry for each group. Counts change only together with the entry that they come
 * from, so that a group that is reported twice counts once.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { Batch, BatchState } from '#contract/invocations/batch.ts';
import type {
  Canceller,
  GroupOfBatch,
  OpenInvocation,
  QueuedTerms,
} from '#contract/invocations/invocation.ts';
import { queued } from '#contract/invocations/transitions.ts';
import { keys, RECORD_TTL_S } from '#contract/platform/keys.ts';
import { WINDOW_GROUPS } from '#contract/functions/limits.ts';
import { keepVersion } from '../functions/kept-versions.ts';
import { sharedNow } from '../redis/clock.ts';
import { Script } from '../redis/script.ts';

/** The unchanging facts of a batch. */
export interface BatchFacts {
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
  readonly version: number;
  readonly createdAt: number;
  /** Upper bound on the items of one group. */
  readonly size: number;
  /** Terms of each of its invocations; their `expiresAt` counts from the creation of a group. */
  readonly terms: Omit<QueuedTerms, 'expiresAt'> & { readonly queueMs: number };
  readonly traceId: string;
  readonly spanId: string;
  /** Span of the batch's creator, when the request carried a traceparent, and the tracestate that came with it. */
  readonly parentSpanId?: string;
  readonly tracestate?: string;
  readonly sampled: boolean;
}

export interface GroupEntry {
  readonly first: number;
  readonly items: number;
  readonly bytes: number;
  /** Unix time in milliseconds of the creation. */
  readonly at: number;
  /** Key of the blob with its items, one per line. */
  readonly input: string;
  /** Key of the blob with their results, as far as known. */
  readonly results?: string;
  /** Number of the attempt that has reported last. */
  readonly attempt: number;
  readonly ok: number;
  readonly failed: number;
  readonly done: boolean;
}

/** The result of one attempt of a group. */
export interface GroupReport {
  readonly group: number;
  /** Number of the attempt, from 1. A report of an attempt before the last one is refused. */
  readonly attempt: number;
  readonly ok: number;
  readonly failed: number;
  /** There is no further attempt. */
  readonly final: boolean;
  readonly results?: string | undefined;
}

/** The facts of a batch that the repair of queues needs (gateway/queued/queue-repair.ts). */
export interface OpenBatch {
  readonly id: string;
  /** The batch has ended, or no longer exists. */
  readonly isOver: boolean;
  readonly groups: number;
  readonly groupsDone: number;
}

/** State and counts of a batch. */
export interface BatchProgress {
  readonly state: BatchState;
  readonly items: number;
  readonly succeeded: number;
  readonly failed: number;
}

export type Added =
  | { readonly added: true; readonly group: number; readonly first: number }
  | { readonly added: false; readonly why: 'gone' | 'sealed' | 'cancelled' | 'full' };

/** Part of scripts: sets the TTL of a key to a number of seconds, unless the key has a longer one. */
const LENGTHEN = `
local function lengthen(key, seconds)
  local left = redis.call('TTL', key)
  if left == -1 or (left >= 0 and left < tonumber(seconds)) then redis.call('EXPIRE', key, seconds) end
end`;

const KEEP = new Script(`${LENGTHEN}
for _, key in ipairs(KEYS) do lengthen(key, ARGV[1]) end`);

const ADD = new Script(`${LENGTHEN}
local state = redis.call('HMGET', KEYS[1], 'facts', 'sealed', 'cancelled', 'groups', 'done')
if not state[1] then return {-1} end
if state[3] then return {-3} end
if state[2] then return {-2} end
if (tonumber(state[4]) or 0) - (tonumber(state[5]) or 0) >= tonumber(ARGV[6]) then return {-4} end
local n = redis.call('HINCRBY', KEYS[1], 'groups', 1) - 1
local first = redis.call('HINCRBY', KEYS[1], 'items', ARGV[1]) - ARGV[1]
redis.call('HSET', KEYS[2], n, cjson.encode({first = first, items = tonumber(ARGV[1]), bytes = tonumber(ARGV[2]),
  input = ARGV[3], at = tonumber(ARGV[4]), attempt = 0, ok = 0, failed = 0, done = false}))
lengthen(KEYS[1], ARGV[5])
lengthen(KEYS[2], ARGV[5])
return {n, first}`);

const REFUSALS = ['gone', 'sealed', 'cancelled', 'full'] as const;

/**
 * Part of the scripts below: marks a sealed or cancelled batch as ended once all its groups are done. Returns 2 only to the
 * caller that ended it first, because a group that is redriven from the dead letters ends it again.
 */
const END_WHEN_DONE = `
local now = redis.call('HMGET', KEYS[1], 'sealed', 'cancelled', 'groups', 'done')
if (now[1] or now[2]) and (tonumber(now[3]) or 0) == (tonumber(now[4]) or 0) then
  redis.call('HSETNX', KEYS[1], 'ended', ARGV[1])
  return 1 + redis.call('HSETNX', KEYS[1], 'told', 1)
end
redis.call('HDEL', KEYS[1], 'ended')
return 1`;

const REPORT = new Script(`${LENGTHEN}
local stored = redis.call('HGET', KEYS[2], ARGV[2])
if not stored then return 0 end
local entry = cjson.decode(stored)
local attempt, ok, failed, final = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6] == '1'
if entry.attempt > attempt or (entry.done and entry.attempt == attempt) then return 0 end
redis.call('HINCRBY', KEYS[1], 'ok', ok - entry.ok)
redis.call('HINCRBY', KEYS[1], 'failed', failed - entry.failed)
if final and not entry.done then
  redis.call('HINCRBY', KEYS[1], 'done', 1)
  redis.call('RPUSH', KEYS[3], ARGV[2])
  lengthen(KEYS[3], ARGV[8])
elseif entry.done and not final then
  redis.call('HINCRBY', KEYS[1], 'done', -1)
end
entry.attempt, entry.ok, entry.failed, entry.done = attempt, ok, failed, final
if ARGV[7] ~= '' then entry.results = ARGV[7] end
redis.call('HSET', KEYS[2], ARGV[2], cjson.encode(entry))
if attempt > 1 then redis.call('HSET', KEYS[1], 'retried', 1) end
${END_WHEN_DONE}`);

/** ARGV: the time; the field that closes the batch, and its value. */
const CLOSE = new Script(`
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSETNX', KEYS[1], ARGV[2], ARGV[3])
${END_WHEN_DONE}`);

/** Upper bound on the batches in the list of a namespace. */
const LISTED = 1_000;

/** Called once at the end of a batch. `wasRetried`: a group of it was retried. */
export type BatchEnded = (facts: BatchFacts, batch: Batch, wasRetried: boolean) => void;

export class BatchStore {
  readonly #redis: Redis;
  readonly #onEnded: BatchEnded | undefined;

  /** `redis`: a connection of the role `commands`. `onEnded`: called for ends that this process causes, not other processes. */
  constructor(redis: Redis, onEnded?: BatchEnded) {
    this.#redis = redis;
    this.#onEnded = onEnded;
  }

  async create(facts: BatchFacts): Promise<void> {
    const { id, namespace, createdAt } = facts;
    const list = keys.batches(namespace);
    await this.#redis.hset(keys.batch(id), { facts: JSON.stringify(facts), items: 0, groups: 0, done: 0 });
    await Promise.all([
      this.#redis.expire(keys.batch(id), RECORD_TTL_S),
      // For groups to come; each of these keeps the version for as long as its own record.
      keepVersion(this.#redis, facts, sharedNow() + RECORD_TTL_S * 1000),
      // Added after the batch, because an entry without a batch counts as ended.
      this.#redis.zadd(keys.openBatches(namespace), createdAt, id),
      this.#redis.zadd(list, createdAt, id),
      this.#redis.zremrangebyrank(list, 0, -LISTED - 1),
      this.#redis.expire(list, RECORD_TTL_S),
    ]);
  }

  /** Gives the items in a blob room in the batch, unless `most` of its groups have not ended. */
  async add(
    id: string,
    items: number,
    bytes: number,
    input: string,
    most: number = WINDOW_GROUPS,
  ): Promise<Added> {
    const reply = (await ADD.run(
      this.#redis,
      [keys.batch(id), keys.batchGroups(id)],
      [items, bytes, input, sharedNow(), RECORD_TTL_S, most],
    )) as number[];
    const [group = -1, first = 0] = reply;
    if (group >= 0) return { added: true, group, first };
    return { added: false, why: REFUSALS[-group - 1] ?? 'gone' };
  }

  /** False when a later attempt has reported already, or the batch is gone. */
  async report(id: string, report: GroupReport): Promise<boolean> {
    const { group, attempt, ok, failed, final, results } = report;
    const done = await REPORT.run(
      this.#redis,
      [keys.batch(id), keys.batchGroups(id), keys.batchEnded(id)],
      [sharedNow(), group, attempt, ok, failed, final ? 1 : 0, results ?? '', RECORD_TTL_S],
    );
    return await this.#changed(id, done);
  }

  /** Closes the batch to further items. False when it is gone. */
  async seal(id: string): Promise<boolean> {
    const now = sharedNow();
    return await this.#changed(id, await CLOSE.run(this.#redis, [keys.batch(id)], [now, 'sealed', now]));
  }

  /** Closes the batch to further items, and lets no more groups begin. False when it is gone. */
  async cancel(id: string, by: Canceller): Promise<boolean> {
    const values = [sharedNow(), 'cancelled', JSON.stringify(by)];
    return await this.#changed(id, await CLOSE.run(this.#redis, [keys.batch(id)], values));
  }

  /** The canceller of the batch, as its groups name it; undefined if it is not cancelled. */
  async cancelledBy(id: string): Promise<Canceller | undefined> {
    const stored = await this.#redis.hget(keys.batch(id), 'cancelled');
    return stored === null ? undefined : { ...(JSON.parse(stored) as Canceller), by: 'batch' };
  }

  async find(id: string): Promise<{ facts: BatchFacts; batch: Batch; wasRetried: boolean } | undefined> {
    const stored = await this.#redis.hgetall(keys.batch(id));
    if (stored['facts'] === undefined) return undefined;
    const facts = JSON.parse(stored['facts']) as BatchFacts;
    return { facts, batch: toBatch(facts, stored), wasRetried: stored['retried'] !== undefined };
  }

  /** `done`: the result of a script, 0 when it changed nothing. */
  async #changed(id: string, done: unknown): Promise<boolean> {
    if (done === 2 && this.#onEnded) {
      // The change has happened, even if this read fails.
      const found = await this.find(id).catch(() => undefined);
      if (found) this.#onEnded(found.facts, found.batch, found.wasRetried);
    }
    return done !== 0;
  }

  /** Newest first. */
  async list(namespace: string, limit: number): Promise<Batch[]> {
    const ids = await this.#redis.zrevrange(keys.batches(namespace), 0, limit - 1);
    const found = await Promise.all(ids.map((id) => this.find(id)));
    return found.flatMap((one) => (one ? [one.batch] : []));
  }

  /** State and counts of the newest batches, `limit` at most; cheaper than list(). */
  async newest(namespace: string, limit: number): Promise<BatchProgress[]> {
    const ids = await this.#redis.zrevrange(keys.batches(namespace), 0, limit - 1);
    const fields = ['sealed', 'cancelled', 'ended', 'items', 'ok', 'failed'] as const;
    const found = await Promise.all(ids.map((id) => this.#redis.hmget(keys.batch(id), ...fields)));
    return found
      .map((values) => {
        const stored: Record<string, string> = {};
        for (const [at, field] of fields.entries()) {
          const value = values[at];
          if (typeof value === 'string') stored[field] = value;
        }
        return stored;
      })
      .filter((stored) => stored['items'] !== undefined)
      .map((stored) => ({
        state: stateOf(stored),
        items: Number(stored['items']),
        succeeded: Number(stored['ok'] ?? 0),
        failed: Number(stored['failed'] ?? 0),
      }));
  }

  /** Batches that have not ended, or ended only lately; oldest first, from index `from` on. */
  async open(namespace: string, from: number, limit: number): Promise<OpenBatch[]> {
    const ids = await this.#redis.zrange(keys.openBatches(namespace), from, String(from + limit - 1));
    const found = await Promise.all(
      ids.map((id) => this.#redis.hmget(keys.batch(id), 'facts', 'ended', 'groups', 'done')),
    );
    return ids.map((id, at) => {
      const [facts, ended, groups, done] = found[at] ?? [];
      const isOver = typeof facts !== 'string' || typeof ended === 'string';
      return { id, isOver, groups: Number(groups ?? 0), groupsDone: Number(done ?? 0) };
    });
  }

  /** Takes batches off the list of open ones, because they have ended or no longer exist. */
  async close(namespace: string, ids: readonly string[]): Promise<void> {
    if (ids.length > 0) await this.#redis.zrem(keys.openBatches(namespace), ...ids);
  }

  async group(id: string, group: number): Promise<GroupEntry | undefined> {
    const stored = await this.#redis.hget(keys.batchGroups(id), String(group));
    return stored === null ? undefined : (JSON.parse(stored) as GroupEntry);
  }

  /** Entries of the groups from `from` up to, not including, `to`; undefined for a missing one. */
  async groups(id: string, from: number, to: number): Promise<(GroupEntry | undefined)[]> {
    if (to <= from) return [];
    const numbers = Array.from({ length: to - from }, (_, at) => String(from + at));
    const stored = await this.#redis.hmget(keys.batchGroups(id), ...numbers);
    return stored.map((one) => (one === null ? undefined : (JSON.parse(one) as GroupEntry)));
  }

  /** Numbers of groups in the order of their end, from index `from` on. */
  async ended(id: string, from: number, limit: number): Promise<number[]> {
    return (await this.#redis.lrange(keys.batchEnded(id), from, from + limit - 1)).map(Number);
  }
}

/** Keeps all data of a batch for at least `seconds` from now. */
export async function keepBatch(redis: Redis, id: string, seconds: number): Promise<void> {
  await KEEP.run(redis, [keys.batch(id), keys.batchGroups(id), keys.batchEnded(id)], [seconds]);
}

/** The id of a group's invocation. It is derived from the batch's id, so that a second computation gives the same one. */
export function groupInvocationId(batch: string, group: number): string {
  return createHash('sha256').update(`${batch}:${group}`).digest('hex').slice(0, 32);
}

/** The record of a group that has not begun. */
export function groupRecord(
  facts: BatchFacts,
  group: number,
  entry: Pick<GroupEntry, 'first' | 'items' | 'bytes' | 'at'>,
): OpenInvocation {
  const { queueMs, ...terms } = facts.terms;
  const { first, items } = entry;
  const batch: GroupOfBatch = { id: facts.id, group, first, items };
  return queued({
    id: groupInvocationId(facts.id, group),
    namespace: facts.namespace,
    name: facts.name,
    version: facts.version,
    lane: 'queued',
    method: 'BATCH',
    path: '/',
    traceId: facts.traceId,
    spanId: randomBytes(8).toString('hex'),
    parentSpanId: facts.spanId,
    ...(facts.tracestate !== undefined && { tracestate: facts.tracestate }),
    sampled: facts.sampled,
    startedAt: entry.at,
    requestBytes: entry.bytes,
    terms: { ...terms, expiresAt: entry.at + queueMs },
    batch,
  });
}

function toBatch(facts: BatchFacts, stored: Record<string, string>): Batch {
  const { id, namespace, name, version, createdAt } = facts;
  const count = (field: string): number => Number(stored[field] ?? 0);
  const { ended, cancelled } = stored;
  return {
    id,
    namespace,
    name,
    version,
    state: stateOf(stored),
    createdAt,
    ...(ended !== undefined && { endedAt: Number(ended) }),
    ...(cancelled !== undefined && { cancelledBy: JSON.parse(cancelled) as Canceller }),
    items: count('items'),
    succeeded: count('ok'),
    failed: count('failed'),
    groups: count('groups'),
    groupsDone: count('done'),
  };
}

function stateOf(stored: Readonly<Record<string, string>>): BatchState {
  if (stored['cancelled'] !== undefined) return 'cancelled';
  if (stored['ended'] !== undefined) return 'done';
  return stored['sealed'] === undefined ? 'open' : 'running';
}
