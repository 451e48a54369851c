/**
 * Repairs open invocations that the death of a process has left behind: groups of a batch without a record, calls whose gateway
 * is gone, and records without a job. Such a record is left when a gateway dies between the two writes, or when Redis loses the
 * end of its file. Each repair may be done twice, so gateways need not agree on one of them; a lock only avoids double work.
 */
import type { Redis } from 'ioredis';
import type { AnyInvocation, OpenInvocation } from '#contract/invocations/invocation.ts';
import { keys } from '#contract/platform/keys.ts';
import { lost } from '#contract/invocations/transitions.ts';
import { groupInvocationId, groupRecord, type BatchStore, type OpenBatch } from '#storage/queued/batches.ts';
import type { FunctionRepository } from '#storage/functions/function-repository.ts';
import type { Log } from '#storage/log.ts';
import type { QueuedStore, Versioned } from '#storage/queued/records.ts';
import type { Queues } from '#storage/queued/jobs.ts';
import { sharedNow } from '#storage/redis/clock.ts';
import type { Enqueuer } from './enqueuer.ts';

export interface QueueRepairOptions {
  readonly commands: Redis;
  readonly functions: Pick<FunctionRepository, 'namespaces'>;
  readonly store: QueuedStore;
  readonly batches: BatchStore;
  readonly queues: Queues;
  readonly enqueuer: Enqueuer;
  readonly log: Log;
}

const INTERVAL_MS = 5_000;
const LOCK_MS = 4_000;
/** Age below which an invocation is not checked, because its gateway may just be adding the job. */
const SETTLED_MS = 10_000;
/** Time beyond SETTLED_MS until a healthy invocation is checked again: a hundred thousand may wait, for weeks. */
const REST_MS = 20_000;
/** Upper bound on the invocations of a namespace that are checked together, the longest unchecked first. */
const AT_ONCE = 500;
/** Time limit of a round: namespaces take turns, and the gateway has calls to answer. After an outage there is no limit. */
const ROUND_MS = 2_000;
/** Delay after which an invocation that is due, but still waits for its time, is started. */
const LATE_MS = 3_000;
/** Silence after which a gateway counts as gone. */
const GATEWAY_LOST_MS = 60_000;
const BATCHES_AT_ONCE = 100;
const GROUPS_AT_ONCE = 500;

export class QueueRepair {
  readonly #options: QueueRepairOptions;
  #timer: NodeJS.Timeout | undefined;
  /** Finished groups of each open batch at the last round, by id. */
  #progress = new Map<string, number>();
  #busy = false;
  /** Time until which rounds have no limit, by performance.now(). */
  #thoroughUntil = 0;

