/**
 * The BullMQ queues of deliveries: of the ends of invocations that somebody wants to be told, one queue for each namespace,
 * so that the slow receivers of one are in nobody else's way. A job carries the id of an invocation; whom it is told and
 * how far that has come is in the record, as with the queued lane's own jobs (jobs.ts).
 */
import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import type { AnyInvocation } from '#contract/invocations/invocation.ts';
import { keys } from '#contract/platform/keys.ts';

export const DELIVERY_QUEUE = 'deliveries';

export interface DeliveryJob {
  readonly id: string;
  /** How often the invocation had been taken out of the dead letters when it ended: each time it ends anew. */
  readonly again: number;
}

/** The record is written just after its delivery is added; a look at once would come too early. */
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
   * To be called before the record says that the invocation has ended. Adding it again adds nothing while the first is there,
   * and a delivery that is done already is recognised by the record.
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
        // Redis may be away: what is asked of it then fails at once instead of waiting.
        skipWaitingForReady: true,
        // Not kept: a job that is there, though done, would keep one of the same id from being added.
        defaultJobOptions: {
          removeOnComplete: true,
          removeOnFail: true,
          // Not those of the delivery, which the record counts: of a gateway that fails at a job, for example without Redis.
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

/** The same for every try to deliver one end of an invocation; receivers know by it what they have had before. */
export function deliveryId(id: string, again: number): string {
  return again === 0 ? id : `${id}-${again}`;
}
