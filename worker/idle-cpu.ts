/**
 * Processor time of a sandbox outside of invocations: of what a module has begun as it was loaded, and of what invocations have left.
 * It is in the record of none, so it is counted here, and has a budget.
 */

/** Counts it by figures that are read for other reasons. */
export class IdleMeter {
  /** Milliseconds of processor time so far. */
  ms = 0;
  #isIdle = false;
  #cpuMs = 0;
  #seenAt = 0;

  /** The sandbox has used so much in all until now. */
  saw(cpuMs: number, now = performance.now()): void {
    if (this.#isIdle) this.ms += Math.max(0, cpuMs - this.#cpuMs);
    this.#cpuMs = cpuMs;
    this.#seenAt = now;
  }

  /** An invocation begins; what was used until then has been seen. */
  begins(): void {
    this.#isIdle = false;
  }

  /** No invocation runs any more. `read` is called when the last figure is old: work after the answer is the invocation's. */
  rests(read: () => number, now = performance.now()): void {
    if (now - this.#seenAt > FRESH_MS) this.saw(read(), now);
    this.#isIdle = true;
  }
}

/** A figure is as good as a new one for so long. */
const FRESH_MS = 20;
/** A sandbox may use its share on average over this time, so that a burst of work, such as a refresh of caches, is no matter. */
export const WINDOW_MS = 30_000;

/** What a sandbox may use of that: a share of its processors on average. */
export class IdleBudget {
  readonly #share: number;
  #level = 0;
  #at: number;

  /** `share`: of all processors of the host, such as 0.25 for a quarter of one. */
  constructor(share: number, now = performance.now()) {
    this.#share = share;
    this.#at = now;
  }

  /** So many milliseconds were used since the last call. False when it is more than the budget. */
  spend(ms: number, now = performance.now()): boolean {
    this.#level = Math.max(0, this.#level + ms - this.#share * (now - this.#at));
    this.#at = now;
    return this.#level <= this.#share * WINDOW_MS;
  }
}

/** After the first end for it, a function has no sandbox loaded ahead for this time; after the second for twice as long. */
const HOLD_MS = 60_000;
/** After so many ends none is loaded ahead any more. */
export const MAX_ENDS = 3;

/** What is known of a function in this worker: milliseconds of processor time, and sandboxes that were ended for it. */
export class OutsideTime {
  /** Until its module was loaded. */
  start = 0;
  idle = 0;
  ended = 0;
  #heldUntil = 0;

  /** A sandbox was ended for it. */
  overspent(now = performance.now()): void {
    this.#heldUntil = this.ended + 1 < MAX_ENDS ? now + HOLD_MS * 2 ** this.ended : Number.POSITIVE_INFINITY;
    this.ended++;
  }

  /** May a sandbox be loaded before a call asks for it? */
  mayLoadAhead(now = performance.now()): boolean {
    return now >= this.#heldUntil;
  }

  /** What the log says of the next ones. */
  get consequence(): string {
    if (this.ended >= MAX_ENDS) return 'no sandbox is loaded ahead any more, until the next version';
    return `for the next ${(HOLD_MS / 1_000) * 2 ** (this.ended - 1)} s no sandbox is loaded ahead`;
  }
}
