/** Hands out the numbers of live sandboxes, from which their uids follow. */
import { MAX_SLOTS } from '#contract/wire/control.ts';

/**
 * Numbers of live sandboxes. A number determines the uid, so it is reused only after its sandbox has been reaped. The number that
 * was free for longest goes first: traces of its uid in the kernel have had the most time to vanish.
 */
export class SandboxNumbers {
  readonly #freed: number[] = [];
  #next = 0;

  take(): number {
    // Prefer numbers never used, until there are none.
    if (this.#next < MAX_SLOTS) return this.#next++;
    const number = this.#freed.shift();
    if (number === undefined) throw new Error(`all ${MAX_SLOTS} sandbox numbers are taken`);
    return number;
  }

  free(number: number): void {
    this.#freed.push(number);
  }
}
