/** How quickly the queued lane ends invocations of a namespace, by what the workers say of themselves. */
import type { WorkerStatus } from '#contract/api/api.ts';

/** Many may be sent away at once; the workers are asked this often at most. */
const ASK_AGAIN_MS = 1_000;

export class QueueRate {
  readonly #workers: () => Promise<WorkerStatus[]>;
  #asked: Promise<WorkerStatus[]> = Promise.resolve([]);
  #askedAt = -Infinity;

  constructor(workers: () => Promise<WorkerStatus[]>) {
    this.#workers = workers;
  }

  /** Of all workers that are alive; 0 also when nobody can say. */
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
