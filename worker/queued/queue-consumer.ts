/**
 * Takes jobs from the queues of all namespaces. Each namespace has a BullMQ worker of its own, so none waits while another's jobs
 * are searched. They share their simultaneous runs by weight (job-permits.ts).
 */
import type { Job } from 'bullmq';
import type { Redis } from 'ioredis';
import { OffshootError } from '#contract/api/errors.ts';
import { keys } from '#contract/platform/keys.ts';
import { Pace } from '#contract/platform/pace.ts';
import { DEFAULT_WEIGHT, type NamespaceLimits } from '#contract/functions/quota.ts';
import { moveLater } from '#storage/queued/move-later.ts';
import type { QuotaLeases } from '#storage/limits/quota-leases.ts';
import { JOB_RETENTION, QUEUE_NAME, type QueuedJob } from '#storage/queued/jobs.ts';
import { sharedNow } from '#storage/redis/clock.ts';
import { log } from '../process/log.ts';
import { JobAdmission } from './job-admission.ts';
import { GatedWorker } from './gated-worker.ts';
import { QueuedRuns, type QueuedDeps } from './run-invocation.ts';
import { JobPermits } from './job-permits.ts';

/** Time without a renewed lock after which a worker has lost its job. */
const LOCK_MS = 10_000;
/** Interval between checks for jobs of lost workers. Such a job starts again after at most LOCK_MS and two of these. */
const STALLED_CHECK_MS = 3_000;
/**
 * Practically no limit: the record counts lost attempts and decides (contract/invocations/retry.ts); BullMQ would only hide the
 * job.
 */
const MAX_STALLED = 1_000_000;
/** Time limit for handing runs back, after the grace of a drain. */
const HAND_BACK_MS = 2_000;
/** Delay before BullMQ asks for jobs again after a lost connection; its own 15 s would be an outage of their own. */
const ASK_AGAIN_MS = 500;
/** One permit in this many is reserved for namespaces that have none. */
const FIRST_SHARE = 8;
/** Interval between looks at a job whose function has a record that cannot be read. */
const OUTDATED_MS = 10_000;

export interface QueueConsumerOptions extends Omit<QueuedDeps, 'admission'> {
  /** Upper bound on simultaneous runs of all namespaces. */
  readonly capacity: number;
  /** A connection of the role `commands`. */
  readonly commands: Redis;
  readonly leases: QuotaLeases;
  /** Opens a connection that waits for Redis without a time limit. */
  readonly connect: () => Redis;
  /** Returns the id of the invocation for a job of a schedule; undefined when this time is skipped. */
  readonly scheduled: (job: Job<QueuedJob>, namespace: string) => Promise<string | undefined>;
}

export class QueueConsumer {
  readonly #options: QueueConsumerOptions;
  readonly #runs: QueuedRuns;
  readonly #permits: JobPermits;
  readonly #workers = new Map<string, GatedWorker<QueuedJob>>();
  /** Invocation ids of running jobs, by job id: a schedule's job has an id of another form. */
  readonly #ids = new Map<string, string>();
  #limits: ReadonlyMap<string, NamespaceLimits> = new Map();
  readonly #ended = new Map<string, Pace>();
  #redis: Redis | undefined;
  #stopping = false;

  constructor(options: QueueConsumerOptions) {
    this.#options = options;
    const first = options.capacity < 2 ? 0 : Math.max(1, Math.floor(options.capacity / FIRST_SHARE));
    this.#permits = new JobPermits({ shared: options.capacity - first, first });
    const admission = new JobAdmission({
      ...options,
      limitsOf: (namespace) => this.#limits.get(namespace),
      pause: (namespace, milliseconds) => this.#permits.pause(namespace, milliseconds),
    });
    this.#runs = new QueuedRuns({ ...options, admission });
  }

  get runs(): QueuedRuns {
    return this.#runs;
  }

  /** Number of invocations that ended per second lately, by namespace. */
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
      this.#permits.setWeight(namespace, limits.get(namespace)?.weight ?? DEFAULT_WEIGHT);
      if (!this.#workers.has(namespace)) this.#workers.set(namespace, this.#open(namespace));
    }
  }

  /** Stops fetching. Runs that have not ended after the grace are handed back, and start again elsewhere. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    this.#permits.close();
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
      permits: this.#permits,
      offer: (marker: string): void => {
        this.#options.commands.zadd(marker, 0, '0').catch(() => undefined); // other workers look by themselves, but later
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
    try {
      await this.#attempt(namespace, job, token);
    } catch (error) {
      if (!(error instanceof OffshootError) || error.code !== 'function_outdated') throw error;
      log.warn({ namespace, job: job.id, error: error.message }, 'a job waits until its function is removed');
      await moveLater(job, sharedNow() + OUTDATED_MS, token);
    }
  }

  async #attempt(namespace: string, job: Job<QueuedJob>, token: string | undefined): Promise<void> {
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
