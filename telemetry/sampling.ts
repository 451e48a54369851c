/**
 * Which traces of a busy platform are exported. A share of them, by the trace id, as OpenTelemetry's consistent probability sampling
 * does it (https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/): a trace is kept when the last 56 bits of its id,
 * which are random, are not below a threshold. Processes with different shares so agree on each trace that the smallest share keeps.
 *
 * The share follows from how many there are: an exported trace takes a quarter of the processor time of a warm call, so exporting
 * all of them would take as much of the throughput. It is a power of two, since one that changed with each count would be
 * another one in each process.
 */

const WINDOW_MS = 1_000;
/** Before so much of a window has passed, its rate is not known well enough to be taken for lower than this makes it. */
const LEAST_ELAPSED_MS = 100;
/** Of the 56 bits, those that a number holds exactly beside its share. */
const RANDOM_BITS = 52;

export class TraceSampler {
  readonly #most: number;
  readonly #perSecond: number;
  readonly #now: () => number;
  #ratio: number;
  /** In this window. */
  #offered = 0;
  #windowBegan: number;

  /** `ratio`: the largest share, from 0 to 1. `perSecond`: traces that are kept in a second, about, of however many. */
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

  /** The share of now. */
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
    // A burst is not waited out; a share that is a little too large is.
    if (rate * this.#ratio > 2 * this.#perSecond) this.#ratio = this.#ratioFor(rate);
    return isIn(traceId, this.#ratio);
  }

  /** Would it be kept now? For what belongs to a trace that was asked about before, and is not another one. */
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
