import { MAX_SLOTS } from '#contract/wire/control.ts';

/**
 * Numbers of live sandboxes. A slot decides the uid, so it is not given out again before its sandbox is reaped, and the
 * one that has been free for longest goes first: a uid's traces in the kernel have had the most time to go.
 */
export class SandboxNumbers {
  readonly #freed: number[] = [];
  #next = 0;

  take(): number {
    // Prefer numbers never used, until there are none.
    if (this.#next < MAX_SLOTS) return this.#next++;
    const slot = this.#freed.shift();
    if (slot === undefined) throw new Error(`all ${MAX_SLOTS} sandbox slots are taken`);
    return slot;
  }

  free(slot: number): void {
    this.#freed.push(slot);
  }
}
