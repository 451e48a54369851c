/** Puts invocations into the queued lane. What it has answered is in Redis: record and input first, then the job. */
import { createHash } from 'node:crypto';
import { OffshootError } from '#contract/api/errors.ts';
import type { AnyInvocation, OpenInvocation } from '#contract/invocations/invocation.ts';
import type { Deliveries } from '#storage/queued/deliveries.ts';
import type { BlobRef } from '#contract/platform/lane.ts';
import { drainSeconds } from '#contract/platform/pace.ts';
import { queued, type Identity } from '#contract/invocations/transitions.ts';
import { retryTerms } from '#contract/invocations/retry.ts';
import type { NamespaceLimitsStore } from '#storage/limits/namespace-limits.ts';
import type { QueuedStore } from '#storage/queued/records.ts';
import type { Queues } from '#storage/queued/jobs.ts';
import { sharedNow } from '#storage/redis/clock.ts';
import type { Invocation } from '../dispatch/invocation.ts';
import type { QueueRate } from './queue-rate.ts';
import type { QueuedOptions } from './options.ts';

/** The length of a queue is asked for this often at most. */
const COUNT_AGAIN_MS = 1_000;
/** And this often by who waits for room in it. */
const FULL_AGAIN_MS = 100;

/** Jobs of a namespace that wait, how many may, and when that was read. */
interface Count {
  waiting: number;
  readonly most: number;
  readonly at: number;
}

export interface Room {
  queued(): void;
  giveBack(): void;
}

export interface EnqueuerOptions {
  readonly store: QueuedStore;
  readonly queues: Queues;
  readonly deliveries: Deliveries;
  /** Jobs that a namespace may have waiting, where its own limit is not lower. */
  readonly maxQueued: number;
  readonly limits: NamespaceLimitsStore;
  readonly drain: QueueRate;
}

export class Enqueuer {
  readonly #options: EnqueuerOptions;
  readonly #counts = new Map<string, Count>();
  /** Counts that are being read, so that all who wait for one share it. */
  readonly #counting = new Map<string, Promise<Count>>();
  /** By namespace: rooms taken, and those of them of which it is known what became of them. */
  readonly #rooms = new Map<string, { taken: number; settled: number }>();

  constructor(options: EnqueuerOptions) {
    this.#options = options;
  }

  /**
   * Resolves when Redis has acknowledged it, to the invocation that the caller's key stands for, if it has one and it came
   * before. `body` is what tells two inputs under one key apart; `input` is where the body is, if not in the payload.
   */
  async enqueue(
    invocation: Invocation,
    payload: Buffer,
    body: Buffer,
    options: QueuedOptions,
    input?: BlobRef,
  ): Promise<AnyInvocation> {
    const { store, deliveries } = this.#options;
    const { target } = invocation;
    await this.checkRoom(target.namespace, 1);
    let record = queuedRecord(invocation, options, input);
    if (options.idempotencyKey !== undefined) {
      const print = createHash('sha256')
        .update(`${invocation.method} ${invocation.path}\n`)
        .update(body)
        .digest('hex');
      const claimed = await store.claim(target, options.idempotencyKey, record.id, print);
      if (claimed.fingerprint !== print) {
        throw new OffshootError(
          'idempotency_mismatch',
          'this Idempotency-Key stands for an invocation of this function with another input',
        );
      }
      const known = claimed.id === record.id ? undefined : (await store.find(claimed.id))?.record;
      if (known && !isUnbegun(known)) return known;
      // Taken before, but perhaps not whole: adding it again does nothing where it is.
      record = known && isUnbegun(known) ? known : { ...record, id: claimed.id };
    }
    // Gateways then listen already when it ends.
    if (record.callback) await deliveries.announce(record.namespace);
    await store.create(record, payload);
    await this.add(record);
    // Of two requests under one key at the same time, one has made the record, and its body is the one that is kept.
    return (input && (await store.find(record.id))?.record) ?? record;
  }

  /** Queues an invocation whose input is elsewhere. Doing it again changes nothing. */
  async queue(record: OpenInvocation): Promise<void> {
    await this.#options.store.create(record);
    await this.add(record);
  }

