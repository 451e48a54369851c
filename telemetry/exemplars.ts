/**
 * Keeps, for each bucket of a histogram, the trace of the last invocation that fell into it, so that a graph leads to a trace.
 * The SDK for JavaScript has no exemplars. An exemplar is overwritten in place: recording allocates nothing, and memory is bounded.
 */

/** The last invocation that fell into a bucket. */
export interface Exemplar {
  traceId: string;
  spanId: string;
  value: number;
  /** Unix time in milliseconds of the recording. A later exemplar has a later time, as Prometheus requires. */
  at: number;
}

/** The spans that an exemplar leads to. */
export interface ExemplarSource {
  readonly traceId: string;
  readonly spanId: string;
}

export class Exemplars {
  /** Upper bounds of the buckets, inclusive; the last bucket has none. */
  readonly bounds: readonly number[];
  readonly #maxSeries: number;
  readonly #series = new Map<string, (Exemplar | undefined)[]>();

  constructor(bounds: readonly number[], maxSeries: number) {
    this.bounds = bounds;
    this.#maxSeries = maxSeries;
  }

  /** `series`: the values of its labels, joined; see seriesKey(). */
  record(series: string, value: number, { traceId, spanId }: ExemplarSource): void {
    let buckets = this.#series.get(series);
    if (!buckets) {
      if (this.#series.size >= this.#maxSeries) return;
      buckets = Array.from<undefined>({ length: this.bounds.length + 1 });
      this.#series.set(series, buckets);
    }
    let bucket = 0;
    while (bucket < this.bounds.length && value > (this.bounds[bucket] ?? Infinity)) bucket++;
    const at = Date.now();
    const exemplar = buckets[bucket];
    if (!exemplar) buckets[bucket] = { traceId, spanId, value, at };
    else {
      exemplar.traceId = traceId;
      exemplar.spanId = spanId;
      exemplar.value = value;
      exemplar.at = at;
    }
  }

  /** Exemplars by bucket; undefined for a bucket without one. */
  of(series: string): readonly (Exemplar | undefined)[] {
    return this.#series.get(series) ?? [];
  }
}

/** The values of labels in the order in which they are recorded; none of them has a slash. */
export function seriesKey(values: readonly unknown[]): string {
  return values.join('/');
}
