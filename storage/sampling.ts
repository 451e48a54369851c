/**
 * Which traces of a busy platform are exported. A share of them, by the trace id, as OpenTelemetry's consistent probability sampling
 * does it (https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/): a trace is kept when the last 56 bits of its id,
 * which are random, are not below a threshold. Processes with different shares so agree on each trace that the smallest share keeps.
 *
 * The share is halved when it keeps more in a second than an export may cost, and doubled again when there is room: an exported
 * trace takes a quarter of the processor time of a warm call, so exporting all of them would take as much of the throughput.
 */

const WINDOW_MS = 1_000;
/** Of the 56 bits, those that a number holds exactly beside its share. */
const RANDOM_DIGITS = 13;
const RANDOM_BITS = 4 * RANDOM_DIGITS;
/** A share below this is not told apart from none. */
const LEAST_RATIO = 2 ** -20;

export class TraceSampler {
  readonly #most: number;
  readonly #perSecond: number;
  readonly #now: () => number;
  #ratio: number;
  #kept = 0;
  /** Of the whole window, whatever the share was. */
  #keptInWindow = 0;
  #windowEnds: number;

  /** `ratio`: the largest share, from 0 to 1. `perSecond`: traces that are kept before the share is halved. */
  constructor(
    ratio: number,
    perSecond = Number.POSITIVE_INFINITY,
    now: () => number = () => performance.now(),
  ) {
    this.#most = ratio;
    this.#ratio = ratio;
    this.#perSecond = perSecond;
    this.#now = now;
    this.#windowEnds = now() + WINDOW_MS;
  }

  /** The share of now. */
  get ratio(): number {
    return this.#ratio;
  }

  keeps(traceId: string): boolean {
    this.#turn();
    if (!isIn(traceId, this.#ratio)) return false;
    this.#keptInWindow++;
    if (++this.#kept > this.#perSecond && this.#ratio > LEAST_RATIO) {
      this.#ratio /= 2;
      this.#kept = 0;
    }
    return true;
  }

  #turn(): void {
    const now = this.#now();
    if (now < this.#windowEnds) return;
    // After a pause of several windows nothing is known of the present one.
    const idle = now >= this.#windowEnds + WINDOW_MS;
    if (idle) this.#ratio = this.#most;
    else if (this.#keptInWindow * 2 <= this.#perSecond) this.#ratio = Math.min(this.#most, this.#ratio * 2);
    this.#kept = 0;
    this.#keptInWindow = 0;
    this.#windowEnds = now + WINDOW_MS;
  }
}

function isIn(traceId: string, ratio: number): boolean {
  if (ratio >= 1) return true;
  const random = Number.parseInt(traceId.slice(-14, -1), 16);
  return random >= (1 - ratio) * 2 ** RANDOM_BITS;
}
