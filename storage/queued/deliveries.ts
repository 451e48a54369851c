/**
 * The BullMQ queues of callback deliveries. Each namespace has a queue of its own, so that its slow receivers do not delay other
 * namespaces. A job carries the id of an invocation; receiver and state of the delivery are in the record, as with the queued
 * lane's own jobs (jobs.ts).
 */
import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import type { AnyInvocation } from '#contract/invocations/invocation.ts';
import { keys } from '#contract/platform/keys.ts';

export const DELIVERY_QUEUE = 'deliveries';

export interface DeliveryJob {
  readonly id: string;
  /** Number of redrives of the invocation before this end: each end after a redrive has a delivery of its own. */
  readonly again: number;
}

/** Delay of a new delivery: its record is written just after it is added, so a turn at once would come too early. */
const FIRST_LOOK_MS = 30;
const GATEWAY_ATTEMPTS = 100_000;
const GATEWAY_RETRY_MS = 1_000;
const MAX_QUEUES = 1_000;

export class Deliveries {
  readonly #redis: Redis;
  readonly #queues = new Map<string, Queue<DeliveryJob>>();

  /** `redis`: a connection of the role `commands`. */
  constructor(redis: Redis) {
    this.#redis = redis;
    redis.setMaxListeners(0); // each queue listens to its errors
  }

  /** Makes gateways read the deliveries of a namespace. */
  async announce(namespace: string): Promise<void> {
    await this.#redis.sadd(keys.callbackNamespaces(), namespace);
  }

  /** Namespaces that were announced. */
  namespaces(): Promise<string[]> {
    return this.#redis.smembers(keys.callbackNamespaces());
  }

  /**
   * To be called before the record says that the invocation has ended. A repeated call adds nothing while the first job exists,
   * and the record shows whether a delivery is done already.
   */
  async add({
    namespace,
    id,
    redriven: again = 0,
  }: Pick<AnyInvocation, 'namespace' | 'id' | 'redriven'>): Promise<void> {
    await this.announce(namespace);
    await this.#of(namespace).add(
      'delivery',
      { id, again },
      { jobId: deliveryId(id, again), delay: FIRST_LOOK_MS },
    );
  }

  #of(namespace: string): Queue<DeliveryJob> {
    let queue = this.#queues.get(namespace);
    if (!queue) {
      queue = new Queue<DeliveryJob>(DELIVERY_QUEUE, {
        connection: this.#redis,
        prefix: keys.queuePrefix(namespace),
        // While Redis is unavailable, commands fail at once instead of waiting.
        skipWaitingForReady: true,
        // Not kept: an ended job would prevent a new one with the same id.
        defaultJobOptions: {
          removeOnComplete: true,
          removeOnFail: true,
          // Attempts of gateways that fail at a job, for example without Redis. The record counts those of the delivery.
          attempts: GATEWAY_ATTEMPTS,
          backoff: { type: 'fixed', delay: GATEWAY_RETRY_MS },
        },
        streams: { events: { maxLen: 100 } },
      });
      queue.on('error', () => undefined); // logged by the connection
      if (this.#queues.size >= MAX_QUEUES) this.#queues.clear();
      this.#queues.set(namespace, queue);
    }
    return queue;
  }
}

/** The same for every attempt to deliver one end of an invocation, so that receivers recognise repeats. */
export function deliveryId(id: string, again: number): string {
  return again === 0 ? id : `${id}-${again}`;
}
