/** The rate at which work ends, and the time after which a refused caller should try again. */

const WINDOW_S = 10;

/** Counts ended work by seconds. Adding allocates nothing, because each call does it. */
export class Pace {
  readonly #counts = new Float64Array(WINDOW_S + 1);
  readonly #now: () => number;
  readonly #since: number;
  #second: number;

  /** `now`: milliseconds of a clock that never goes back. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#since = now();
    this.#second = Math.floor(this.#since / 1000);
  }

  add(count = 1): void {
    this.#turnTo(Math.floor(this.#now() / 1000));
    const at = this.#second % this.#counts.length;
    this.#counts[at] = (this.#counts[at] ?? 0) + count;
  }

  /** Average over the last ten seconds, or since this counter exists. */
  perSecond(): number {
    const now = this.#now();
    this.#turnTo(Math.floor(now / 1000));
    let sum = 0;
    for (const count of this.#counts) sum += count;
    const window = WINDOW_S * 1000 + (now % 1000);
    return sum / (Math.max(1000, Math.min(now - this.#since, window)) / 1000);
  }

  #turnTo(second: number): void {
    const gone = Math.min(second - this.#second, this.#counts.length);
    for (let step = 1; step <= gone; step++) this.#counts[(second - gone + step) % this.#counts.length] = 0;
    this.#second = second;
  }
}

const MIN_RETRY_S = 1;
const MAX_RETRY_S = 300;
/**
 * Seconds for Retry-After when no work has ended lately and the rate is unknown: longer than it takes to notice a dead worker
 * and to start another.
 */
const UNKNOWN_RETRY_S = 10;

/** Work in front of a refused caller, and the rate at which work ends. */
export interface Backlog {
  readonly waiting: number;
  readonly endedPerSecond: number;
}

/** Seconds for Retry-After: the time in which the present backlog will have ended. */
export function drainSeconds({ waiting, endedPerSecond }: Backlog): number {
  return retrySeconds(endedPerSecond > 0 ? waiting / endedPerSecond : UNKNOWN_RETRY_S);
}

/** Whole seconds, rounded up so that no caller comes too early, between MIN_RETRY_S and MAX_RETRY_S. */
export function retrySeconds(seconds: number): number {
  return Math.min(MAX_RETRY_S, Math.max(MIN_RETRY_S, Math.ceil(seconds)));
}
