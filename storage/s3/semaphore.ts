/** Bounds the number of tasks that run at the same time. Further tasks wait in order, up to a time limit. */
import { OffshootError } from '#contract/api/errors.ts';

export class Semaphore {
  #free: number;
  readonly #patienceMs: number;
  readonly #waiting = new Set<() => void>();

  constructor(count: number, patienceMs: number) {
    this.#free = count;
    this.#patienceMs = patienceMs;
  }

  /** Throws `storage_unavailable` after too long a wait: behind a store that hangs, the queue would only grow. */
  async within<T>(work: () => Promise<T>): Promise<T> {
    await this.#take();
    try {
      return await work();
    } finally {
      const [next] = this.#waiting;
      if (next) next();
      else this.#free++;
    }
  }

  async #take(): Promise<void> {
    if (this.#free > 0) {
      this.#free--;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const begin = (): void => {
        clearTimeout(late);
        this.#waiting.delete(begin);
        resolve();
      };
      const late = setTimeout(() => {
        this.#waiting.delete(begin);
        reject(
          new OffshootError(
            'storage_unavailable',
            'the artifact store is too slow for the bodies that wait for it',
          ),
        );
      }, this.#patienceMs);
      this.#waiting.add(begin);
    });
  }
}
