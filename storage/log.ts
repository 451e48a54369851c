/** The part of a logger that the modules here use: the object first, as pino has it, so a pino logger fits as it is. */
export interface Log {
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
}

/** Lets one call through in each interval, and says how many it held back since: a fault that lasts must not flood the log. */
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

  /** Forgets the past, so that the next call is let through. */
  reset(): void {
    this.#next = 0;
    this.#heldBack = 0;
  }
}
