/**
 * Measures a time that must be short. On a machine that is kept busy by others, the measured time includes their work.
 * So a timer of the same process, which needs nothing but a processor, is measured at the same time, and its delay is
 * subtracted.
 */
const TICK_MS = 20;
/** Delay of a timer on an idle machine. */
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

  /** Milliseconds that this process has waited for a processor since the start. */
  get late(): number {
    return this.#late;
  }

  /** Milliseconds since the start, less those that this process waited for a processor. May be called once. */
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
