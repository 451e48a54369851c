/**
 * Records of invocations in Redis (AnyInvocation), with the input and result of each of the queued lane. Gateways and workers change
 * a record only by comparing and setting it: of two that want to end the same invocation one succeeds, and the other learns that it
 * did not. contract/invocations/transitions.ts makes each changed record.
 */
import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { AnyInvocation, OpenInvocation } from '#contract/invocations/invocation.ts';
import { checkMove } from '#contract/invocations/transitions.ts';
import {
  CANCEL_TTL_S,
  IDEMPOTENCY_TTL_S,
  keys,
  RECENT_LENGTH,
  RECORD_TTL_S,
  RESULT_TTL_S,
} from '#contract/platform/keys.ts';
import { keepBatch } from './batches.ts';
import { sharedNow } from '../redis/clock.ts';
import { Script } from '../redis/script.ts';

/** A record with the bytes that it was read as, which a change of it is compared with. */
export interface Versioned {
  readonly raw: string;
  readonly record: AnyInvocation;
}

/**
 * Sets a record to a value if it still has the one that was read, and its result with it, so that a worker that has lost an
 * invocation cannot put its own result beside another's record. Its input is kept as long as the record from then on. Returns
 * whether it did.
 */
const SWAP = new Script(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
redis.call('EXPIRE', KEYS[3], ARGV[3])
if ARGV[4] then redis.call('SET', KEYS[2], ARGV[4], 'EX', ARGV[5]) end
return 1`);

/** Adds to the list of a function, which is as long as it may be at most, and kept as long as what is in it. */
const LIST = new Script(`
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
local over = redis.call('ZCARD', KEYS[1]) - ARGV[3]
if over > 0 then redis.call('ZREMRANGEBYRANK', KEYS[1], 0, over - 1) end
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[4]) then redis.call('EXPIRE', KEYS[1], ARGV[4]) end`);

/** Is told of each change of a record that this process has made, behind it: what metrics and traces are made from. */
export type Changed = (before: AnyInvocation, after: AnyInvocation) => void;

/** Seconds that a record is kept from now on, and what it needs: what has not ended may wait for weeks before it begins. */
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
   * Writes a new invocation with its input; leaves one of the same id as it is. It shows in lists from here on. Without an
   * input it has that elsewhere.
   */
  async create(record: OpenInvocation, input?: Buffer): Promise<void> {
    const { id, namespace, name } = record;
    const recent = keys.recent(namespace, name);
    const seconds = secondsKept(record);
    await Promise.all([
      this.#keepNeeded(record, seconds),
      // First: what is in the index without a record is left out where it is read, the other way round nobody would miss it.
      this.#redis.zadd(keys.open(namespace), sharedNow(), id),
      input && this.#redis.set(keys.input(id), input, 'EX', seconds, 'NX'),
      this.#redis.set(keys.invocation(id), JSON.stringify(record), 'EX', seconds, 'NX'),
      LIST.run(this.#redis, [recent], [record.startedAt, id, RECENT_LENGTH, seconds]),
    ]);
  }

  /** What lies elsewhere and is not to go before the record. */
  async #keepNeeded({ inputBlob, batch }: AnyInvocation, seconds: number): Promise<void> {
    if (inputBlob !== undefined) await this.#redis.set(keys.heldBlob(inputBlob), '1', 'EX', seconds);
    if (batch) await keepBatch(this.#redis, batch.id, seconds);
  }

  async find(id: string): Promise<Versioned | undefined> {
    const raw = await this.#redis.get(keys.invocation(id));
    // Written by a gateway or worker with the type of the contract.
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
    // Before the record needs it for longer.
    if (record.state !== 'running') await this.#keepNeeded(record, seconds);
    const touched = [keys.invocation(id), keys.result(id), keys.input(id)];
    const done = await SWAP.run(this.#redis, touched, values);
    if (done !== 1) return undefined;
    this.#changed?.(before.record, record);
    // Nobody waits for it: what is left in the index is taken out where that is read.
    if (record.state === 'done') this.#redis.zrem(keys.open(record.namespace), id).catch(() => undefined);
    else await this.#redis.zadd(keys.open(record.namespace), 'NX', sharedNow(), id);
    return { raw, record };
  }

  /** Ids of invocations that have not ended, and were made, or are to be looked at, by a Unix time in milliseconds; oldest first. */
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

  /** They were seen to be in order, and are to be looked at again as made at these times; or have ended. */
  async seen(namespace: string, next: ReadonlyMap<string, number>, ended: readonly string[]): Promise<void> {
    const open = keys.open(namespace);
    if (next.size > 0) await this.#redis.zadd(open, 'XX', ...[...next].flatMap(([id, at]) => [at, id]));
    if (ended.length > 0) await this.#redis.zrem(open, ...ended);
  }

  /** Whoever begins the invocation, or would have it tried again, shall end it instead. */
  async requestCancel({ id, redriven = 0 }: AnyInvocation): Promise<void> {
    await this.#redis.set(keys.cancelled(id), redriven, 'EX', CANCEL_TTL_S);
  }

  /** A wish from before it was queued again as a dead letter counts no more. */
  async cancelRequested({ id, redriven = 0 }: AnyInvocation): Promise<boolean> {
    return (await this.#redis.get(keys.cancelled(id))) === String(redriven);
  }

  async input(id: string): Promise<Buffer | undefined> {
    return (await this.#redis.getBuffer(keys.input(id))) ?? undefined;
  }

  async result(id: string): Promise<Buffer | undefined> {
    return (await this.#redis.getBuffer(keys.result(id))) ?? undefined;
  }

  /** Whether the result is still kept, which may be too large to look at for that. */
  async hasResult(id: string): Promise<boolean> {
    return (await this.#redis.exists(keys.result(id))) === 1;
  }

  /**
   * The id that a caller's key stands for: the given one when the key is new. `fingerprint` is kept with it, so that a key
   * that comes again with another input is noticed.
   */
  async claim(
    { namespace, name }: { namespace: string; name: string },
    key: string,
    id: string,
    fingerprint: string,
  ): Promise<{ id: string; fingerprint: string }> {
    const place = keys.idempotency(namespace, name, createHash('sha256').update(key).digest('hex'));
    const before = await this.#redis.set(place, `${id} ${fingerprint}`, 'EX', IDEMPOTENCY_TTL_S, 'NX', 'GET');
    if (before === null) return { id, fingerprint };
    const [known = id, print = fingerprint] = before.split(' ');
    return { id: known, fingerprint: print };
  }
}