  constructor(options: QueueRepairOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => void this.#round(), INTERVAL_MS);
    // Data that Redis lost in an outage is missing by now. Within this time, every invocation is checked again.
    this.#options.commands.on('ready', () => {
      this.#thoroughUntil = performance.now() + SETTLED_MS + REST_MS + INTERVAL_MS;
    });
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Runs one round, for the timer and for tests. */
  async look(settledMs = SETTLED_MS): Promise<void> {
    const now = performance.now();
    const giveUp = now < this.#thoroughUntil ? Infinity : now + ROUND_MS;
    const progress = new Map<string, number>();
    const before = sharedNow() - settledMs;
    const namespaces = await this.#options.functions.namespaces();
    for (let left = namespaces; left.length > 0 && performance.now() < giveUp;) {
      const more: string[] = [];
      for (const namespace of left) {
        if ((await this.#lookAt(namespace, before)) === AT_ONCE) more.push(namespace);
      }
      left = more;
    }
    for (const namespace of namespaces) await this.#lookAtBatches(namespace, before, progress);
    this.#progress = progress;
  }

  async #round(): Promise<void> {
    const { commands, log } = this.#options;
    if (this.#busy) return;
    this.#busy = true;
    try {
      const ours = await commands.set(keys.queueRepair(), '1', 'PX', LOCK_MS, 'NX');
      if (ours !== null) await this.look();
    } catch (error) {
      // Redis is unavailable; the next round tries again.
      log.info({ error: String(error) }, 'open invocations were not looked after');
    } finally {
      this.#busy = false;
    }
  }

  async #lookAt(namespace: string, before: number): Promise<number> {
    const { store } = this.#options;
    const ids = await store.open(namespace, before, AT_ONCE);
    const found = await Promise.all(ids.map(async (id) => ({ id, one: await store.find(id) })));
    const open = found.flatMap(({ one }) => (one && one.record.state !== 'done' ? [one] : []));
    await Promise.all(open.map((one) => this.#mend(one)));
    const now = sharedNow();
    const next = new Map(open.map(({ record }) => [record.id, nextLook(record, now)]));
    await store.seen(
      namespace,
      next,
      ids.filter((id) => !next.has(id)),
    );
    return ids.length;
  }

  async #mend(one: Versioned): Promise<void> {
    const record = one.record as OpenInvocation;
    if (record.lane === 'sync') return await this.#endLost(one, record);
    // BullMQ itself makes the job of a schedule again, and gives it an id of its own.
    if (record.scheduledFor !== undefined) return;
    const { queues, enqueuer, log } = this.#options;
    const { namespace, id, redriven, dueAt } = record;
    if (await queues.has(namespace, id, redriven)) {
      // It has been due for long: BullMQ uses the clock of a host, and that was set back.
      const late = record.state === 'queued' && dueAt !== undefined && dueAt < sharedNow() - LATE_MS;
      if (late) await queues.promote(namespace, id, redriven);
      return;
    }
    // The invocation runs, and will end without its job.
    if (record.state === 'running' && (await this.#lives(record.worker))) return;
    await enqueuer.add(record);
    log.warn({ id: record.id, namespace: record.namespace }, 'an invocation without a job was queued again');
  }

  async #lives(worker: string | undefined): Promise<boolean> {
    return worker !== undefined && (await this.#options.commands.exists(keys.worker(worker))) === 1;
  }

  /** Ends the record of a call whose gateway is gone: its caller has no connection, and no process will record the end. */
  async #endLost(one: Versioned, record: OpenInvocation): Promise<void> {
    const { commands, store, log } = this.#options;
    if (record.gatewayId === undefined) return;
    const seen = await commands.zscore(keys.gateways(), record.gatewayId);
    if (seen !== null && Number(seen) > sharedNow() - GATEWAY_LOST_MS) return;
    if (await store.swap(one, lost(record, sharedNow())))
      log.warn({ id: record.id, gateway: record.gatewayId }, 'a call ended with its gateway');
  }

  /** Queues groups that have room in a batch but no record, if the batch makes no progress. */
  async #lookAtBatches(namespace: string, before: number, progress: Map<string, number>): Promise<void> {
    const { batches } = this.#options;
    const over: string[] = [];
    for (let from = 0; ; from += BATCHES_AT_ONCE) {
      const page = await batches.open(namespace, from, BATCHES_AT_ONCE);
      for (const batch of page) {
        if (batch.isOver) over.push(batch.id);
        else await this.#lookAtBatch(batch, before, progress);
      }
      if (page.length < BATCHES_AT_ONCE) break;
    }
    await batches.close(namespace, over);
  }

  async #lookAtBatch(
    { id, groups, groupsDone }: OpenBatch,
    before: number,
    progress: Map<string, number>,
  ): Promise<void> {
    if (groupsDone === groups) return;
    progress.set(id, groupsDone);
    if (this.#progress.get(id) !== groupsDone) return;
    for (let from = 0; from < groups; from += GROUPS_AT_ONCE)
      await this.#lookAtGroups(id, from, Math.min(groups, from + GROUPS_AT_ONCE), before);
  }

  async #lookAtGroups(id: string, from: number, to: number, before: number): Promise<void> {
    const { batches, store, enqueuer, log } = this.#options;
    const facts = (await batches.find(id))?.facts;
    if (!facts) return;
    for (const [at, entry] of (await batches.groups(id, from, to)).entries()) {
      if (!entry || entry.done || entry.at > before) continue;
      if (await store.find(groupInvocationId(id, from + at))) continue;
      await enqueuer.queue(groupRecord(facts, from + at, entry));
      log.warn({ batch: id, group: from + at }, 'a group without a record was queued again');
    }
  }
}

/** Time of the next check: after the rest, or when the invocation would be late, if that is sooner. */
function nextLook(record: AnyInvocation, now: number): number {
  const late = record.state === 'queued' && record.dueAt !== undefined ? record.dueAt + LATE_MS : 0;
  return late <= now ? now + REST_MS : Math.min(now + REST_MS, late - SETTLED_MS);
}
