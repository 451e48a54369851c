/**
 * Sandboxes of a function that ended by themselves between two invocations: by an error that no invocation waits for, or by an exit.
 * No record tells of such an end, so it is an event of the function: a line in its log, a number, and a pause if it repeats.
 */
import { isOwnEnd } from '#contract/invocations/outcome.ts';
import { describeExit } from '../sandbox/zygote/zygote.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';

/** Time without sandboxes loaded ahead after the first such end; it doubles with each further one in a row. */
const PAUSE_MS = 1_000;
const MAX_PAUSE_MS = 60_000;

export class IdleDeaths {
  total = 0;
  #inRow = 0;
  #pausedUntil = 0;

  /** Takes the end of a sandbox, and returns a line for the function's log if it ended by itself. */
  ended({ end, exit }: Pick<Sandbox, 'end' | 'exit'>, now = performance.now()): string | undefined {
    if (!isOwnEnd(end)) {
      this.#inRow = 0;
      return undefined;
    }
    this.total++;
    this.#inRow++;
    const pauseMs = Math.min(PAUSE_MS * 2 ** (this.#inRow - 1), MAX_PAUSE_MS);
    this.#pausedUntil = now + pauseMs;
    const cause = exit ? ` (${describeExit(exit)})` : '';
    const again =
      this.#inRow === 1
        ? ''
        : `; it is number ${this.#inRow} in a row, and none is loaded ahead for ${pauseMs / 1_000} s`;
    return `the sandbox ended by itself between invocations${cause}: the next call has to wait for another one${again}`;
  }

  /** May a sandbox be loaded before a call asks for it? */
  mayLoadAhead(now = performance.now()): boolean {
    return now >= this.#pausedUntil;
  }
}
