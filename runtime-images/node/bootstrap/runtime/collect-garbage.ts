/** The runtime's garbage collector, called by its name. Nothing of it is shown to a function. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

type Collector = (options?: { type: 'minor' }) => void;

let collector: Collector | undefined;

/** A sandbox that starts on a heap without garbage copies fewer pages of it. */
export function collectGarbage(): void {
  theCollector()();
}

/**
 * Frees what has been made a moment ago and is used no more. For whoever moves much through small buffers: their memory is
 * outside of the heap, and the runtime lets 64 MB of it come together, which is half of what many a sandbox may have.
 */
export function collectYoung(): void {
  // Looked up here and not in the zygote: few sandboxes need it, and it would keep a whole context alive in all of them.
  collector ??= theCollector();
  collector({ type: 'minor' });
}

function theCollector(): Collector {
  setFlagsFromString('--expose-gc');
  try {
    return runInNewContext('gc') as Collector;
  } finally {
    setFlagsFromString('--no-expose-gc');
  }
}
