/**
 * Delivers callbacks. The gateway does this because it has a network and runs no tenant's code. Each namespace has a BullMQ
 * worker of its own with a limited number of parallel deliveries, so none waits for another's receivers.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker, type Job } from 'bullmq';
import type { Redis } from 'ioredis';
import { keys } from '#contract/platform/keys.ts';
import { DELIVERY_QUEUE, type Deliveries, type DeliveryJob } from '#storage/queued/deliveries.ts';
import { LogThrottle, type Log } from '#storage/log.ts';
import { moveLater } from '#storage/queued/move-later.ts';
import { deliver, type DeliveryDeps } from './deliver.ts';

/** Time without a renewal of its lock after which a gateway has lost the delivery. */
const LOCK_MS = 10_000;
/** Interval between checks for deliveries of lost gateways. They begin again after LOCK_MS and two intervals at the latest. */
const STALLED_CHECK_MS = 3_000;
/** Upper bound on BullMQ's restarts of a delivery, in effect none: the record counts the attempts, and decides. */
const MAX_STALLED = 1_000_000;
/** Interval between checks for namespaces with their first callback. */
const NAMESPACES_MS = 1_000;
/** Time limit for giving deliveries back to BullMQ, after the grace of a drain. */
const GIVE_BACK_MS = 2_000;
const ERROR_LOG_INTERVAL_MS = 5_000;

export interface DelivererOptions extends DeliveryDeps {
  readonly deliveries: Deliveries;
  /** Upper bound on parallel deliveries of one namespace. */
  readonly concurrency: number;
  /** Opens a connection that waits for Redis without a time limit. */
  readonly connect: () => Redis;
  readonly log: Log;
}

export class Deliverer {
  readonly #options: DelivererOptions;
  readonly #workers = new Map<string, Worker<DeliveryJob>>();
  readonly #stopping = new AbortController();
  readonly #errors = new LogThrottle(ERROR_LOG_INTERVAL_MS);
  #redis: Redis | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** Builds; nothing is delivered before start(). */
  constructor(options: DelivererOptions) {
    this.#options = options;
  }

  start(): void {
    void this.#look();
    this.#timer = setInterval(() => void this.#look(), NAMESPACES_MS);
  }

  /** Begins no more deliveries. Those without an answer after the grace go back to BullMQ and begin again elsewhere. */
  async stop(graceMs: number): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    const cut = setTimeout(() => this.#stopping.abort(), graceMs);
    const closing = Promise.all([...this.#workers.values()].map((worker) => worker.close()));
    // While Redis is unavailable, closing the workers would wait for it.
    const late = new AbortController();
    await Promise.race([
      closing.catch(() => undefined),
      sleep(graceMs + GIVE_BACK_MS, undefined, { signal: late.signal }).catch(() => undefined),
    ]);
    late.abort();
    clearTimeout(cut);
    this.#stopping.abort();
    this.#redis?.disconnect();
  }

  async #look(): Promise<void> {
    // Redis may be unavailable; the next check finds the namespaces that this one missed.
    const namespaces = await this.#options.deliveries.namespaces().catch(() => []);
    if (this.#closed) return;
    for (const namespace of namespaces) {
      if (!this.#workers.has(namespace)) this.#workers.set(namespace, this.#open(namespace));
    }
  }

  #open(namespace: string): Worker<DeliveryJob> {
    const { concurrency, connect, log } = this.#options;
    this.#redis ??= connect().setMaxListeners(0);
    const worker = new Worker<DeliveryJob>(DELIVERY_QUEUE, (job, token) => this.#process(job, token), {
      connection: this.#redis,
      prefix: keys.queuePrefix(namespace),
      concurrency,
      lockDuration: LOCK_MS,
      stalledInterval: STALLED_CHECK_MS,
      maxStalledCount: MAX_STALLED,
    });
    worker.on('error', (error) => {
      if (this.#stopping.signal.aborted) return;
      this.#errors.run((heldBack) =>
        log.info(
          { namespace, error: error.message, heldBack },
          'the deliveries of a namespace could not be read',
        ),
      );
    });
    return worker;
  }

  async #process(job: Job<DeliveryJob>, token: string | undefined): Promise<void> {
    const turn = { ...job.data, addedAt: job.timestamp, stopping: this.#stopping.signal };
    const next = await deliver(this.#options, turn);
    if (next === undefined) return;
    await moveLater(job, next, token);
  }
}
