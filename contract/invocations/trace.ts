/**
 * The spans of an invocation, derived from its record. The terminal waterfall, the API and the OTLP exporter show the same
 * spans, because all three call spansOf().
 */
import { OUTCOMES } from './outcome.ts';
import type { AnyInvocation, FunctionSpan, InvocationRecord, SpanEvent } from './invocation.ts';

export {
  formatTraceparent,
  parseTraceparent,
  parseTracestate,
  type TraceContext,
} from '../wire/trace-context.ts';

export const SPAN_NAMES = ['invoke', 'gateway', 'queue', 'acquire', 'init', 'run', 'reply'] as const;
export type SpanName = (typeof SPAN_NAMES)[number];

export interface Span {
  /** A SpanName, `attempt`, or a name of the function's own. */
  readonly name: string;
  readonly spanId: string;
  readonly parentSpanId: string | undefined;
  /** Milliseconds from the start of the root span. */
  readonly start: number;
  readonly duration: number;
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
  /** Id of the span of the try before this one. */
  readonly link?: string;
  /** Facts that the function reported about a span of its own. */
  readonly own?: OwnFacts;
}

/** Fields of a function's own span that other spans lack. */
export interface OwnFacts extends Pick<FunctionSpan, 'kind' | 'error' | 'ok' | 'links' | 'dropped'> {
  readonly events?: readonly OwnEvent[];
}

export interface OwnEvent extends Omit<SpanEvent, 'time'> {
  /** Milliseconds from the start of the root span. */
  readonly start: number;
}

/**
 * The spans of a finished invocation: the root first, then its phases in their order. The phases lie end to end: gateway,
 * queue, acquire, init, run; the rest of the root is the reply. Each try before the last one has a span, linked to the span of
 * the try before it. The function's own spans come last.
 */
export function spansOf(record: InvocationRecord): Span[] {
  const { report } = record;
  const root: Span = {
    name: 'invoke',
    spanId: record.spanId,
    parentSpanId: record.parentSpanId,
    start: 0,
    duration: record.duration,
    attributes: rootAttributes(record),
  };
  const spans = [root, ...earlierTries(record)];
  const last = (record.attempts?.length ?? 1) - 1;
  let at = 0;
  const phase = (name: SpanName, duration: number, attributes: Span['attributes'] = {}): void => {
    const index = SPAN_NAMES.indexOf(name);
    spans.push({
      name,
      spanId: name === 'run' ? runSpanId(record.spanId, last) : phaseSpanId(record.spanId, index),
      ...(name === 'run' && last > 0 && { link: runSpanId(record.spanId, last - 1) }),
      parentSpanId: record.spanId,
      start: at,
      duration,
      attributes,
    });
    at += duration;
  };
  phase('gateway', record.gateway);
  phase('queue', record.queue, { 'offshoot.lane': record.lane });
  if (report) {
    const acquired: Record<string, string> = {};
    if (report.acquired) acquired['offshoot.acquire.kind'] = report.acquired;
    if (report.coldReason) acquired['offshoot.acquire.cold_reason'] = report.coldReason;
    phase('acquire', report.timings.acquire, acquired);
    if (report.timings.init > 0) phase('init', report.timings.init);
    const denied = report.denied?.map(({ to, count }) => `${to} (${count})`).join(', ');
    const runStart = at;
    phase('run', report.timings.run, denied === undefined ? {} : { 'offshoot.network.denied': denied });
    const left = record.duration - at;
    if (left > 0) phase('reply', left);
    // By the clock of the host that ran it, which may differ from the gateway's.
    const start = report.ranAt === undefined ? record.startedAt : report.ranAt - runStart;
    for (const own of report.spans ?? []) spans.push(ownSpan(own, start));
  }
  return spans;
}

/** Spans of the first `count` tries. Default: all but the last one. */
export function earlierTries(
  { attempts = [], spanId, startedAt }: AnyInvocation,
  count = Math.max(0, attempts.length - 1),
): Span[] {
  return attempts.slice(0, count).map((attempt, index) => ({
    name: 'attempt',
    spanId: runSpanId(spanId, index),
    parentSpanId: spanId,
    start: attempt.startedAt - startedAt,
    duration: Math.max(0, (attempt.endedAt ?? attempt.startedAt) - attempt.startedAt),
    attributes: {
      'offshoot.attempt': index + 1,
      'offshoot.worker': attempt.worker,
      ...(attempt.outcome && { 'offshoot.outcome': attempt.outcome }),
    },
    ...(index > 0 && { link: runSpanId(spanId, index - 1) }),
  }));
}

