/**
 * Runs one attempt of a queued invocation: takes it, runs it through the same execute() as every call, and records how it ended.
 * The guarantee is at least once: an attempt of a worker that died is started again by another worker.
 *
 *   queued --(taken)--> running --> done
 *     ^                    |          (a dead letter when it has failed for good)
 *     +--- retry, later ---+
 *
 * BullMQ gives a job to one worker at a time; but a delayed worker may not know yet that it has lost its job. So every step
 * compares the record with the version that this worker wrote. A result whose record has moved on is discarded.
 */
import type {
  Attempt,
  FunctionSpan,
  GroupOfBatch,
  InvocationRecord,
  OpenInvocation,
} from '#contract/invocations/invocation.ts';
import type { BlobRef } from '#contract/platform/lane.ts';
import { afterAttempt, isRefused, type Next } from '#contract/invocations/retry.ts';
import { ended, handedBack, IllegalMove, retried, taken } from '#contract/invocations/transitions.ts';
import type { FunctionRepository } from '#storage/functions/function-repository.ts';
import { isRetried, type Groups } from '#storage/queued/groups.ts';
import type { DeadLetters } from '#storage/queued/dead-letters.ts';
import type { Deliveries } from '#storage/queued/deliveries.ts';
import type { QueuedStore, Versioned } from '#storage/queued/records.ts';
import type { Retention } from '#storage/queued/retention.ts';
import type { QuotaLease } from '#storage/limits/quota-leases.ts';
import { sharedNow } from '#storage/redis/clock.ts';
import { Execution } from '../run/execute.ts';
import { log } from '../process/log.ts';
import type { JobAdmission } from './job-admission.ts';
import { Collector } from './collector.ts';
import { callOf, closeLost, groupEnd, LOST, readEnd, type Ended, type Items } from './ended.ts';
import { beforeStart, StoreAway } from './store-unavailable.ts';
import { GroupRun, type GroupDeps } from './group-run.ts';

/** Time limit for writing the end of a run while Redis is away, and the interval between attempts. */
const PERSIST_MS = 60_000;
const PERSIST_RETRY_MS = 250;
/** Time by which a job may come early, because the clocks of two machines differ. */
const EARLY_MS = 50;
/** Time after its job within which a redriven record appears, and the interval between looks for it. */
const REDRIVE_MS = 10_000;
const REDRIVE_LOOK_MS = 50;

export interface QueuedDeps extends GroupDeps {
  readonly store: QueuedStore;
  readonly functions: Pick<FunctionRepository, 'hasVersion' | 'record'>;
  readonly groups: Groups;
  readonly deliveries: Deliveries;
  readonly dead: DeadLetters;
  readonly retention: Retention;
  readonly admission: Pick<JobAdmission, 'admit'>;
  /** Receives the function's own spans of a failed attempt that is followed by another. */
  readonly onSpans?: ((record: OpenInvocation, spans: readonly FunctionSpan[]) => void) | undefined;
}

interface Running {
  readonly execution: Pick<Execution, 'cancel' | 'credit'>;
  handedBack: boolean;
  abandoned: boolean;
}

export class QueuedRuns {
  readonly #deps: QueuedDeps;
  readonly #running = new Map<string, Running>();
  /** Leases of invocations whose function or namespace is limited, from before they begin. */
  readonly #leases = new Map<string, QuotaLease>();

  constructor(deps: QueuedDeps) {
    this.#deps = deps;
  }

  get running(): number {
    return this.#running.size;
  }

  execution(id: string): Running['execution'] | undefined {
    return this.#running.get(id)?.execution;
  }

  /** Ends the run and discards its result: its job may belong to another worker by now. */
  abandon(id: string): void {
    const run = this.#running.get(id);
    if (!run) return;
    run.abandoned = true;
    // No client has cancelled it, so no record must say so.
    run.execution.cancel();
  }

  /** Ends all runs and gives their jobs back as if they had not begun. */
  handBack(): void {
    for (const run of this.#running.values()) {
      run.handedBack = true;
      run.execution.cancel();
    }
  }

