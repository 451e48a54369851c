/** Figures of many runs, and how they are shown. Medians and 99th percentiles: means hide what a caller feels. */

export interface Figure {
  readonly row: string;
  readonly unit: 'ms' | 'MB' | 'per second';
  readonly count: number;
  readonly median: number;
  readonly p99: number | undefined;
  /** Why there is no figure. */
  readonly missing?: string;
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export function figure(row: string, unit: Figure['unit'], values: readonly number[]): Figure {
  const p99 = values.length >= 20 ? quantile(values, 0.99) : undefined;
  return { row, unit, count: values.length, median: quantile(values, 0.5), p99 };
}

export function missing(row: string, unit: Figure['unit'], reason: string): Figure {
  return { row, unit, count: 0, median: Number.NaN, p99: undefined, missing: reason };
}

export interface Section {
  readonly title: string;
  readonly figures: readonly Figure[];
  /** The first figure is ours, and the others are compared with it, unless they are parts of one whole. */
  readonly parts?: true;
}

/** One line a figure; the ratio says how many times our median the other one is. */
export function render({ title, figures, parts }: Section): string {
  const [ours] = figures;
  const lines = figures.map((one) => {
    if (one.missing !== undefined) return `  ${one.row.padEnd(46)} not measured: ${one.missing}`;
    const p99 = one.p99 === undefined ? '' : `p99 ${show(one.p99)}`;
    const ratio =
      !parts && ours && one !== ours && one.unit === ours.unit
        ? `${(one.median / ours.median).toFixed(2)} x ours`
        : '';
    return `  ${one.row.padEnd(46)} ${show(one.median).padStart(9)} ${one.unit.padEnd(10)} ${p99.padEnd(14)} ${ratio.padEnd(14)} n=${one.count}`;
  });
  return [title, ...lines].join('\n');
}

function show(value: number): string {
  if (value >= 1_000) return Math.round(value).toString();
  return value >= 100 ? value.toFixed(0) : value.toFixed(2);
}
