/** Calls the runtime's garbage collector to save memory. Functions do not get to see it. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

type Collector = (options?: { type: 'minor' }) => void;

let collector: Collector | undefined;

/** Collects all garbage: a sandbox forked from a clean heap copies fewer pages. */
export function collectGarbage(): void {
  theCollector()();
}

/**
 * Frees objects that were made a moment ago and are unused. Meant for code that moves data through many small buffers: their
 * memory is outside of the heap. The runtime lets 64 MB of such memory pile up, half of the limit of many a sandbox.
 */
export function collectYoung(): void {
  // Looked up here and not in the zygote: few sandboxes need the collector, and it would keep a whole context alive in all of
  // them.
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
