/**
 * Figures of many runs, and how they are printed. Medians and 99th percentiles, since a mean hides the times that a
 * caller notices.
 */

export type Unit = 'ms' | 'µs' | 'MB' | 'per second';

export interface Figure {
  readonly row: string;
  readonly unit: Unit;
  /** Measurements behind it. */
  readonly count: number;
  /** Null where there was no result; `missing` says why. */
  readonly median: number | null;
  /** Null where there are too few measurements for a 99th percentile. */
  readonly p99: number | null;
  /** Ratio of this median to ours; null for our own figure and for parts of one whole. */
  readonly timesOurs: number | null;
  readonly missing?: string;
}

export interface Section {
  /** Name of the row, as `--only` takes it. */
  readonly name: string;
  readonly title: string;
  readonly figures: readonly Figure[];
  readonly notes?: readonly string[];
}

/** Number of measurements below which there is no 99th percentile. */
const ENOUGH_FOR_P99 = 20;
const ROW_WIDTH = 54;

export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export function figure(row: string, unit: Unit, values: readonly number[]): Figure {
  if (values.length === 0) return missing(row, unit, 'nothing was measured');
  const p99 = values.length >= ENOUGH_FOR_P99 ? quantile(values, 0.99) : null;
  return { row, unit, count: values.length, median: quantile(values, 0.5), p99, timesOurs: null };
}

export function missing(row: string, unit: Unit, reason: string): Figure {
  return { row, unit, count: 0, median: null, p99: null, timesOurs: null, missing: reason };
}

/** The first figure is ours; each other figure of its unit gets its ratio to ours. */
export function compared(figures: readonly Figure[]): Figure[] {
  const [ours] = figures;
  return figures.map((one) => {
    if (!ours?.median || one === ours || one.unit !== ours.unit || one.median === null) return one;
    return { ...one, timesOurs: one.median / ours.median };
  });
}

export function render({ title, figures, notes = [] }: Section): string {
  return [title, ...figures.map(renderFigure), ...notes.map((note) => `  (${note})`)].join('\n');
}

function renderFigure({ row, unit, count, median, p99, timesOurs, missing: reason }: Figure): string {
  const name = `  ${row.padEnd(ROW_WIDTH)}`;
  if (median === null) return `${name} not available: ${reason}`;
  const tail = p99 === null ? '' : `p99 ${show(p99)}`;
  const ratio = timesOurs === null ? '' : `${timesOurs.toFixed(2)} x ours`;
  return `${name} ${show(median).padStart(9)} ${unit.padEnd(10)} ${tail.padEnd(13)} ${ratio.padEnd(14)} n=${count}`;
}

function show(value: number): string {
  if (value >= 1_000) return Math.round(value).toString();
  return value >= 100 ? value.toFixed(0) : value.toFixed(2);
}
