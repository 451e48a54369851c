/**
 * Records of invocations in Redis (AnyInvocation), with the input and result of each of the queued lane. Gateways and workers change
 * a record only by comparing and setting it: of two that want to end the same invocation one succeeds, and the other learns that it
 * did not. contract/invocations/transitions.ts makes each changed record.
 */
import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { AnyInvocation, Canceller, OpenInvocation } from '#contract/invocations/invocation.ts';
import { checkMove } from '#contract/invocations/transitions.ts';
import {
  CANCEL_TTL_S,
  IDEMPOTENCY_TTL_S,
  keys,
  RECENT_LENGTH,
  RECORD_TTL_S,
  RESULT_TTL_S,
} from '#contract/platform/keys.ts';
import { keepVersion } from '../functions/kept-versions.ts';
import { keepBatch } from './batches.ts';
import { sharedNow } from '../redis/clock.ts';
import { Script } from '../redis/script.ts';

/** A record with the bytes that were read, with which a change of the record is compared. */
export interface Versioned {
  readonly raw: string;
  readonly record: AnyInvocation;
}

/**
 * Sets a record, and its result with it, if the record still has the value that was read. So a worker that has lost an
 * invocation cannot put its own result beside another's record. From then on the input is kept as long as the record. Returns 1
 * if the record was set.
 */