  /**
   * Takes room for one more job that waits; undefined where there is none. Whoever has it says what became of it: queued, or
   * not. Until then it counts, also where the jobs in Redis are counted anew.
   */
  async takeRoom(namespace: string): Promise<Room | undefined> {
    let count = await this.#count(namespace);
    if (count.waiting >= count.most) count = await this.#count(namespace, FULL_AGAIN_MS);
    if (count.waiting >= count.most) return undefined;
    count.waiting++;
    const rooms = this.#roomsOf(namespace);
    rooms.taken++;
    return {
      queued: () => void rooms.settled++,
      giveBack: () => {
        rooms.settled++;
        const now = this.#counts.get(namespace);
        if (now) now.waiting--;
      },
    };
  }

  /** Adds the job of a record that is in Redis. */
  async add(record: OpenInvocation): Promise<void> {
    const { namespace, id, dueAt, terms, redriven } = record;
    await this.#options.queues.add(namespace, id, {
      delayMs: dueAt === undefined ? 0 : Math.max(0, dueAt - sharedNow()),
      priority: terms?.priority,
      ...(redriven !== undefined && { again: redriven }),
    });
  }

  /** Throws `queue_full`. As counted a moment ago, and what this gateway has added since. `adding`: so many are added now. */
  async checkRoom(namespace: string, adding = 0): Promise<void> {
    const count = await this.#count(namespace);
    if (count.waiting < count.most) {
      count.waiting += adding;
      return;
    }
    const { waiting, most } = count;
    const backlog = { waiting, endedPerSecond: await this.#options.drain.perSecond(namespace) };
    throw new OffshootError(
      'queue_full',
      `${waiting} invocations of the namespace "${namespace}" wait already, and ${most} may`,
      { retryAfterS: drainSeconds(backlog), details: { ...backlog, limit: most } },
    );
  }

  async #count(namespace: string, maxAgeMs = COUNT_AGAIN_MS): Promise<Count> {
    const count = this.#counts.get(namespace);
    if (count && performance.now() - count.at <= maxAgeMs) return count;
    let counting = this.#counting.get(namespace);
    if (!counting) {
      counting = this.#read(namespace).finally(() => this.#counting.delete(namespace));
      this.#counting.set(namespace, counting);
    }
    return await counting;
  }

  async #read(namespace: string): Promise<Count> {
    const { queues, limits, maxQueued } = this.#options;
    const at = performance.now();
    const rooms = this.#roomsOf(namespace);
    const { settled } = rooms;
    const [counted, own] = await Promise.all([queues.of(namespace).count(), limits.find(namespace)]);
    // What was on its way meanwhile may have come too late to be counted.
    const waiting = counted + rooms.taken - settled;
    const count = { waiting, most: Math.min(maxQueued, own?.maxQueued ?? maxQueued), at };
    this.#counts.set(namespace, count);
    return count;
  }

  #roomsOf(namespace: string): { taken: number; settled: number } {
    let rooms = this.#rooms.get(namespace);
    if (!rooms) this.#rooms.set(namespace, (rooms = { taken: 0, settled: 0 }));
    return rooms;
  }
}

function isUnbegun(record: AnyInvocation): record is OpenInvocation {
  return record.state === 'queued' && (record.attempts?.length ?? 0) === 0;
}

function queuedRecord(invocation: Invocation, options: QueuedOptions, input?: BlobRef): OpenInvocation {
  const { retries, queueMs } = invocation.target;
  const { delayMs, priority, callbackUrl, ttlMs: lasts = queueMs } = options;
  const now = sharedNow();
  const identity: Identity = {
    ...invocation.identity('queued'),
    ...(options.idempotencyKey !== undefined && { deduplicates: true as const }),
    ...(input && { inputBlob: input.key }),
    terms: {
      ...retryTerms(retries),
      expiresAt: now + delayMs + lasts,
      ...(delayMs > 0 && { lasts }),
      ...(priority !== undefined && { priority }),
    },
    ...(callbackUrl !== undefined && { callback: { url: callbackUrl, state: 'pending', attempts: 0 } }),
  };
  return queued(identity, delayMs > 0 ? now + delayMs : undefined);
}
