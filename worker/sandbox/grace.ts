/**
 * The time that code gets between the stop of its run and the end of its sandbox. The sandbox is asked first, and answers at once
 * unless its event loop is busy.
 *
 *   asked ---> waits ---> over       over: the grace has passed, the code waits for nothing, or the sandbox gives no answer
 */
import { readStopping } from '#contract/wire/channel.ts';

/** Upper bound on the time between the stop of a run and the end of its code. */
export const GRACE_MS = 1_000;
/** Time after which a sandbox that gives no answer counts as busy: no listener of it would run. */
const ANSWER_MS = 200;

export class Grace {
  readonly #over: (isBusy: boolean) => void;
  #clock: NodeJS.Timeout;

  /** Calls `over` once, unless close() comes first. `isBusy`: the sandbox has not answered. */
  constructor(over: (isBusy: boolean) => void) {
    this.#over = over;
    this.#clock = setTimeout(() => over(true), ANSWER_MS);
  }

  /** Takes a STOPPING, which a tenant may have sent. */
  answered(payload: Buffer): void {
    clearTimeout(this.#clock);
    if (readStopping(payload)?.waits !== 1) return this.#over(false);
    this.#clock = setTimeout(() => this.#over(false), GRACE_MS);
  }

  close(): void {
    clearTimeout(this.#clock);
  }
}
