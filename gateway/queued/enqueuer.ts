/** Puts invocations into the queued lane. What it has answered is in Redis: record and input first, then the job. */
import { createHash } from 'node:crypto';
import { OffshootError } from '#contract/errors.ts';
import type { AnyInvocation, OpenInvocation } from '#contract/invocation.ts';
import type { Deliveries } from '#storage/deliveries.ts';
import type { BlobRef } from '#contract/lane.ts';
import { drainSeconds } from '#contract/pace.ts';
import { retryTerms } from '#contract/retry.ts';
import type { NamespaceLimitsStore } from '#storage/namespace-limits.ts';
import type { QueuedStore } from '#storage/queued.ts';
import type { Queues } from '#storage/queues.ts';
import { sharedNow } from '#storage/clock.ts';
import type { Invocation } from '../invocation.ts';
import type { Drain } from './drain.ts';
import type { QueuedOptions } from './options.ts';

/** The length of a queue is asked for this often at most. */
const COUNT_AGAIN_MS = 1_000;

export interface EnqueuerOptions {
  readonly store: QueuedStore;
  readonly queues: Queues;
  readonly deliveries: Deliveries;
  /** Jobs that a namespace may have waiting, where its own limit is not lower. */
  readonly maxQueued: number;
  readonly limits: NamespaceLimitsStore;
  readonly drain: Drain;
}

export class Enqueuer {
  readonly #options: EnqueuerOptions;
  /** By namespace: jobs that wait, how many may, and when that was read. */
  readonly #counts = new Map<string, { waiting: number; most: number; at: number }>();

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

  /** May the namespace have more jobs that wait? */
  async hasRoom(namespace: string): Promise<boolean> {
    const { waiting, most } = await this.#count(namespace);
    return waiting < most;
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

  async #count(namespace: string): Promise<{ waiting: number; readonly most: number }> {
    const { queues, limits, maxQueued } = this.#options;
    const now = performance.now();
    let count = this.#counts.get(namespace);
    if (!count || now - count.at > COUNT_AGAIN_MS) {
      const [waiting, own] = await Promise.all([queues.of(namespace).count(), limits.find(namespace)]);
      count = { waiting, most: Math.min(maxQueued, own?.maxQueued ?? maxQueued), at: now };
      this.#counts.set(namespace, count);
    }
    return count;
  }
}

function isUnbegun(record: AnyInvocation): record is OpenInvocation {
  return record.state === 'queued' && (record.attempts?.length ?? 0) === 0;
}

function queuedRecord(invocation: Invocation, options: QueuedOptions, input?: BlobRef): OpenInvocation {
  const { retries, queueMs } = invocation.target;
  const { delayMs, priority, callbackUrl, ttlMs: lasts = queueMs } = options;
  const now = sharedNow();
  return {
    ...invocation.open('queued', 'queued'),
    ...(options.idempotencyKey !== undefined && { deduplicates: true as const }),
    ...(input && { inputBlob: input.key }),
    ...(delayMs > 0 && { dueAt: now + delayMs }),
    terms: {
      ...retryTerms(retries),
      expiresAt: now + delayMs + lasts,
      ...(delayMs > 0 && { lasts }),
      ...(priority !== undefined && { priority }),
    },
    ...(callbackUrl !== undefined && { callback: { url: callbackUrl, state: 'pending', attempts: 0 } }),
  };
}
