/** Puts invocations into the queued lane. It resolves when Redis has them: record and input first, then the job. */
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

/** Age up to which the counted length of a queue is used again. */
const COUNT_AGAIN_MS = 1_000;
/** Age up to which it is used by a caller that waits for room in the queue. */
const FULL_AGAIN_MS = 100;

/** Waiting jobs of a namespace, their upper bound, and the time of the count by performance.now(). */
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
  /** Upper bound on the waiting jobs of a namespace whose own limit is not lower. */
  readonly maxQueued: number;
  readonly limits: NamespaceLimitsStore;
  readonly queueRate: QueueRate;
}

export class Enqueuer {
  readonly #options: EnqueuerOptions;
  readonly #counts = new Map<string, Count>();
  /** Counts that are being read, which concurrent callers share. */
  readonly #counting = new Map<string, Promise<Count>>();
  /** Per namespace: rooms taken, and how many of them are settled (queued or given back). */
  readonly #rooms = new Map<string, { taken: number; settled: number }>();

  constructor(options: EnqueuerOptions) {
    this.#options = options;
  }

  /**
   * Resolves when Redis has acknowledged the invocation. If the idempotency key belongs to an earlier invocation, resolves to
   * that one. `body` tells two inputs under one key apart; `input` refers to the body when it is not in the payload.
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
          'this Idempotency-Key belongs to an invocation of this function with another input',
        );
      }
      const known = claimed.id === record.id ? undefined : (await store.find(claimed.id))?.record;
      if (known && !isUnbegun(known)) return known;
      // An earlier request may have been cut short. Adding the invocation again changes nothing where it is complete.
      record = known && isUnbegun(known) ? known : { ...record, id: claimed.id };
    }
    // Announced first, so that gateways listen before it ends.
    if (record.callback) await deliveries.announce(record.namespace);
    await store.create(record, payload);
    await this.add(record);
    // Of two simultaneous requests under one key, one has made the record, and only its body is kept.
    return (input && (await store.find(record.id))?.record) ?? record;
  }

  /** Queues an invocation whose input is stored elsewhere. A repeated call changes nothing. */
  async queue(record: OpenInvocation): Promise<void> {
    await this.#options.store.create(record);
    await this.add(record);
  }

  /**
   * Reserves room for one more waiting job; undefined when the queue is full. The caller must settle the room: queued, or given
   * back. Until then it counts, even when the jobs in Redis are counted anew.
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

  /** Throws `queue_full`, by the last count and the jobs that this gateway added since. `adding`: number of jobs added now. */
  async checkRoom(namespace: string, adding = 0): Promise<void> {
    const count = await this.#count(namespace);
    if (count.waiting < count.most) {
      count.waiting += adding;
      return;
    }
    const { waiting, most } = count;
    const backlog = { waiting, endedPerSecond: await this.#options.queueRate.perSecond(namespace) };
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
    // Jobs in transit during the count may have come too late for it, so they are added.
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
