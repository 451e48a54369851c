/** Counts how long somebody has been silent, by the clock of whoever listens. Pure: times are given. */

/** A process that has not begun may load for so long: on a busy or slow host its modules take a while. */
export const START_MS = 120_000;

export interface SilenceTerms {
  /** Silence over this, and a beat more, is too long. */
  readonly limitMs: number;
  /** How often a beat comes, and how often `look` is called. */
  readonly beatMs: number;
  /** As `limitMs`, before the first beat. */
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

  /** Milliseconds since the last beat during which somebody listened. */
  get silentMs(): number {
    return this.#silentMs;
  }

  /** A beat has come. */
  heard(): void {
    this.#begun = true;
    this.#silentMs = 0;
  }

  /** Whether it has lasted too long. What has come until now must have been heard before. */
  look(nowMs: number): boolean {
    const { limitMs, beatMs, startMs } = this.#terms;
    const passed = nowMs - this.#lookedAt;
    this.#lookedAt = nowMs;
    // Who comes late has stood still as well: the machine slept, or had no time for anybody. That is nobody's silence.
    this.#silentMs += passed > 2 * beatMs ? beatMs : passed;
    return this.#silentMs > (this.#begun ? limitMs + beatMs : startMs);
  }
}
