/**
 * How long something takes that has to be quick. On a machine that others keep busy, what one sees is how long they took: so a
 * timer of the same process, which needs nothing but a processor, is measured at the same time, and what it came late is taken off.
 */
const TICK_MS = 20;
/** A timer is late by so much on an idle machine as well. */
const USUAL_MS = 2;

export class Stopwatch {
  readonly #begun = performance.now();
  #late = 0;
  #tickedAt = this.#begun;
  readonly #timer: NodeJS.Timeout;

  private constructor() {
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#timer.unref();
  }

  static start(): Stopwatch {
    return new Stopwatch();
  }

  /** Milliseconds so far that this process waited for a processor. */
  get late(): number {
    return this.#late;
  }

  /** Milliseconds since the start, less those that this process waited for a processor. May be asked once. */
  stop(): number {
    this.#tick();
    clearInterval(this.#timer);
    return performance.now() - this.#begun - this.#late;
  }

  #tick(): void {
    const now = performance.now();
    const late = now - this.#tickedAt - TICK_MS;
    if (late > USUAL_MS) this.#late += late;
    this.#tickedAt = now;
  }
}
