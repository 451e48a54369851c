/**
 * Turns of the event loop. A gateway or worker serves all tenants on one loop, so work whose length a tenant decides is done in
 * slices, with a turn before each. Those who wait get their turns in line, one in each round of the loop: a hundred uploads at once
 * hold nobody up for longer than one.
 */

/** Bytes of JSON that are made values of, or written, between two turns: a few milliseconds where they were made to be slow. */
export const SLICE_BYTES = 64 * 1024;

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

/** Does something with each of many texts, so many bytes of them in one turn. Resolves to what came of each, in their order. */
export async function inSlices<Text extends { readonly length: number } | null | undefined, Made>(
  texts: readonly Text[],
  make: (text: Text, at: number) => Made,
): Promise<Made[]> {
  const made: Made[] = [];
  let bytes = 0;
  for (const [at, text] of texts.entries()) {
    const length = text?.length ?? 0;
    if (bytes > 0 && bytes + length > SLICE_BYTES) {
      await nextTurn();
      bytes = 0;
    }
    made.push(make(text, at));
    bytes += length;
  }
  return made;
}
