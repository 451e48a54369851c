/** Computes how quickly the queued lane ends invocations of a namespace, from the status of the workers. */
import type { WorkerStatus } from '#contract/api/api.ts';

/** Interval between two reads of the workers' status, because many callers may be refused at once. */
const ASK_AGAIN_MS = 1_000;

export class QueueRate {
  readonly #workers: () => Promise<WorkerStatus[]>;
  #asked: Promise<WorkerStatus[]> = Promise.resolve([]);
  #askedAt = -Infinity;

  constructor(workers: () => Promise<WorkerStatus[]>) {
    this.#workers = workers;
  }

  /** Invocations that all living workers end per second; 0 also when this is unknown. */
  async perSecond(namespace: string): Promise<number> {
    const now = performance.now();
    if (now - this.#askedAt > ASK_AGAIN_MS) {
      this.#askedAt = now;
      this.#asked = this.#workers().catch(() => []);
    }
    let sum = 0;
    for (const { queuedEnded } of await this.#asked) sum += queuedEnded?.[namespace] ?? 0;
    return sum;
  }
}
