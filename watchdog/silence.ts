/**
 * Measures how long a process has been silent, by the watchdog's clock, and compares that with the limit. Pure: callers pass the
 * times.
 */

/** Time limit in milliseconds for the first beat: modules load slowly on a busy or slow host. */
export const START_MS = 120_000;

export interface SilenceTerms {
  /** Upper bound on the silence, to which one beat is added. */
  readonly limitMs: number;
  /** Interval between beats, and between calls of `look`. */
  readonly beatMs: number;
  /** Upper bound on the silence before the first beat. */
  readonly startMs: number;
}

export class Silence {
  readonly #terms: SilenceTerms;
  #lookedAt: number;
  #silentMs = 0;
  #begun = false;

  constructor(terms: SilenceTerms, nowMs: number) {
    this.#terms = terms;
    this.#lookedAt = nowMs;
  }

  get begun(): boolean {
    return this.#begun;
  }

  /** Milliseconds since the last beat during which the watchdog itself was running. */
  get silentMs(): number {
    return this.#silentMs;
  }

  /** Records a beat. */
  heard(): void {
    this.#begun = true;
    this.#silentMs = 0;
  }

  /** Returns whether the silence exceeds its limit. Record all beats that have arrived before this call. */
  look(nowMs: number): boolean {
    const { limitMs, beatMs, startMs } = this.#terms;
    const passed = nowMs - this.#lookedAt;
    this.#lookedAt = nowMs;
    // A late look means that the watchdog stood still too: the machine slept, or had no time for any process. Do not count that
    // time.
    this.#silentMs += passed > 2 * beatMs ? beatMs : passed;
    return this.#silentMs > (this.#begun ? limitMs + beatMs : startMs);
  }
}
