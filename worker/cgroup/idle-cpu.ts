/**
 * Measures and limits a sandbox's processor time outside of invocations: work that the module's load or past invocations left
 * running. No invocation's record contains it, so it has a budget of its own.
 */

/** Measures idle processor time from figures that are read for other reasons. */
export class IdleMeter {
  /** Idle processor time until now, in milliseconds. */
  ms = 0;
  #isIdle = false;
  #cpuMs = 0;
  #seenAt = 0;

  /** Takes in the sandbox's total processor time until now. */
  saw(cpuMs: number, now = performance.now()): void {
    if (this.#isIdle) this.ms += Math.max(0, cpuMs - this.#cpuMs);
    this.#cpuMs = cpuMs;
    this.#seenAt = now;
  }

  /** Marks the begin of an invocation; call saw() before with the time used until then. */
  begins(): void {
    this.#isIdle = false;
  }

  /**
   * Marks that no invocation runs any more. Calls `read` if the last figure is old: work before this moment is the invocation's.
   */
  rests(read: () => number, now = performance.now()): void {
    if (now - this.#seenAt > FRESH_MS) this.saw(read(), now);
    this.#isIdle = true;
  }
}

/** Age up to which a figure is as good as a new one. */
const FRESH_MS = 20;
/** Period over which a sandbox may use its share on average. It allows a burst of work, such as a refresh of caches. */
export const WINDOW_MS = 30_000;

/** Budget for a sandbox's idle processor time: a share of its processors on average. */
export class IdleBudget {
  readonly #share: number;
  #level = 0;
  #at: number;

  /** `share`: in processors, such as 0.25 for a quarter of one. */
  constructor(share: number, now = performance.now()) {
    this.#share = share;
    this.#at = now;
  }

  /** Spends milliseconds used since the last call. Returns false when the budget is exceeded. */
  spend(ms: number, now = performance.now()): boolean {
    this.#level = Math.max(0, this.#level + ms - this.#share * (now - this.#at));
    this.#at = now;
    return this.#level <= this.#share * WINDOW_MS;
  }
}

/** Time without sandboxes loaded ahead for a function after its first end for idle time; it doubles with each further end. */
const HOLD_MS = 60_000;
/** Number of ends after which no sandbox is loaded ahead any more. */
export const MAX_ENDS = 3;

/** Processor time outside of invocations that this worker has seen of one function, and the sandboxes it ended for it. */
export class OutsideTime {
  /** Processor time in milliseconds until its module was loaded. */
  start = 0;
  idle = 0;
  ended = 0;
  #heldUntil = 0;

  /** Records that a sandbox was ended for idle time. */
  overspent(now = performance.now()): void {
    this.#heldUntil = this.ended + 1 < MAX_ENDS ? now + HOLD_MS * 2 ** this.ended : Number.POSITIVE_INFINITY;
    this.ended++;
  }

  /** May a sandbox be loaded before a call asks for it? */
  mayLoadAhead(now = performance.now()): boolean {
    return now >= this.#heldUntil;
  }

  /** Describes the consequence for the function's next sandboxes, for its log. */
  get consequence(): string {
    if (this.ended >= MAX_ENDS) return 'no sandbox is loaded ahead any more, until the next version';
    return `for the next ${(HOLD_MS / 1_000) * 2 ** (this.ended - 1)} s no sandbox is loaded ahead`;
  }
}
