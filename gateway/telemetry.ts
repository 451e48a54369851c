/** Sends the spans of invocations to an OpenTelemetry collector, with the ids and times of their records. */
import { SpanKind, SpanStatusCode, TraceFlags, type HrTime } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, type ReadableSpan, type SpanExporter } from '@opentelemetry/sdk-trace';
import type { InvocationRecord } from '#contract/invocation.ts';
import { OUTCOMES } from '#contract/outcome.ts';
import { spansOf, type Span } from '#contract/trace.ts';

/** Spans that may wait for the collector; what is over is dropped, for a slow collector must not cost calls. */
const MAX_QUEUED_SPANS = 16_384;
const EXPORT_INTERVAL_MS = 1_000;
const SCOPE = { name: 'offshoot' };

export interface Telemetry {
  export(record: InvocationRecord): void;
  /** Sends what is left. */
  close(): Promise<void>;
}

/**
 * The exporter reads its address, headers and time-outs from OTEL_EXPORTER_OTLP_*
 * (https://opentelemetry.io/docs/specs/otel/protocol/exporter/); another one may be given in its place.
 */
export function startTelemetry(
  serviceName: string,
  version: string,
  exporter: SpanExporter = new OTLPTraceExporter(),
): Telemetry {
  const resource = resourceFromAttributes({ 'service.name': serviceName, 'service.version': version });
  const processor = new BatchSpanProcessor({
    exporter,
    maxQueueSize: MAX_QUEUED_SPANS,
    scheduledDelayMillis: EXPORT_INTERVAL_MS,
  });
  return {
    export(record) {
      if (!record.sampled) return;
      for (const span of spansOf(record)) processor.onEnd(readableSpan(record, span, resource));
    },
    close: () => processor.shutdown(),
  };
}

/** A span in the form that exporters take. A tracer would give it ids and times of its own. */
function readableSpan(
  record: InvocationRecord,
  span: Span,
  resource: ReadableSpan['resource'],
): ReadableSpan {
  const isRoot = span.spanId === record.spanId;
  const context = { traceId: record.traceId, traceFlags: TraceFlags.SAMPLED };
  const failed = isRoot && OUTCOMES[record.outcome].fault !== 'none';
  const start = record.startedAt + span.start;
  return {
    name: isRoot ? `${record.namespace}/${record.name}` : span.name,
    kind: isRoot ? SpanKind.SERVER : SpanKind.INTERNAL,
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
    status: failed
      ? { code: SpanStatusCode.ERROR, message: OUTCOMES[record.outcome].meaning }
      : { code: SpanStatusCode.UNSET },
    attributes: span.attributes,
    links: [],
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
