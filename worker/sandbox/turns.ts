/**
 * The invocations that a sandbox has been handed when it runs one at a time: the first of the line runs, the others lie
 * ahead. Why: a call that is handed over while another runs needs no process to be woken, and short calls then cost little
 * more than their own work. How nothing runs twice: see contract/channel.ts.
 */

export interface Turn {
  readonly handle: number;
  /** Its code runs from now on. */
  readonly begin: () => void;
  /** It has not started and never will here. */
  readonly withdrawn: () => void;
}

/** Counts the invocations handed ahead, shared with the sandbox; `takeBack` takes all off, and says how many, `max` at most. */
export interface Tokens {
  post(): void;
  takeBack(max: number): number;
}

export class Turns {
  readonly #tokens: Tokens;
  readonly #now: () => number;
  #line: Turn[] = [];
  #begunAt = 0;
  /**
   * Cleared when something was taken back: the sandbox still holds the frames of those, and would start them with the turns
   * of others. An invocation that needs no turn and settles proves that it has dropped them.
   */
  #open = true;
  #provesDropped: number | undefined;

  constructor(tokens: Tokens, now: () => number = () => performance.now()) {
    this.#tokens = tokens;
    this.#now = now;
  }

  /** Those that have not begun. After withdraw(), those that the sandbox has started though nobody has heard of it yet. */
  get ahead(): number {
    return Math.max(0, this.#line.length - 1);
  }

  /** May something be handed ahead now? */
  get open(): boolean {
    return this.#open;
  }

  /** To be called before its frame is written. True: it lies ahead, and its frame must say so. */
  add(turn: Turn): boolean {
    this.#line.push(turn);
    if (this.#line.length === 1) {
      if (!this.#open) this.#provesDropped = turn.handle;
      this.#begin();
      return false;
    }
    // Before the frame: a sandbox that finds no token drops the invocation.
    this.#tokens.post();
    return true;
  }

  /** The one that runs has settled, or is of no more interest; the next one begins. */
  done(handle: number): void {
    if (this.#line[0]?.handle !== handle) return;
    this.#line.shift();
    if (this.#provesDropped === handle) {
      this.#open = true;
      this.#provesDropped = undefined;
    }
    this.#begin();
  }

  /** Takes back all that have not started, if the one that runs has run for `patienceMs`. */
  withdrawStuck(patienceMs: number): void {
    if (this.ahead > 0 && this.#now() - this.#begunAt >= patienceMs) this.withdraw();
  }

  /** Takes back all that have not started. */
  withdraw(): void {
    if (this.ahead === 0) return;
    // The sandbox starts them in order, so those that are left in the count are the last ones.
    const count = this.#tokens.takeBack(this.ahead);
    if (count === 0) return;
    this.#open = false;
    this.#provesDropped = undefined;
    for (const turn of this.#line.splice(this.#line.length - count)) turn.withdrawn();
  }

  /** The sandbox is gone. What it had started has begun, and ends with it; the rest is taken back. */
  end(): void {
    this.withdraw();
    const started = this.#line.splice(0);
    for (const turn of started.slice(1)) turn.begin();
  }

  #begin(): void {
    this.#begunAt = this.#now();
    this.#line[0]?.begin();
  }
}
