/**
 * What is known of batches in Redis: counts, and an entry for each group. The counts are changed only together with the entry
 * that they come from, so that a group which is reported twice counts once.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { Batch } from '#contract/batch.ts';
import type { GroupOfBatch, OpenInvocation, QueuedTerms } from '#contract/invocation.ts';
import { keys, RECORD_TTL_S } from '#contract/keys.ts';
import { WINDOW_GROUPS } from '#contract/limits.ts';
import { sharedNow } from './clock.ts';
import { Script } from './script.ts';

/** What does not change of a batch. */
export interface BatchFacts {
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
  readonly version: number;
  readonly createdAt: number;
  /** Items of one group at most. */
  readonly size: number;
  /** Of each of its invocations; `expiresAt` counts from the making of a group. */
  readonly terms: Omit<QueuedTerms, 'expiresAt'> & { readonly queueMs: number };
  readonly traceId: string;
  readonly spanId: string;
  readonly sampled: boolean;
}

export interface GroupEntry {
  readonly first: number;
  readonly items: number;
  readonly bytes: number;
  /** Unix time in milliseconds. */
  readonly at: number;
  /** Key of the blob with its items, one a line. */
  readonly input: string;
  /** Key of the blob with what came of them, as far as known. */
  readonly results?: string;
  /** Number of the try that has reported last. */
  readonly attempt: number;
  readonly ok: number;
  readonly failed: number;
  readonly done: boolean;
}

/** What a try of a group has come to. */
export interface GroupReport {
  readonly group: number;
  /** Number of the try, from 1. A report of an earlier try than the last is refused. */
  readonly attempt: number;
  readonly ok: number;
  readonly failed: number;
  /** There is no other try. */
  readonly final: boolean;
  readonly results?: string | undefined;
}

export type Added =
  | { readonly added: true; readonly group: number; readonly first: number }
  | { readonly added: false; readonly why: 'gone' | 'sealed' | 'cancelled' | 'full' };

const ADD = new Script(`
local state = redis.call('HMGET', KEYS[1], 'facts', 'sealed', 'cancelled', 'groups', 'done')
if not state[1] then return {-1} end
if state[3] then return {-3} end
if state[2] then return {-2} end
if (tonumber(state[4]) or 0) - (tonumber(state[5]) or 0) >= tonumber(ARGV[6]) then return {-4} end
local n = redis.call('HINCRBY', KEYS[1], 'groups', 1) - 1
local first = redis.call('HINCRBY', KEYS[1], 'items', ARGV[1]) - ARGV[1]
redis.call('HSET', KEYS[2], n, cjson.encode({first = first, items = tonumber(ARGV[1]), bytes = tonumber(ARGV[2]),
  input = ARGV[3], at = tonumber(ARGV[4]), attempt = 0, ok = 0, failed = 0, done = false}))
redis.call('EXPIRE', KEYS[1], ARGV[5])
redis.call('EXPIRE', KEYS[2], ARGV[5])
return {n, first}`);

const REFUSALS = ['gone', 'sealed', 'cancelled', 'full'] as const;

/** Part of the scripts below: a batch to which no more comes has ended with its last group. */
const END_WHEN_DONE = `
local now = redis.call('HMGET', KEYS[1], 'sealed', 'cancelled', 'groups', 'done')
if (now[1] or now[2]) and (tonumber(now[3]) or 0) == (tonumber(now[4]) or 0) then
  redis.call('HSETNX', KEYS[1], 'ended', ARGV[1])
else redis.call('HDEL', KEYS[1], 'ended') end`;

const REPORT = new Script(`
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
  redis.call('EXPIRE', KEYS[3], ARGV[8])
elseif entry.done and not final then
  redis.call('HINCRBY', KEYS[1], 'done', -1)
end
entry.attempt, entry.ok, entry.failed, entry.done = attempt, ok, failed, final
if ARGV[7] ~= '' then entry.results = ARGV[7] end
redis.call('HSET', KEYS[2], ARGV[2], cjson.encode(entry))
${END_WHEN_DONE}
return 1`);

const CLOSE = new Script(`
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSETNX', KEYS[1], ARGV[2], ARGV[1])
${END_WHEN_DONE}
return 1`);

/** Batches that the list of a namespace keeps. */
const LISTED = 1_000;

export class BatchStore {
  readonly #redis: Redis;

  /** `redis`: a connection of the role `commands`. */
  constructor(redis: Redis) {
    this.#redis = redis;
  }

