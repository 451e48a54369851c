/** @jsxImportSource preact */
/** A whole trace: its invocations and spans, their callers, and where the time went. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type {
  TraceInvocation,
  TraceProcess,
  TraceSpan,
  WholeTrace,
} from '#contract/invocations/whole-trace.ts';
import { count, exact, moment, ms, seen } from '../parts/format.ts';
import { useLive } from '../client/live.ts';
import { Card, Facts, InvocationLink, Outcome, Page, useNow } from '../parts/parts.tsx';
import { MEANINGS } from '../parts/waterfall.tsx';

const PROCESSES: readonly TraceProcess[] = ['caller', 'gateway', 'queue', 'worker', 'function'];
const MAX_DEPTH = 14;
const TICKS = [0, 0.25, 0.5, 0.75, 1];

export function OneTrace({ id, invocation }: { id: string; invocation: string | undefined }): JSX.Element {
  const live = useLive('trace', { trace: id, ...(invocation !== undefined && { invocation }) });
  const { data } = live;
  return (
    <Page
      title="Trace"
      live={live}
      above={
        <p class="crumbs">
          <a href="/dashboard/invocations">Invocations</a>
          <span class="mono">{id}</span>
        </p>
      }
    >
      {data && <Whole trace={data} />}
    </Page>
  );
}

function Whole({ trace }: { trace: WholeTrace }): JSX.Element {
  const now = useNow();
  const { invocations, invocationsCut, spans, spansCut, startedAt } = trace;
  const functions = new Set(invocations.map(({ namespace, name }) => `${namespace}/${name}`)).size;
  const open = spans.some(({ start, duration }) => start !== undefined && duration === undefined);
  const whole = Math.max(trace.duration, open ? now - startedAt : 0, 0.001);
  const rowKeys = keysOf(spans);
  const byId = new Map(invocations.map((one) => [one.id, one]));
  return (
    <>
      <div class="summary">
        <span>
          <strong>{count(invocations.length + invocationsCut)}</strong>{' '}
          {invocations.length + invocationsCut === 1 ? 'invocation' : 'invocations'} of{' '}
          <strong>{count(functions)}</strong> {functions === 1 ? 'function' : 'functions'}
        </span>
        <span class="muted">began {moment(startedAt)}</span>
        {open && <Outcome of={{ state: 'running' }} />}
        <strong class="took">{ms(whole)}</strong>
      </div>
      {(invocationsCut > 0 || spansCut > 0) && (
        <p class="muted">
          Not shown: {count(invocationsCut)} later invocations, {count(spansCut)} spans.
        </p>
      )}
      <Card title="Where the time went" note={<Legend />}>
        <div class="trace-axis" aria-hidden="true">
          {TICKS.map((share) => (
            <span key={share} style={{ left: `${share * 100}%` }}>
              {share === 0 ? '0' : ms(share * whole)}
            </span>
          ))}
        </div>
        <ol class="trace" aria-label="Spans, each below its parent">
          {spans.map((span, at) => (
            <Row
              key={rowKeys[at]}
              id={rowKeys[at] ?? ''}
              span={span}
              invocation={isRoot(span) ? byId.get(span.invocation ?? '') : undefined}
              extent={extentOf(span, at, spans, whole)}
              trace={trace}
            />
          ))}
        </ol>
      </Card>
    </>
  );
}

/**
 * Keys that stay the same while other spans arrive in between, so that opened rows stay open. A function may give two of its
 * spans the same id.
 */
function keysOf(spans: readonly TraceSpan[]): string[] {
  const met = new Map<string, number>();
  return spans.map(({ spanId }) => {
    const times = met.get(spanId) ?? 0;
    met.set(spanId, times + 1);
    return `span-${spanId}-${times}`;
  });
}

function Legend(): JSX.Element {
  return (
    <span class="trace-legend">
      {PROCESSES.map((process) => (
        <span key={process}>
          <i class={`key of-${process}`} /> {process}
        </span>
      ))}
    </span>
  );
}

interface Extent {
  readonly left: number;
  readonly width: number;
}

