/**
 * Sends the spans of invocations to an OpenTelemetry collector, with the ids and times of their records. Who writes the end of
 * an invocation exports it: a gateway the calls that somebody waits for, whoever ends it those of the queued lane.
 *
 * What is exported is decided when all of it is known: what has failed or was slow always is, of the rest a share; sampling.ts.
 */
import { SpanKind, SpanStatusCode, TraceFlags, type HrTime } from '@opentelemetry/api';
import { resourceFromAttributes } from '@opentelemetry/resources';
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace';
import type { AnyInvocation, FunctionSpan, InvocationRecord } from '#contract/invocation.ts';
import { OUTCOMES } from '#contract/outcome.ts';
import type { TelemetryOptions } from '#contract/telemetry.ts';
import { callbackSpanId, ownSpan, spansOf, type Span } from '#contract/trace.ts';
import { deliveryResult } from './changes.ts';
import { TraceSampler } from './sampling.ts';
import { SpanExport } from './span-export.ts';

const SCOPE = { name: 'offshoot' };
/** Deliveries under way whose beginning is known; the oldest is forgotten. */
const MAX_DELIVERIES = 10_000;

export interface Telemetry {
  export(record: InvocationRecord): void;
  /** A record of the queued lane has changed: whatever has ended by that is exported. */
  changed(before: AnyInvocation, after: AnyInvocation): void;
  /** A function's own spans of a try that has failed. */
  ownSpans(record: AnyInvocation, spans: readonly FunctionSpan[]): void;
  /** Spans that the collector did not get. */
  dropped(): number;
  /** Sends what is left. */
  close(): Promise<void>;
}

/** `exporter`: in the place of the one that the environment names. */
export function startTelemetry(
  serviceName: string,
  version: string,
  options: Partial<TelemetryOptions> & { readonly exporter?: SpanExporter },
): Telemetry {
  const { protocol, exporter, ratio = 1, perSecond, slowMs = Number.POSITIVE_INFINITY } = options;
  const sampler = new TraceSampler(ratio, perSecond);
  const resource = resourceFromAttributes({ 'service.name': serviceName, 'service.version': version });
  const outlet = new SpanExport(protocol, exporter);
  const begun = new Map<string, number>();
  const send = (record: AnyInvocation, span: Span, kind: SpanKind, failed?: string): void =>
    outlet.add(readableSpan(record, span, kind, failed, resource));
  const exportRecord = (record: InvocationRecord): void => {
    if (!isKept(record, sampler, slowMs)) return;
    for (const span of spansOf(record)) {
      const isRoot = span.spanId === record.spanId;
      const bad = OUTCOMES[record.outcome].fault !== 'none';
      const failed =
        isRoot && bad ? OUTCOMES[record.outcome].meaning : (span.own?.error ?? triedInVain(span));
      send(record, span, isRoot ? rootKind(record) : ownKind(span), failed);
    }
  };
  const exportDelivery = (before: AnyInvocation, after: AnyInvocation): void => {
    const { callback, id } = after;
    if (!callback) return;
    if (callback.attempts > (before.callback?.attempts ?? 0)) {
      if (begun.size >= MAX_DELIVERIES) begun.delete(begun.keys().next().value ?? '');
      begun.set(id, Date.now());
    }
    const result = deliveryResult(before, after);
    if (!result || after.state !== 'done' || !isKept(after, sampler, slowMs, result !== 'delivered')) return;
    const now = Date.now();
    const startedAt = begun.get(id) ?? now;
    begun.delete(id);
    const span: Span = {
      name: 'callback',
      spanId: callbackSpanId(after.spanId, callback.attempts),
      parentSpanId: after.spanId,
      start: startedAt - after.startedAt,
      duration: now - startedAt,
      attributes: {
        'http.request.method': 'POST',
        'url.full': withoutSecrets(callback.url),
        'offshoot.callback.attempt': callback.attempts,
        ...(callback.lastStatus !== undefined && { 'http.response.status_code': callback.lastStatus }),
      },
      ...(callback.attempts > 1 && { link: callbackSpanId(after.spanId, callback.attempts - 1) }),
    };
    const failed = result === 'delivered' ? undefined : (callback.lastError ?? `it was ${result}`);
    send(after, span, SpanKind.CLIENT, failed);
  };
  return {
    export: exportRecord,
    changed(before, after) {
      if (before.state !== 'done' && after.state === 'done') exportRecord(after);
      exportDelivery(before, after);
    },
    ownSpans(record, spans) {
      if (!record.sampled) return;
      for (const own of spans) {
        const span = ownSpan(own, record.startedAt);
        send(record, span, ownKind(span), own.error);
      }
    },
    dropped: () => outlet.dropped,
    close: () => outlet.close(),
  };
}

/** `failed`: something of it has, whatever its outcome. A caller that has said "not sampled" is heeded. */
function isKept(record: InvocationRecord, sampler: TraceSampler, slowMs: number, failed = false): boolean {
  if (!record.sampled) return false;
  const { outcome, status, duration, attempts = [], traceId } = record;
  const isBad = OUTCOMES[outcome].fault !== 'none' || status >= 500 || attempts.length > 1;
  return failed || isBad || duration >= slowMs || sampler.keeps(traceId);
}

function rootKind({ lane }: InvocationRecord): SpanKind {
  return lane === 'sync' ? SpanKind.SERVER : SpanKind.CONSUMER;
}

const KINDS = [SpanKind.INTERNAL, SpanKind.SERVER, SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER];

function ownKind({ own }: Span): SpanKind {
  return KINDS[own?.kind ?? 0] ?? SpanKind.INTERNAL;
}

function triedInVain({ name, attributes }: Span): string | undefined {
  return name === 'attempt' ? String(attributes['offshoot.outcome']) : undefined;
}

/** A URL may carry a token in its user info or query. */
function withoutSecrets(url: string): string {
  if (!URL.canParse(url)) return '';
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname}`;
}

/** A span in the form that exporters take. A tracer would give it ids and times of its own. */
function readableSpan(
  record: AnyInvocation,
  span: Span,
  kind: SpanKind,
  failed: string | undefined,
  resource: ReadableSpan['resource'],
): ReadableSpan {
  const isRoot = span.spanId === record.spanId;
  const context = { traceId: record.traceId, traceFlags: TraceFlags.SAMPLED };
  const start = record.startedAt + span.start;
  return {
    name: isRoot ? `${record.namespace}/${record.name}` : span.name,
    kind,
    spanContext: () => ({ ...context, spanId: span.spanId }),
    ...(span.parentSpanId !== undefined && {
      parentSpanContext: {
        ...context,
        spanId: span.parentSpanId,
        // The parent of the root lives in the caller's process.
        isRemote: isRoot,
      },
    }),
    startTime: hrTime(start),
    endTime: hrTime(start + span.duration),
    duration: hrTime(span.duration),
    status:
      failed === undefined ? { code: SpanStatusCode.UNSET } : { code: SpanStatusCode.ERROR, message: failed },
    attributes: span.attributes,
    links: span.link === undefined ? [] : [{ context: { ...context, spanId: span.link } }],
    events: [],
    ended: true,
    resource,
    instrumentationScope: SCOPE,
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
  };
}

function hrTime(milliseconds: number): HrTime {
  const seconds = Math.floor(milliseconds / 1000);
  return [seconds, Math.round((milliseconds - seconds * 1000) * 1e6)];
}
