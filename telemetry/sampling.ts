/**
 * Decides which traces of a busy platform are exported: a share of them, by the trace id, as in OpenTelemetry's consistent
 * probability sampling (https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/). A trace is kept when
 * the last 56 bits of its id, which are random, are not below a threshold. So processes with different shares agree on each
 * trace that the smallest share keeps.
 *
 * The share follows from the rate of traces. An exported trace takes a quarter of the processor time of a warm call, so a full
 * export would cost as much of the throughput. The share is a power of two, because a share that changed with each count would
 * differ between processes.
 */

const WINDOW_MS = 1_000;
/** Shortest time over which the rate of a window is computed, so that a few traces at its begin do not look like a burst. */
const LEAST_ELAPSED_MS = 100;
/** Number of the 56 bits that are compared, because a number holds these exactly. */
const RANDOM_BITS = 52;

export class TraceSampler {
  readonly #most: number;
  readonly #perSecond: number;
  readonly #now: () => number;
  #ratio: number;
  /** Traces that were offered in this window. */
  #offered = 0;
  #windowBegan: number;

  /** `ratio`: the largest share, from 0 to 1. `perSecond`: approximate number of traces that are kept per second. */
  constructor(
    ratio: number,
    perSecond = Number.POSITIVE_INFINITY,
    now: () => number = () => performance.now(),
  ) {
    this.#most = ratio;
    this.#ratio = ratio;
    this.#perSecond = perSecond;
    this.#now = now;
    this.#windowBegan = now();
  }

  /** The current share. */
  get ratio(): number {
    return this.#ratio;
  }

  keeps(traceId: string): boolean {
    let elapsed = this.#now() - this.#windowBegan;
    if (elapsed >= WINDOW_MS) {
      this.#ratio = this.#ratioFor((this.#offered / elapsed) * 1_000);
      this.#windowBegan += elapsed;
      this.#offered = 0;
      elapsed = 0;
    }
    this.#offered++;
    const rate = (this.#offered / Math.max(elapsed, LEAST_ELAPSED_MS)) * 1_000;
    // A burst lowers the share at once. A share that is only a little too large stays until the window ends.
    if (rate * this.#ratio > 2 * this.#perSecond) this.#ratio = this.#ratioFor(rate);
    return isIn(traceId, this.#ratio);
  }

  /** Whether the current share keeps a trace. For later parts of a trace that keeps() has counted already. */
  keptWith(traceId: string): boolean {
    return isIn(traceId, this.#ratio);
  }

  #ratioFor(rate: number): number {
    const room = this.#perSecond / rate;
    return room >= this.#most ? this.#most : 2 ** Math.floor(Math.log2(room));
  }
}

function isIn(traceId: string, ratio: number): boolean {
  if (ratio >= 1) return true;
  const random = Number.parseInt(traceId.slice(-14, -1), 16);
  return random >= (1 - ratio) * 2 ** RANDOM_BITS;
}
