/**
 * Turns of the event loop. A gateway or worker serves all tenants on one loop, so work whose length a tenant decides is done in
 * slices, with a turn before each. Those who wait get their turns in line, one in each round of the loop: a hundred uploads at once
 * hold nobody up for longer than one.
 */

/** Bytes of text that are parsed, written or looked through between two turns: a millisecond or so. */
export const SLICE_BYTES = 16 * 1024;

let waiting: (() => void)[] = [];
let served = 0;

/** Resolves when it is the caller's turn, after whatever else the loop has to do. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    if (waiting.length - served === 1) setImmediate(serve);
  });
}

function serve(): void {
  waiting[served++]?.();
  if (served < waiting.length) setImmediate(serve);
  if (served < waiting.length / 2) return;
  waiting = waiting.slice(served);
  served = 0;
}

/** Counts the bytes of work that is done in slices. */
export class Slices {
  #bytes = 0;

  /** To be called after so many bytes of work. Resolves at once, or after a turn when a slice is full. */
  async worked(bytes: number): Promise<void> {
    this.#bytes += bytes;
    if (this.#bytes < SLICE_BYTES) return;
    this.#bytes = 0;
    await nextTurn();
  }
}
