/**
 * Takes jobs from the queues of all namespaces. Each namespace has a BullMQ worker of its own, so none waits for another's
 * jobs to be looked through; what they have at the same time they share by weight (job-permits.ts).
 */
import type { Job } from 'bullmq';
import type { Redis } from 'ioredis';
import { keys } from '#contract/platform/keys.ts';
import { Pace } from '#contract/platform/pace.ts';
import { DEFAULT_WEIGHT, type NamespaceLimits } from '#contract/functions/quota.ts';
import { moveLater } from '#storage/queued/move-later.ts';
import type { QuotaLeases } from '#storage/limits/quota-leases.ts';
import { JOB_RETENTION, QUEUE_NAME, type QueuedJob } from '#storage/queued/jobs.ts';
import { log } from '../process/log.ts';
import { JobAdmission } from './job-admission.ts';
import { GatedWorker } from './gated-worker.ts';
import { QueuedRuns, type QueuedDeps } from './run-invocation.ts';
import { JobPermits } from './job-permits.ts';

/** A worker that has not renewed its lock for so long has lost the job. */
const LOCK_MS = 10_000;
/** How often jobs of lost workers are looked for. One is begun again after LOCK_MS and two of these at the latest. */
const STALLED_CHECK_MS = 3_000;
/** The record counts what was lost, and decides (contract/invocations/retry.ts); BullMQ would only hide it. */
const MAX_STALLED = 1_000_000;
/** After a drain's grace, how long runs have to be given back. */
const HAND_BACK_MS = 2_000;
/** BullMQ waits so long after a lost connection before it asks for jobs again; its own 15 s are an outage of their own. */
const ASK_AGAIN_MS = 500;
/** One slot in so many is kept for namespaces that have none. */
const FIRST_SHARE = 8;

export interface QueueConsumerOptions extends Omit<QueuedDeps, 'admission'> {
  /** Runs of all namespaces at the same time. */
  readonly capacity: number;
  /** A connection of the role `commands`. */
  readonly commands: Redis;
  readonly places: QuotaLeases;
  /** Opens a connection that waits for Redis as long as it takes. */
  readonly connect: () => Redis;
  /** The invocation that a job of a schedule stands for, or undefined when this time is left out. */
  readonly scheduled: (job: Job<QueuedJob>, namespace: string) => Promise<string | undefined>;
}

export class QueueConsumer {
  readonly #options: QueueConsumerOptions;
  readonly #runs: QueuedRuns;
  readonly #slots: JobPermits;
  readonly #workers = new Map<string, GatedWorker<QueuedJob>>();
  /** Invocations of the jobs that run, whose ids say nothing of them where a schedule has made them. */
  readonly #ids = new Map<string, string>();
  #limits: ReadonlyMap<string, NamespaceLimits> = new Map();
  readonly #ended = new Map<string, Pace>();
  #redis: Redis | undefined;
  #stopping = false;

  constructor(options: QueueConsumerOptions) {
    this.#options = options;
    const first = options.capacity < 2 ? 0 : Math.max(1, Math.floor(options.capacity / FIRST_SHARE));
    this.#slots = new JobPermits({ shared: options.capacity - first, first });
    const admission = new JobAdmission({
      ...options,
      limitsOf: (namespace) => this.#limits.get(namespace),
      pause: (namespace, milliseconds) => this.#slots.pause(namespace, milliseconds),
    });
    this.#runs = new QueuedRuns({ ...options, admission });
  }

  get runs(): QueuedRuns {
    return this.#runs;
  }

  /** Invocations that have ended each second lately, by namespace. */
  endedPerSecond(): Record<string, number> {
    const found: Record<string, number> = {};
    for (const [namespace, pace] of this.#ended) {
      const perSecond = pace.perSecond();
      if (perSecond > 0) found[namespace] = Math.round(perSecond * 10) / 10;
    }
    return found;
  }

  /** Takes jobs of these namespaces from now on, by these limits. */
  follow(namespaces: readonly string[], limits: ReadonlyMap<string, NamespaceLimits>): void {
    if (this.#stopping) return;
    this.#limits = limits;
    for (const namespace of namespaces) {
      this.#slots.setWeight(namespace, limits.get(namespace)?.weight ?? DEFAULT_WEIGHT);
      if (!this.#workers.has(namespace)) this.#workers.set(namespace, this.#open(namespace));
    }
  }

  /** Takes nothing more. What still runs after the grace is given back, and begins again elsewhere. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    this.#slots.close();
    const closing = Promise.all([...this.#workers.values()].map((worker) => worker.close()));
    const timer = setTimeout(() => this.#runs.handBack(), graceMs);
    const late = new Promise((resolve) => setTimeout(resolve, graceMs + HAND_BACK_MS));
    await Promise.race([closing.catch(() => undefined), late]);
    clearTimeout(timer);
    this.#redis?.disconnect();
  }

  #open(namespace: string): GatedWorker<QueuedJob> {
    this.#redis ??= this.#options.connect().setMaxListeners(0);
    const gate = {
      namespace,
      slots: this.#slots,
      offer: (marker: string): void => {
        this.#options.commands.zadd(marker, 0, '0').catch(() => undefined); // they look by themselves, but later
      },
    };
    const process = (job: Job<QueuedJob>, token?: string): Promise<void> =>
      this.#process(namespace, job, token);
    const worker = new GatedWorker<QueuedJob>(gate, QUEUE_NAME, process, {
      connection: this.#redis,
      prefix: keys.queuePrefix(namespace),
      concurrency: this.#options.capacity,
      lockDuration: LOCK_MS,
      stalledInterval: STALLED_CHECK_MS,
      maxStalledCount: MAX_STALLED,
      runRetryDelay: ASK_AGAIN_MS,
      removeOnComplete: JOB_RETENTION,
      removeOnFail: JOB_RETENTION,
    });
    worker.on('error', (error) => {
      if (!this.#stopping)
        log.info({ namespace, error: error.message }, 'the queue of a namespace could not be read');
    });
    worker.on('lockRenewalFailed', (jobs: string[]) => {
      log.warn({ namespace, jobs }, 'jobs were lost to another worker; their runs are ended');
      for (const job of jobs) this.#runs.abandon(this.#ids.get(job) ?? job);
    });
    return worker;
  }

  async #process(namespace: string, job: Job<QueuedJob>, token: string | undefined): Promise<void> {
    const id = job.data.schedule === undefined ? job.data.id : await this.#options.scheduled(job, namespace);
    if (id === undefined) return;
    const { again = 0 } = job.data;
    const jobId = job.id ?? id;
    this.#ids.set(jobId, id);
    const next = await this.#runs
      .run(id, { again, addedAt: job.timestamp })
      .finally(() => this.#ids.delete(jobId));
    if (next === undefined) {
      let pace = this.#ended.get(namespace);
      if (!pace) this.#ended.set(namespace, (pace = new Pace()));
      pace.add();
      return;
    }
    await moveLater(job, next, token);
  }
}