const SWAP = new Script(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
redis.call('EXPIRE', KEYS[3], ARGV[3])
if ARGV[4] then redis.call('SET', KEYS[2], ARGV[4], 'EX', ARGV[5]) end
return 1`);

/** Adds to the list of a function, whose length is bounded. The list is kept as long as its entries. */
const LIST = new Script(`
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
local over = redis.call('ZCARD', KEYS[1]) - ARGV[3]
if over > 0 then redis.call('ZREMRANGEBYRANK', KEYS[1], 0, over - 1) end
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[4]) then redis.call('EXPIRE', KEYS[1], ARGV[4]) end`);

/** A stored request to cancel. `redriven`: how often the invocation had been redriven by then. */
interface CancelRequest {
  readonly redriven: number;
  readonly by: Canceller;
}

/** Called after each change of a record by this process, for metrics and traces. */
export type Changed = (before: AnyInvocation, after: AnyInvocation) => void;

/** Seconds for which a record and its data are kept from now on: an open invocation may wait for weeks before it begins. */
export function secondsKept(record: AnyInvocation): number {
  const waits = record.state === 'done' ? 0 : (record.terms?.expiresAt ?? 0) - sharedNow();
  return RECORD_TTL_S + Math.ceil(Math.max(0, waits) / 1000);
}

export class QueuedStore {
  readonly #redis: Redis;
  readonly #changed: Changed | undefined;

  /** `redis`: a connection of the role `commands`. */
  constructor(redis: Redis, changed?: Changed) {
    this.#redis = redis;
    this.#changed = changed;
  }

  /**
   * Writes a new invocation with its input; leaves an existing one with the same id unchanged. Lists show it from here on.
   * Without `input`, the input is stored elsewhere.
   */
  async create(record: OpenInvocation, input?: Buffer): Promise<void> {
    const { id, namespace, name } = record;
    const recent = keys.recent(namespace, name);
    const seconds = secondsKept(record);
    await Promise.all([
      this.#keepNeeded(record, seconds),
      // Before the record: readers skip an index entry without a record, but a record without an entry would never be repaired.
      this.#redis.zadd(keys.open(namespace), sharedNow(), id),
      input && this.#redis.set(keys.input(id), input, 'EX', seconds, 'NX'),
      this.#redis.set(keys.invocation(id), JSON.stringify(record), 'EX', seconds, 'NX'),
      LIST.run(this.#redis, [recent], [record.startedAt, id, RECENT_LENGTH, seconds]),
    ]);
  }

  /**
   * Keeps data elsewhere at least as long as the record: the input blob, the batch, and the version of an invocation that may run
   * (again).
   */
  async #keepNeeded(record: AnyInvocation, seconds: number): Promise<void> {
    const { inputBlob, batch } = record;
    const mayRun = record.state !== 'done' || record.dead !== undefined;
    await Promise.all([
      mayRun && keepVersion(this.#redis, record, sharedNow() + seconds * 1000),
      inputBlob !== undefined && this.#redis.set(keys.heldBlob(inputBlob), '1', 'EX', seconds),
      batch && keepBatch(this.#redis, batch.id, seconds),
    ]);
  }

  async find(id: string): Promise<Versioned | undefined> {
    const raw = await this.#redis.get(keys.invocation(id));
    // A gateway or worker has written it with the type of the contract.
    return raw === null ? undefined : { raw, record: JSON.parse(raw) as AnyInvocation };
  }

  /**
   * Resolves to undefined when the record has changed since it was read. Throws IllegalMove for a change that is not in MOVES.
   * `result`: a response payload to keep with it.
   */
  async swap(before: Versioned, record: AnyInvocation, result?: Buffer): Promise<Versioned | undefined> {
    checkMove(before.record, record);
    const raw = JSON.stringify(record);
    const { id } = record;
    const seconds = secondsKept(record);
    const values: (string | number | Buffer)[] = [before.raw, raw, seconds];
    if (result) values.push(result, RESULT_TTL_S);
    // Extended before the record needs the data for longer.
    if (record.state !== 'running') await this.#keepNeeded(record, seconds);
    const touched = [keys.invocation(id), keys.result(id), keys.input(id)];
    const done = await SWAP.run(this.#redis, touched, values);
    if (done !== 1) return undefined;
    this.#changed?.(before.record, record);
    // Not awaited, because readers of the index remove ended entries too.
    if (record.state === 'done') this.#redis.zrem(keys.open(record.namespace), id).catch(() => undefined);
    else await this.#redis.zadd(keys.open(record.namespace), 'NX', sharedNow(), id);
    return { raw, record };
  }

  /** Ids of open invocations whose creation or next check is due before a Unix time in milliseconds; oldest first. */
  async open(namespace: string, before: number, limit: number): Promise<string[]> {
    return await this.#redis.zrange(
      keys.open(namespace),
      '-inf',
      String(before),
      'BYSCORE',
      'LIMIT',
      0,
      limit,
    );
  }

  /** Sets the times of the next checks of healthy invocations, and takes ended ones out of the index. */
  async seen(namespace: string, next: ReadonlyMap<string, number>, ended: readonly string[]): Promise<void> {
    const open = keys.open(namespace);
    if (next.size > 0) await this.#redis.zadd(open, 'XX', ...[...next].flatMap(([id, at]) => [at, id]));
    if (ended.length > 0) await this.#redis.zrem(open, ...ended);
  }

  /** Asks the worker that would begin or retry the invocation to end it instead. */
  async requestCancel({ id, redriven = 0 }: AnyInvocation, by: Canceller): Promise<void> {
    const request: CancelRequest = { redriven, by };
    await this.#redis.set(keys.cancelled(id), JSON.stringify(request), 'EX', CANCEL_TTL_S);
  }

  /** The party that requested a cancel; undefined without a request. A request from before a redrive does not count. */
  async cancelRequested({ id, redriven = 0 }: AnyInvocation): Promise<Canceller | undefined> {
    const stored = await this.#redis.get(keys.cancelled(id));
    const request = stored === null ? undefined : (JSON.parse(stored) as CancelRequest);
    return request?.redriven === redriven ? request.by : undefined;
  }

  async input(id: string): Promise<Buffer | undefined> {
    return (await this.#redis.getBuffer(keys.input(id))) ?? undefined;
  }

  async result(id: string): Promise<Buffer | undefined> {
    return (await this.#redis.getBuffer(keys.result(id))) ?? undefined;
  }

  /** Whether the result is still kept, without reading it, because it may be large. */
  async hasResult(id: string): Promise<boolean> {
    return (await this.#redis.exists(keys.result(id))) === 1;
  }

  /**
   * The id that a caller's idempotency key stands for: the given id when the key is new. `fingerprint` is kept with the key, so
   * that a repeated key with another input is noticed.
   */
  async claim(
    { namespace, name }: { namespace: string; name: string },
    key: string,
    id: string,
    fingerprint: string,
  ): Promise<{ id: string; fingerprint: string }> {
    const taken = keys.idempotency(namespace, name, createHash('sha256').update(key).digest('hex'));
    const before = await this.#redis.set(taken, `${id} ${fingerprint}`, 'EX', IDEMPOTENCY_TTL_S, 'NX', 'GET');
    if (before === null) return { id, fingerprint };
    const [known = id, print = fingerprint] = before.split(' ');
    return { id: known, fingerprint: print };
  }
}