  /** Runs the invocation once. Resolves to the Unix time of the next attempt, or undefined when there is none. */
  async run(id: string, job: { again: number; addedAt: number }): Promise<number | undefined> {
    try {
      return await this.#run(id, job);
    } finally {
      this.#leases.get(id)?.leave();
      this.#leases.delete(id);
    }
  }

  async #run(id: string, job: { again: number; addedAt: number }): Promise<number | undefined> {
    const begun = await this.#begin(id, job);
    if (begun === undefined || typeof begun === 'number') return begun;
    const record = begun.record as OpenInvocation;
    try {
      return await this.#runBegun(id, begun, record);
    } catch (error) {
      if (!(error instanceof StoreAway)) throw error;
      log.warn({ id, error: String(error.cause) }, 'an invocation waits for the artifact store');
      await this.#giveBack(begun);
      return sharedNow() + StoreAway.LOOK_AGAIN_MS;
    }
  }

  async #runBegun(id: string, begun: Versioned, record: OpenInvocation): Promise<number | undefined> {
    if (record.batch) return await this.#runGroup(begun, record, record.batch);
    const input = await this.#deps.store.input(id);
    if (!input || (await this.#hasLostBody(record)))
      return await this.#end(begun, {
        outcome: 'platform_error',
        message: 'its input is not there any more',
      });

    const collector = new Collector(this.#deps.blobs);
    const execution = new Execution(callOf(record), {
      ...this.#deps,
      reply: (_, frame) => collector.onFrame(frame),
    });
    collector.execution = execution;
    const running: Running = { execution, handedBack: false, abandoned: false };
    this.#running.set(id, running);
    this.#heed(record, execution);
    let blob: BlobRef | undefined;
    try {
      // The answer comes before the sandbox has settled, and the record need not wait for that.
      const executed = execution.execute(input);
      const collected = await collector.ended;
      ({ blob } = collected);
      const end = readEnd(collected);
      // The next owner of the job sees an attempt without an end.
      if (running.abandoned) throw new Error(`the job of invocation ${id} was lost to another worker`);
      const next = running.handedBack ? await this.#giveBack(begun) : await this.#end(begun, end);
      await executed;
      return next;
    } finally {
      this.#running.delete(id);
      if (blob) await this.#dropUnlessKept(id, blob.key);
    }
  }

  /**
   * Removes the body of a response that its record does not name: another attempt follows, or another worker has the invocation.
   */
  async #dropUnlessKept(id: string, key: string): Promise<void> {
    try {
      const { record } = (await this.#deps.store.find(id)) ?? {};
      if (record?.state !== 'done' || record.resultBlob !== key) await this.#deps.blobs.remove(key);
    } catch (error) {
      log.warn({ id, key, error: String(error) }, 'the body of a result is left to the sweep of the store');
    }
  }

  async #runGroup(begun: Versioned, record: OpenInvocation, of: GroupOfBatch): Promise<number | undefined> {
    const group = await beforeStart(this.#deps.groups.open(of));
    if (!group) {
      const message = 'its items are not there any more';
      return await this.#end(begun, { outcome: 'platform_error', message, hopeless: true });
    }
    const items = new Map(group.known);
    if (group.cancelledBy)
      return await this.#end(begun, {
        outcome: 'cancelled',
        cancelledBy: group.cancelledBy,
        message: 'its batch was cancelled',
        items,
      });
    const execution = new GroupRun(record, callOf(record), this.#deps, this.#leases.has(record.id));
    const running: Running = { execution, handedBack: false, abandoned: false };
    this.#running.set(record.id, running);
    this.#heed(record, execution);
    try {
      // A redriven group runs once more even those items that are not retried automatically.
      const isFirstSince =
        record.redriven !== undefined &&
        (record.attempts?.length ?? 0) - 1 === (record.terms?.triedBefore ?? 0);
      const wanted = group.items.filter(({ index }) => {
        const known = items.get(index);
        return !known || (!known.ok && (isRetried(known) || isFirstSince));
      });
      const { results, report, retryAfterMs, cancelledBy } = await execution.run(wanted, items);
      if (running.abandoned) throw new Error(`the job of invocation ${record.id} was lost to another worker`);
      if (running.handedBack) {
        for (const result of results) if (result.ok) items.set(result.index, result);
        const attempt = record.attempts?.length ?? 0;
        await this.#conclude(of, items, { attempt, final: false, outcome: 'cancelled' });
        return await this.#giveBack(begun);
      }
      for (const result of results) items.set(result.index, result);
      const end = { ...groupEnd(items, of.items), report, retryAfterMs, items };
      // Its items may have been marked as cancelled just before this worker took it: only an API key does that.
      const next = await this.#end(begun, { ...end, cancelledBy: cancelledBy ?? { by: 'key' } });
      await execution.settled();
      return next;
    } finally {
      this.#running.delete(record.id);
    }
  }

  /** Takes the invocation. Resolves to a time when it is not due yet, to undefined when there is nothing to run. */
  async #begin(id: string, job: { again: number; addedAt: number }): Promise<Versioned | number | undefined> {
    const { store, workerId: worker } = this.#deps;
    for (;;) {
      const found = await store.find(id);
      if (!found) return undefined;
      const { record } = found;
      const now = sharedNow();
      if (record.state === 'done') {
        // Redriven just now: the job exists before the record says so.
        const early = job.again > (record.redriven ?? 0) && now < job.addedAt + REDRIVE_MS;
        return early ? now + REDRIVE_LOOK_MS : undefined;
      }
      const { terms, dueAt } = record;
      if (!terms) return undefined;
      const attempts = closeLost(record.attempts ?? [], now);
      const { namespace, name, version } = record;
      const [cancelledBy, isThere] = await Promise.all([
        store.cancelRequested(record),
        this.#deps.functions.hasVersion(namespace, name, version),
      ]);
      if (cancelledBy) {
        const lost = record.state === 'running' && { message: 'its worker was lost' };
        const end: Ended = { outcome: 'cancelled', cancelledBy, ...lost };
        return await this.#finish(found, attempts, end, { next: 'done' });
      }
      if (record.state === 'queued' && dueAt !== undefined && dueAt > now + EARLY_MS) return dueAt;
      if (attempts.at(-1)?.outcome === LOST && record.state === 'running') {
        log.warn({ id, worker: record.worker }, 'an invocation is begun again: its worker was lost');
        const next = afterAttempt(attempts, terms, now);
        if (next.next === 'dead') return await this.#finish(found, attempts, { outcome: LOST }, next);
      }
      if (!isThere)
        return await this.#finish(found, attempts, { outcome: 'function_removed' }, { next: 'done' });
      if (now > terms.expiresAt) {
        const end: Ended = { outcome: 'expired', message: 'its time in the queue was over ("queueTime")' };
        return await this.#finish(found, attempts, end, { next: 'dead', reason: 'expired' });
      }
      if (!this.#leases.has(id)) {
        const admitted = await this.#deps.admission.admit(record);
        if ('at' in admitted) return admitted.at;
        if (admitted.lease) this.#leases.set(id, admitted.lease);
      }
      // The time is read anew: it may have waited for its lease.
      const held = await store.swap(found, taken(record, worker, attempts, sharedNow()));
      if (held) return held;
    }
  }

  /** Records the end of an attempt. Resolves to the time of the next one, or undefined. */
  async #end(begun: Versioned, end: Ended): Promise<number | undefined> {
    const { record } = begun as { record: OpenInvocation };
    const now = sharedNow();
    const { outcome, status, message } = end;
    const closed = {
      outcome,
      endedAt: now,
      ...(status !== undefined && { status }),
      ...(message !== undefined && { message }),
    };
    const attempts = (record.attempts ?? []).map((attempt, index, all) =>
      index === all.length - 1 ? { ...attempt, ...closed } : attempt,
    );
    if (!record.terms) return undefined;
    const isRefusedRun = record.scheduledFor !== undefined && isRefused({ outcome, status });
    const next: Next =
      end.hopeless || isRefusedRun
        ? { next: 'dead', reason: 'not_retried' }
        : afterAttempt(attempts, record.terms, now, { retryAfterMs: end.retryAfterMs });
    if (next.next !== 'retry') return await this.#finish(begun, attempts, end, next);
    if (record.batch && end.items)
      await this.#conclude(record.batch, end.items, { attempt: attempts.length, final: false, outcome });
    await this.#persist(begun, retried(record, attempts, next.at));
    // The record keeps the spans of the last attempt only.
    if (end.report?.spans) this.#deps.onSpans?.(record, end.report.spans);
    return await this.#again(record, next.at);
  }

  async #giveBack(begun: Versioned): Promise<number> {
    await this.#persist(begun, handedBack(begun.record as OpenInvocation));
    return sharedNow();
  }

  /** Looks for a cancel request that came after the record said "running" but before this worker knew the run. */
  #heed(record: OpenInvocation, execution: Running['execution']): void {
    this.#deps.store
      .cancelRequested(record)
      .then((by) => by && execution.cancel(by))
      .catch(() => undefined); // Redis is away, so the canceller got no answer either
  }

  /** Returns the time of the next look: at once if the invocation was cancelled between the end of its run and its record. */
  async #again(record: OpenInvocation, at: number): Promise<number> {
    const wanted = await this.#deps.store.cancelRequested(record).catch(() => false);
    return wanted ? sharedNow() : at;
  }

  async #finish(before: Versioned, attempts: Attempt[], end: Ended, next: Next): Promise<undefined> {
    const open = before.record as OpenInvocation;
    const { outcome, status, report, payload, blob, message, cancelledBy } = end;
    if (open.batch) {
      const known = end.items ?? (await this.#deps.groups.open(open.batch))?.known ?? new Map();
      await this.#conclude(open.batch, known, { attempt: attempts.length, final: true, outcome, message });
    }
    const now = sharedNow();
    const begunAt = attempts.at(-1)?.startedAt ?? now;
    const facts = {
      outcome,
      status,
      report,
      message,
      cancelledBy,
      duration: now - open.startedAt,
      queue: Math.max(0, begunAt - open.startedAt),
      responseBytes: blob?.bytes ?? payload?.length,
      resultBlob: blob?.key,
      dead: next.next === 'dead' ? next.reason : undefined,
    };
    await this.#persist(before, ended(open, facts, attempts), payload);
  }

  async #hasLostBody({ inputBlob }: OpenInvocation): Promise<boolean> {
    return inputBlob !== undefined && (await beforeStart(this.#deps.blobs.size(inputBlob))) === undefined;
  }

  /** Writes the new state of the invocation, with retries while Redis is away. */
  async #persist(
    before: Versioned,
    record: InvocationRecord | OpenInvocation,
    payload?: Buffer,
  ): Promise<void> {
    const { store, dead, deliveries } = this.#deps;
    await patiently(async () => {
      if (record.state === 'done' && record.dead) await dead.add(record);
      else if (record.state === 'done' && record.redriven) await dead.remove(record);
      // Ahead of the record: a delivery that finds no end looks again, but an end without a delivery would never be reported.
      if (record.state === 'done' && record.callback) await deliveries.add(record);
      if (await store.swap(before, record, payload)) return this.#keep(record);
      // Redis may have applied the change before its answer was lost.
      if ((await store.find(record.id))?.raw === JSON.stringify(record)) return;
      log.warn({ id: record.id }, 'a result is discarded: another worker has the invocation by now');
    });
  }

  #keep(record: InvocationRecord | OpenInvocation): void {
    if (record.state !== 'done') return;
    this.#deps.retention
      .endedJob(record)
      .catch((error: unknown) =>
        log.warn({ id: record.id, error: String(error) }, 'old records were not removed'),
      );
  }

  /** Writes the results of a group's items, ahead of its record. */
  async #conclude(of: GroupOfBatch, items: Items, end: Parameters<Groups['conclude']>[2]): Promise<void> {
    await patiently(() => this.#deps.groups.conclude(of, items, end));
  }
}

/** Retries for a while when Redis is away. */
async function patiently(act: () => Promise<void>): Promise<void> {
  const giveUp = performance.now() + PERSIST_MS;
  for (;;) {
    try {
      return await act();
    } catch (error) {
      if (performance.now() > giveUp || error instanceof IllegalMove) throw error;
      await new Promise((resolve) => setTimeout(resolve, PERSIST_RETRY_MS));
    }
  }
}
