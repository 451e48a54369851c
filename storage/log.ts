/** The part of a logger that the modules here use. The object comes first, as in pino, so a pino logger fits unchanged. */
export interface Log {
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
}

/** Passes one call in each interval, with the number of calls held back since, so that a lasting fault does not flood the log. */
export class LogThrottle {
  readonly #intervalMs: number;
  #next = 0;
  #heldBack = 0;

  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  /** Calls `write` with the number of calls that were held back before it, or holds this one back too. */
  run(write: (heldBack: number) => void): void {
    const now = performance.now();
    if (now < this.#next) {
      this.#heldBack++;
      return;
    }
    this.#next = now + this.#intervalMs;
    const heldBack = this.#heldBack;
    this.#heldBack = 0;
    write(heldBack);
  }

  /** Forgets earlier calls, so that the next call passes. */
  reset(): void {
    this.#next = 0;
    this.#heldBack = 0;
  }
}
