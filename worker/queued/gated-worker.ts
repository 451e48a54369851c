/**
 * A BullMQ worker that fetches a job only when its namespace has a slot (job-permits.ts). Locks, looks for stalled jobs and
 * reconnects are BullMQ's own; only the way to the next job leads through the gate.
 */
import { Worker, type Job, type Processor, type WorkerOptions } from 'bullmq';
import { type JobPermits, type JobPermit } from './job-permits.ts';

/** While this worker has no slot for a namespace with jobs, others are told of them this often at most. */
const OFFER_MS = 250;

export interface Gate {
  readonly namespace: string;
  readonly slots: JobPermits;
  /** Wakes the workers that wait for jobs of this queue. */
  readonly offer: (markerKey: string) => void;
}

export class GatedWorker<D> extends Worker<D, void> {
  readonly #gate: Gate;
  readonly #held = new Map<string, JobPermit>();
  /** Jobs that were fetched and have not begun. */
  #unbegun = 0;
  /** The last look found nothing, so that the next one comes after a wait, whose end only this worker has heard of. */
  #emptied = true;
  #offeredAt = -Infinity;

  constructor(gate: Gate, name: string, processor: Processor<D, void>, options: WorkerOptions) {
    // It would begin to fetch before this object is whole.
    super(name, processor, { ...options, autorun: false });
    this.#gate = gate;
    this.run().catch((error: unknown) => this.emit('error', error as Error));
  }

  /** Fetches the next job, once there is a slot for it. */
  protected override async moveToActive(token: string, name?: string): Promise<Job<D, void>> {
    const { slots, namespace } = this.#gate;
    let slot = slots.tryEnter(namespace);
    // BullMQ begins what it has fetched when there is no more to fetch; to wait here before that would be to wait for ever.
    if (!slot && this.#unbegun === 0) {
      this.#offer();
      slot = await slots.enter(namespace);
    }
    let job: Job<D, void> | undefined;
    // As its type does not say, undefined is that there is no job. There is no slot at all when the worker stops.
    if (!slot) return job as unknown as Job<D, void>;
    try {
      job = await super.moveToActive(token, name);
    } finally {
      this.#use(slot, job);
    }
    return job;
  }

  override async processJob(
    ...parameters: Parameters<Worker<D, void>['processJob']>
  ): ReturnType<Worker<D, void>['processJob']> {
    this.#unbegun--;
    return await super.processJob(...parameters);
  }

  // These two fetch the next job in the same step, which saves a round trip, and which may be done where the slot of the job
  // that has ended is this namespace's again.

  protected override async handleCompleted(
    ...[result, job, token, , span]: Parameters<Worker<D, void>['handleCompleted']>
  ): ReturnType<Worker<D, void>['handleCompleted']> {
    const held = this.#take(job);
    const next = held && this.#gate.slots.exchange(held);
    let fetched: Job<D, void> | undefined;
    try {
      fetched = await super.handleCompleted(result, job, token, () => next !== undefined, span);
      return fetched;
    } finally {
      if (next) this.#use(next, fetched);
      // BullMQ would begin it only when the fetch that waits at the gate has come back.
      if (fetched) this.#gate.slots.withdraw(this.#gate.namespace);
    }
  }

  protected override async handleFailed(
    ...[error, job, token, , span]: Parameters<Worker<D, void>['handleFailed']>
  ): ReturnType<Worker<D, void>['handleFailed']> {
    const held = this.#take(job);
    if (held) this.#gate.slots.leave(held);
    return await super.handleFailed(error, job, token, () => false, span);
  }

  /** The slot is that of the job, or nobody's when there is none. */
  #use(slot: JobPermit, job: Job<D, void> | undefined): void {
    this.#emptied = job === undefined;
    if (job?.id === undefined) return this.#gate.slots.leave(slot, { idle: true });
    this.#held.set(job.id, slot);
    this.#unbegun++;
  }

  /** Undefined the second time, after Redis has not answered. */
  #take(job: Job<D, void>): JobPermit | undefined {
    const slot = this.#held.get(job.id ?? '');
    this.#held.delete(job.id ?? '');
    return slot;
  }

  /** A worker that waits for a job is woken once for it. If this one cannot take it, another may. */
  #offer(): void {
    const now = performance.now();
    if (!this.#emptied && now - this.#offeredAt < OFFER_MS) return;
    this.#offeredAt = now;
    this.#gate.offer(this.keys.marker ?? this.toKey('marker'));
  }
}
