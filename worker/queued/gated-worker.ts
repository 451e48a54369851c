/**
 * A BullMQ worker that fetches a job only when its namespace has a permit (job-permits.ts). Locks, stalled jobs and reconnects
 * stay BullMQ's own; only the fetch of the next job goes through the gate.
 */
import { Worker, type Job, type Processor, type WorkerOptions } from 'bullmq';
import { type JobPermits, type JobPermit } from './job-permits.ts';

/** Interval between offers to other workers while this worker has no permit for a namespace with jobs. */
const OFFER_MS = 250;

export interface Gate {
  readonly namespace: string;
  readonly permits: JobPermits;
  /** Wakes the workers that wait for jobs of this queue. */
  readonly offer: (markerKey: string) => void;
}

export class GatedWorker<D> extends Worker<D, void> {
  readonly #gate: Gate;
  readonly #held = new Map<string, JobPermit>();
  /** Number of jobs that were fetched and have not begun. */
  #unbegun = 0;
  /** True when the last fetch found no job. The next one then waits in BullMQ, and at its end only this worker is woken. */
  #emptied = true;
  #offeredAt = -Infinity;

  constructor(gate: Gate, name: string, processor: Processor<D, void>, options: WorkerOptions) {
    // Without this, BullMQ would start to fetch before this object is complete.
    super(name, processor, { ...options, autorun: false });
    this.#gate = gate;
    this.run().catch((error: unknown) => this.emit('error', error as Error));
  }

  /** Fetches the next job, once there is a permit for it. */
  protected override async moveToActive(token: string, name?: string): Promise<Job<D, void>> {
    const { permits, namespace } = this.#gate;
    let permit = permits.tryEnter(namespace);
    // BullMQ starts fetched jobs only after an empty fetch; so never block at the gate while a fetched job is unstarted
    // (deadlock).
    if (!permit && this.#unbegun === 0) {
      this.#offer();
      permit = await permits.enter(namespace);
    }
    let job: Job<D, void> | undefined;
    // BullMQ accepts undefined for "no job", against its own type. There is no permit at all when the worker stops.
    if (!permit) return job as unknown as Job<D, void>;
    try {
      job = await super.moveToActive(token, name);
    } finally {
      this.#use(permit, job);
    }
    return job;
  }

  override async processJob(
    ...parameters: Parameters<Worker<D, void>['processJob']>
  ): ReturnType<Worker<D, void>['processJob']> {
    this.#unbegun--;
    return await super.processJob(...parameters);
  }

  // handleCompleted() may fetch the next job in the same step, which saves a round trip. It does so when the ended job's permit
  // goes to this namespace again.

  protected override async handleCompleted(
    ...[result, job, token, , span]: Parameters<Worker<D, void>['handleCompleted']>
  ): ReturnType<Worker<D, void>['handleCompleted']> {
    const held = this.#take(job);
    const next = held && this.#gate.permits.exchange(held);
    let fetched: Job<D, void> | undefined;
    try {
      fetched = await super.handleCompleted(result, job, token, () => next !== undefined, span);
      return fetched;
    } finally {
      if (next) this.#use(next, fetched);
      // Without this, BullMQ would begin the job only after the fetch that waits at the gate has returned.
      if (fetched) this.#gate.permits.withdraw(this.#gate.namespace);
    }
  }

  protected override async handleFailed(
    ...[error, job, token, , span]: Parameters<Worker<D, void>['handleFailed']>
  ): ReturnType<Worker<D, void>['handleFailed']> {
    const held = this.#take(job);
    if (held) this.#gate.permits.leave(held);
    return await super.handleFailed(error, job, token, () => false, span);
  }

  /** Assigns the permit to the job, or gives it back when there is none. */
  #use(permit: JobPermit, job: Job<D, void> | undefined): void {
    this.#emptied = job === undefined;
    if (job?.id === undefined) return this.#gate.permits.leave(permit, { idle: true });
    this.#held.set(job.id, permit);
    this.#unbegun++;
  }

  /** Returns the job's permit; undefined at the second call for a job, after Redis has not answered the first. */
  #take(job: Job<D, void>): JobPermit | undefined {
    const permit = this.#held.get(job.id ?? '');
    this.#held.delete(job.id ?? '');
    return permit;
  }

  /** Offers the job to other workers: only one waiting worker was woken for it, and this one may have no permit. */
  #offer(): void {
    const now = performance.now();
    if (!this.#emptied && now - this.#offeredAt < OFFER_MS) return;
    this.#offeredAt = now;
    this.#gate.offer(this.keys.marker ?? this.toKey('marker'));
  }
}
