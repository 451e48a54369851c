/**
 * Turns of the event loop. A gateway or worker serves all tenants on one loop. Work of a length that a tenant decides is done
 * in slices, with a turn before each. Waiting tasks get their turns in line, one in each round of the loop. So a hundred
 * uploads at once delay other work no longer than one.
 */

/** Bytes of JSON that are parsed or written between two turns: a few milliseconds for bytes that were crafted to be slow. */
export const SLICE_BYTES = 64 * 1024;

let waiting: (() => void)[] = [];
let served = 0;

/** Resolves at the caller's turn, after all other pending work of the loop. */
export function nextSlice(): Promise<void> {
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

/**
 * Calls `make` for each text, with at most SLICE_BYTES of text in one turn. Resolves to the results, in the order of the texts.
 */
export async function inSlices<Text extends { readonly length: number } | null | undefined, Made>(
  texts: readonly Text[],
  make: (text: Text, at: number) => Made,
): Promise<Made[]> {
  const made: Made[] = [];
  let bytes = 0;
  for (const [at, text] of texts.entries()) {
    const length = text?.length ?? 0;
    if (bytes > 0 && bytes + length > SLICE_BYTES) {
      await nextSlice();
      bytes = 0;
    }
    made.push(make(text, at));
    bytes += length;
  }
  return made;
}