function Row({
  id,
  span,
  invocation,
  extent,
  trace,
}: {
  id: string;
  span: TraceSpan;
  /** Set for the root of an invocation. */
  invocation: TraceInvocation | undefined;
  extent: Extent;
  trace: WholeTrace;
}): JSX.Element {
  const [shown, show] = useState(false);
  const { name, process, depth, start, duration, error } = span;
  const runs = start !== undefined && duration === undefined;
  return (
    <li class={shown ? 'shown' : ''}>
      <button
        type="button"
        class="trace-line"
        aria-expanded={shown}
        aria-controls={shown ? id : undefined}
        onClick={() => show(!shown)}
      >
        <span
          class={invocation || process === 'caller' ? 'span-name root' : 'span-name'}
          style={{ paddingLeft: `${Math.min(depth, MAX_DEPTH) * 16}px` }}
        >
          <span class="unseen">Level {depth + 1}: </span>
          {seen(name)}
          {error !== undefined && (
            <>
              {' '}
              <span class="chip bad">failed</span>
            </>
          )}
          {process === 'caller' && <span class="muted small"> its own times are not known here</span>}
        </span>
        <span class="process">{process}</span>
        <span class="track" aria-hidden="true">
          <span
            class={`bar of-${process}${error === undefined ? '' : ' failed'}${runs ? ' runs' : ''}`}
            style={{ left: `${Math.min(extent.left, 99.7)}%`, width: `${extent.width}%` }}
          />
        </span>
        <span class="number">{runs ? 'runs' : ms(duration)}</span>
      </button>
      <span class="trace-link">{invocation && <InvocationLink id={invocation.id} />}</span>
      {shown && <Details id={id} span={span} invocation={invocation} trace={trace} />}
    </li>
  );
}

function Details({
  id,
  span,
  invocation,
  trace,
}: {
  id: string;
  span: TraceSpan;
  invocation: TraceInvocation | undefined;
  trace: WholeTrace;
}): JSX.Element {
  const { start, duration, error, link, parentSpanId } = span;
  const meaning = span.process === 'function' ? 'a span of the function itself' : meaningOf(span);
  return (
    <div id={id} class="trace-facts">
      <Facts
        of={[
          ...(meaning === undefined ? [] : ([['Meaning', meaning]] as const)),
          ...(invocation
            ? ([
                ['Ended as', <End key="end" of={invocation} />],
                ['Lane', invocation.lane],
              ] as const)
            : []),
          ...(error === undefined ? [] : ([['Error', seen(error)]] as const)),
          ['Kind', span.kind],
          ...(start === undefined
            ? ([['Began', 'not known here']] as const)
            : ([
                ['Began', `${exact(trace.startedAt + start)}, ${ms(Math.max(0, start))} after the first`],
              ] as const)),
          [
            'Took',
            span.process === 'caller'
              ? 'not known here'
              : duration === undefined
                ? 'still running'
                : ms(duration),
          ],
          ...(link === undefined ? [] : ([['Follows the try', <Mono key="link" text={link} />]] as const)),
          ['Span', <Mono key="span" text={span.spanId} />],
          ...(parentSpanId === undefined
            ? []
            : ([['Parent', <Mono key="parent" text={parentSpanId} />]] as const)),
          ...(span.invocation === undefined
            ? []
            : ([['Invocation', <InvocationLink key="invocation" id={span.invocation} />]] as const)),
        ]}
      />
      {Object.keys(span.attributes).length > 0 && (
        <dl class="attributes" aria-label="Attributes">
          {Object.entries(span.attributes).map(([name, value]) => (
            <div key={name}>
              <dt>{seen(name)}</dt>
              <dd>{seen(String(value))}</dd>
            </div>
          ))}
        </dl>
      )}
    </div>
  );
}

function End({ of: { state, outcome, status } }: { of: TraceInvocation }): JSX.Element {
  return <Outcome of={{ state, ...(outcome && { outcome }), ...(status !== undefined && { status }) }} />;
}

function Mono({ text }: { text: string }): JSX.Element {
  return <span class="mono">{text}</span>;
}

function meaningOf(span: TraceSpan): string | undefined {
  if (span.process === 'caller') return 'the caller; its own spans are where it exports them';
  if (span.name === 'attempt') return 'a failed try';
  return isRoot(span) ? MEANINGS['invoke'] : MEANINGS[span.name];
}

function isRoot({ process, kind }: TraceSpan): boolean {
  return process === 'gateway' && kind !== 'internal';
}

/** Position of a span's bar in hundredths. A caller's bar is as wide as its calls. */
function extentOf(span: TraceSpan, at: number, spans: readonly TraceSpan[], whole: number): Extent {
  let { start = Infinity } = span;
  let end = span.start === undefined ? 0 : start + (span.duration ?? whole - start);
  for (let next = at + 1; span.start === undefined && next < spans.length; next++) {
    const below = spans[next];
    if (!below || below.depth <= span.depth) break;
    if (below.process === 'function') continue;
    const { start: from = 0, duration = whole - from } = below;
    start = Math.min(start, from);
    end = Math.max(end, from + duration);
  }
  const share = (time: number): number => Math.min(100, Math.max(0, (time / whole) * 100));
  return { left: share(start), width: Math.max(0.3, share(end) - share(start)) };
}
