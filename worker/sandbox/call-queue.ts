/**
 * Tracks the invocations handed to a sandbox that runs one at a time: the first runs, the others wait in the sandbox, handed
 * ahead. No process need be woken for a call that is handed ahead, so short calls cost little more than their own work.
 * contract/wire/channel.ts says why no call runs twice.
 */

export interface Turn {
  readonly handle: number;
  /** Called when the invocation's code starts to run. */
  readonly begin: () => void;
  /** Called when the invocation has not started and never will in this sandbox. */
  readonly withdrawn: () => void;
}

/** Count of invocations handed ahead, shared with the sandbox. `takeBack` takes up to `max` off and returns how many. */
export interface Tokens {
  post(): void;
  takeBack(max: number): number;
}

export class CallQueue {
  readonly #tokens: Tokens;
  readonly #now: () => number;
  #line: Turn[] = [];
  #begunAt = 0;
  /**
   * False after a call was taken back: the sandbox still holds that call's frame and would start it with a later call's token. An
   * invocation that needs no token and settles proves that the sandbox has dropped such frames.
   */
  #open = true;
  #provesDropped: number | undefined;

  constructor(tokens: Tokens, now: () => number = () => performance.now()) {
    this.#tokens = tokens;
    this.#now = now;
  }

  /** Number of calls that have not begun. After withdraw(), the number that the sandbox has started but not reported yet. */
  get ahead(): number {
    return Math.max(0, this.#line.length - 1);
  }

  /** May a call be handed ahead now? */
  get open(): boolean {
    return this.#open;
  }

  /**
   * Adds a call; to be called before its frame is written. Returns true when the call is handed ahead, which its frame must say.
   */
  add(turn: Turn): boolean {
    this.#line.push(turn);
    if (this.#line.length === 1) {
      if (!this.#open) this.#provesDropped = turn.handle;
      this.#begin();
      return false;
    }
    // Post before the frame is written: a sandbox that finds no token drops the invocation.
    this.#tokens.post();
    return true;
  }

  /** Marks the running call as settled or abandoned; the next one begins. */
  done(handle: number): void {
    if (this.#line[0]?.handle !== handle) return;
    this.#line.shift();
    if (this.#provesDropped === handle) {
      this.#open = true;
      this.#provesDropped = undefined;
    }
    this.#begin();
  }

  /** Takes back all calls that have not started, if the running one has run for `patienceMs`. */
  withdrawStuck(patienceMs: number): void {
    if (this.ahead > 0 && this.#now() - this.#begunAt >= patienceMs) this.withdraw();
  }

  /** Takes back all calls that have not started. */
  withdraw(): void {
    if (this.ahead === 0) return;
    // The sandbox starts calls in order, so the tokens left in the count belong to the last ones.
    const count = this.#tokens.takeBack(this.ahead);
    if (count === 0) return;
    this.#open = false;
    this.#provesDropped = undefined;
    for (const turn of this.#line.splice(this.#line.length - count)) turn.withdrawn();
  }

  /**
   * Ends the queue with its sandbox: calls that the sandbox had started count as begun and end with it; the rest is taken back.
   */
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
