/** A whole trace as lines for a terminal: its spans as bars below one another, then its invocations. */
import type { TraceSpan, WholeTrace } from '#contract/invocations/whole-trace.ts';
import { table } from '../terminal/terminal.ts';
import { clip, clock, defuse, milliseconds } from '../terminal/text.ts';
import { bar } from './waterfall.ts';

const MAX_NAME_COLUMNS = 44;
const PROCESS_COLUMNS = 8;
const FIGURE_COLUMNS = 8;
const MIN_BAR_COLUMNS = 20;
const MAX_INDENT = 24;

interface Line {
  readonly text: string;
  readonly failed?: boolean;
}

/** `width` columns wide at most, as long as that leaves room for a bar. */
export function traceLines(trace: WholeTrace, width: number): Line[] {
  const { spans, invocations } = trace;
  const names = spans.map((span) => nameOf(span));
  const nameColumns = Math.min(MAX_NAME_COLUMNS, Math.max(...names.map(({ length }) => length)));
  const columns = Math.max(MIN_BAR_COLUMNS, width - nameColumns - PROCESS_COLUMNS - FIGURE_COLUMNS - 8);
  const drawn = spans.map((span, at): Line => {
    const name = clip(names[at] ?? '', nameColumns).padEnd(nameColumns);
    const text = `  ${name}  ${span.process.padEnd(PROCESS_COLUMNS)}  ${figureOf(span)}  ${barOf(span, trace, columns)}`;
    return { text: text.trimEnd(), failed: span.error !== undefined };
  });
  const calls = table(
    ['invocation', 'function', 'lane', 'outcome', 'took'],
    invocations.map(({ id, namespace, name, lane, state, outcome, status, duration }) => [
      id,
      `${namespace}/${name}`,
      lane,
      outcome === undefined ? state : `${outcome} ${status}`,
      duration === undefined ? '' : milliseconds(duration),
    ]),
  );
  const failed = spans.filter(({ error }) => error !== undefined);
  return [
    { text: `trace ${trace.traceId}  ${clock(trace.startedAt)}  ${milliseconds(trace.duration)}` },
    { text: '' },
    ...drawn,
    ...cutLines(trace),
    { text: '' },
    ...calls.map((text) => ({ text: `  ${text}` })),
    ...(failed.length > 0 ? [{ text: '' }] : []),
    ...failed.map(({ name, error = '' }) => ({
      text: `  ${defuse(name)} failed: ${defuse(error)}`,
      failed: true,
    })),
  ];
}

function nameOf({ name, depth }: TraceSpan): string {
  // A name may be the function's own.
  return `${' '.repeat(Math.min(depth * 2, MAX_INDENT))}${defuse(name)}`;
}

function figureOf({ process, duration }: TraceSpan): string {
  const figure = duration !== undefined ? milliseconds(duration) : process === 'caller' ? '' : 'runs';
  return figure.padStart(FIGURE_COLUMNS);
}

function barOf({ start, duration }: TraceSpan, trace: WholeTrace, columns: number): string {
  if (start === undefined) return 'its own times are not known here';
  const whole = Math.max(trace.duration, Number.MIN_VALUE);
  const from = Math.min(1, Math.max(0, start / whole));
  const to = duration === undefined ? 1 : Math.min(1, Math.max(from, (start + duration) / whole));
  return bar(from, to - from, columns);
}

function cutLines({ invocationsCut, spansCut }: WholeTrace): Line[] {
  const cut = [
    ...(invocationsCut > 0 ? [`${invocationsCut} later invocations`] : []),
    ...(spansCut > 0 ? [`${spansCut} spans`] : []),
  ];
  return cut.length > 0 ? [{ text: '' }, { text: `  not shown: ${cut.join(', ')}` }] : [];
}