  async create(facts: BatchFacts): Promise<void> {
    const { id, namespace, createdAt } = facts;
    const list = keys.batches(namespace);
    await this.#redis.hset(keys.batch(id), { facts: JSON.stringify(facts), items: 0, groups: 0, done: 0 });
    await Promise.all([
      this.#redis.expire(keys.batch(id), RECORD_TTL_S),
      this.#redis.zadd(list, createdAt, id),
      this.#redis.zremrangebyrank(list, 0, -LISTED - 1),
      this.#redis.expire(list, RECORD_TTL_S),
    ]);
  }

  /** Gives items, which are in a blob, their place in the batch, unless `most` of its groups have not ended. */
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

  /** False when a later try has reported already, or the batch is gone. */
  async report(id: string, report: GroupReport): Promise<boolean> {
    const { group, attempt, ok, failed, final, results } = report;
    const done = await REPORT.run(
      this.#redis,
      [keys.batch(id), keys.batchGroups(id), keys.batchEnded(id)],
      [sharedNow(), group, attempt, ok, failed, final ? 1 : 0, results ?? '', RECORD_TTL_S],
    );
    return done === 1;
  }

  /** No more items come. False when the batch is gone. */
  async seal(id: string): Promise<boolean> {
    return (await CLOSE.run(this.#redis, [keys.batch(id)], [sharedNow(), 'sealed'])) === 1;
  }

  /** No more items come, and no more groups begin. */
  async cancel(id: string): Promise<boolean> {
    return (await CLOSE.run(this.#redis, [keys.batch(id)], [sharedNow(), 'cancelled'])) === 1;
  }

  async isCancelled(id: string): Promise<boolean> {
    return (await this.#redis.hget(keys.batch(id), 'cancelled')) !== null;
  }

  async find(id: string): Promise<{ facts: BatchFacts; batch: Batch } | undefined> {
    const stored = await this.#redis.hgetall(keys.batch(id));
    if (stored['facts'] === undefined) return undefined;
    const facts = JSON.parse(stored['facts']) as BatchFacts;
    return { facts, batch: toBatch(facts, stored) };
  }

  /** Newest first. */
  async list(namespace: string, limit: number): Promise<Batch[]> {
    const ids = await this.#redis.zrevrange(keys.batches(namespace), 0, limit - 1);
    const found = await Promise.all(ids.map((id) => this.find(id)));
    return found.flatMap((one) => (one ? [one.batch] : []));
  }

  async group(id: string, group: number): Promise<GroupEntry | undefined> {
    const stored = await this.#redis.hget(keys.batchGroups(id), String(group));
    return stored === null ? undefined : (JSON.parse(stored) as GroupEntry);
  }

  /** Entries of the groups from `from` up to, not including, `to`; undefined where there is none. */
  async groups(id: string, from: number, to: number): Promise<(GroupEntry | undefined)[]> {
    if (to <= from) return [];
    const numbers = Array.from({ length: to - from }, (_, at) => String(from + at));
    const stored = await this.#redis.hmget(keys.batchGroups(id), ...numbers);
    return stored.map((one) => (one === null ? undefined : (JSON.parse(one) as GroupEntry)));
  }

  /** Numbers of groups in the order of their end, from place `from` on. */
  async ended(id: string, from: number, limit: number): Promise<number[]> {
    return (await this.#redis.lrange(keys.batchEnded(id), from, from + limit - 1)).map(Number);
  }
}

/** The id of a group's invocation. Made from the batch's, so that whoever makes it again makes the same. */
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
  return {
    id: groupInvocationId(facts.id, group),
    namespace: facts.namespace,
    name: facts.name,
    version: facts.version,
    lane: 'queued',
    state: 'queued',
    method: 'BATCH',
    path: '/',
    traceId: facts.traceId,
    spanId: randomBytes(8).toString('hex'),
    parentSpanId: facts.spanId,
    sampled: facts.sampled,
    startedAt: entry.at,
    requestBytes: entry.bytes,
    terms: { ...terms, expiresAt: entry.at + queueMs },
    batch,
  };
}

function toBatch(facts: BatchFacts, stored: Record<string, string>): Batch {
  const { id, namespace, name, version, createdAt } = facts;
  const count = (field: string): number => Number(stored[field] ?? 0);
  const ended = stored['ended'];
  const state =
    stored['cancelled'] !== undefined
      ? 'cancelled'
      : ended !== undefined
        ? 'done'
        : stored['sealed'] === undefined
          ? 'open'
          : 'running';
  return {
    id,
    namespace,
    name,
    version,
    state,
    createdAt,
    ...(ended !== undefined && { endedAt: Number(ended) }),
    items: count('items'),
    succeeded: count('ok'),
    failed: count('failed'),
    groups: count('groups'),
    groupsDone: count('done'),
  };
}
