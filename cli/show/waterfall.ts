/** The spans of an invocation as bars under one another, drawn to the scale of the root span. */
import type { InvocationDetail } from '#contract/api/api.ts';
import { clip, defuse, milliseconds } from '../terminal/text.ts';

type Span = InvocationDetail['spans'][number];

/** Eighths of a block, so that a bar starts and ends finer than a column. */
const EIGHTHS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
const NAME_COLUMNS = 10;
const FIGURE_COLUMNS = 10;
const MIN_BAR_COLUMNS = 20;

/** Lines of the picture, `width` columns wide at most, as long as that leaves room for a bar. */
export function waterfall(spans: readonly Span[], width: number): string[] {
  const total = Math.max(...spans.map(({ start, duration }) => start + duration), Number.MIN_VALUE);
  const columns = Math.max(MIN_BAR_COLUMNS, width - NAME_COLUMNS - FIGURE_COLUMNS - 6);
  return spans.map((span) => {
    // A name may be the function's own.
    const indent = span === spans[0] ? '' : '  ';
    const name = clip(`${indent}${defuse(span.name)}`, NAME_COLUMNS);
    const figure = milliseconds(span.duration).padStart(FIGURE_COLUMNS);
    return `${name.padEnd(NAME_COLUMNS)} ${figure}  ${bar(Math.max(0, span.start) / total, span.duration / total, columns)}`.trimEnd();
  });
}

/** A bar from one share of the width to another; what took any time at all is seen. */
export function bar(start: number, share: number, columns: number): string {
  const from = Math.min(Math.round(start * columns), columns - 1);
  const eighths = Math.round(share * columns * 8);
  const whole = Math.min(Math.floor(eighths / 8), columns - from);
  const rest = whole < columns - from ? (EIGHTHS[eighths % 8] ?? '') : '';
  const drawn = `${'█'.repeat(whole)}${rest}`;
  return `${' '.repeat(from)}${drawn || '▏'}`;
}