/** A span of the function's own, placed in its invocation, which began at `startedAt` by the same clock. */
export function ownSpan(span: FunctionSpan, startedAt: number): Span {
  const { name, spanId, parentSpanId, kind, error, ok, events, links, dropped } = span;
  return {
    name,
    spanId,
    parentSpanId,
    start: span.startedAt - startedAt,
    duration: span.duration,
    attributes: { ...span.attributes, ...(span.unfinished && { 'offshoot.unfinished': true }) },
    own: {
      kind,
      ...(error !== undefined && { error }),
      ...(ok && { ok }),
      ...(events && { events: events.map(({ time, ...event }) => ({ ...event, start: time - startedAt })) }),
      ...(links && { links }),
      ...(dropped && { dropped }),
    },
  };
}

/** Distance between the ids of two tries, far larger than the number of phases. */
const TRY_SPANS = 64;

/** Span id of the run phase of a try, from 0: the parent in the `traceparent` that the function gets. */
export function runSpanId(rootSpanId: string, attempt = 0): string {
  return phaseSpanId(rootSpanId, SPAN_NAMES.indexOf('run') + attempt * TRY_SPANS);
}

/** Span id of a delivery of the callback of an invocation, from 1. */
export function callbackSpanId(rootSpanId: string, delivery: number): string {
  return phaseSpanId(rootSpanId, delivery * TRY_SPANS - 1);
}

/** Child ids are computed, not drawn, so that gateway and worker name the same span without a message. */
function phaseSpanId(rootSpanId: string, index: number): string {
  const mixed = BigInt(`0x${rootSpanId}`) ^ ((BigInt(index) * 0x9e3779b97f4a7c15n) & 0xffffffffffffffffn);
  return (mixed === 0n ? 1n : mixed).toString(16).padStart(16, '0');
}

function rootAttributes(record: InvocationRecord): Span['attributes'] {
  const { report } = record;
  return {
    'faas.name': `${record.namespace}/${record.name}`,
    'faas.version': String(record.version),
    'faas.invocation_id': record.id,
    'faas.coldstart': report?.acquired !== undefined && report.acquired !== 'idle',
    'faas.trigger': record.lane === 'sync' ? 'http' : record.batch ? 'other' : 'pubsub',
    ...(record.lane === 'queued' && {
      'messaging.system': 'offshoot',
      'messaging.operation.type': 'process',
      'messaging.message.id': record.id,
    }),
    ...(record.attempts && { 'offshoot.attempts': record.attempts.length }),
    ...(record.batch && {
      'offshoot.batch': record.batch.id,
      'messaging.batch.message_count': record.batch.items,
    }),
    ...(report?.spansDropped && { 'offshoot.spans_dropped': report.spansDropped }),
    'http.request.method': record.method,
    'url.path': record.path,
    'http.response.status_code': record.status,
    'offshoot.outcome': record.outcome,
    'offshoot.fault': OUTCOMES[record.outcome].fault,
    ...(record.cancelledBy && { 'offshoot.cancelled_by': record.cancelledBy.by }),
    ...(report?.usage && {
      'offshoot.cpu_ms': report.usage.cpu,
      'offshoot.memory_peak_bytes': report.usage.memoryPeak,
    }),
    ...(report?.pidsRefused && { 'offshoot.pids_refused': report.pidsRefused }),
    ...(report?.refusedCalls && { 'offshoot.seccomp.refused': report.refusedCalls.join(', ') }),
    ...(report?.exitCause && { 'offshoot.exit_cause': report.exitCause }),
    ...(report?.worker && { 'offshoot.worker': report.worker }),
    ...(report?.sandbox && { 'offshoot.sandbox': report.sandbox }),
  };
}

/** The figures of the record as a `Server-Timing` header (https://www.w3.org/TR/server-timing/). */
export function serverTiming(record: Pick<InvocationRecord, 'gateway' | 'queue' | 'report'>): string {
  const { report } = record;
  const entries = [`gateway;dur=${round(record.gateway)}`, `queue;dur=${round(record.queue)}`];
  if (report) {
    const kind = report.acquired
      ? `;desc="${report.acquired}${report.coldReason ? ` ${report.coldReason}` : ''}"`
      : '';
    entries.push(`acquire;dur=${round(report.timings.acquire)}${kind}`);
    if (report.timings.init > 0) entries.push(`init;dur=${round(report.timings.init)}`);
    entries.push(`run;dur=${round(report.timings.run)}`);
    if (report.usage) entries.push(`cpu;dur=${round(report.usage.cpu)}`);
  }
  return entries.join(', ');
}

function round(milliseconds: number): number {
  return Math.round(milliseconds * 1000) / 1000;
}
