/**
 * Sends the spans of invocations to an OpenTelemetry collector, with the ids and times of their records. The process that records
 * an invocation's end exports its spans: the gateway for a synchronous call, the process that ended it for a queued one.
 *
 * The export is decided at the end: failed and slow invocations are always exported, of the rest a share (sampling.ts).
 */
import { createTraceState, SpanKind, SpanStatusCode, TraceFlags, type HrTime } from '@opentelemetry/api';
import { resourceFromAttributes } from '@opentelemetry/resources';
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace';
import { clockOrigin } from '#contract/wire/host-clock.ts';
import type { AnyInvocation, FunctionSpan, InvocationRecord } from '#contract/invocations/invocation.ts';
import { isFailure, OUTCOMES } from '#contract/invocations/outcome.ts';
import type { TelemetryOptions } from '#contract/platform/telemetry.ts';
import type { Batch } from '#contract/invocations/batch.ts';
import {
  callbackSpanId,
  ownSpan,
  parseTraceparent,
  spansOf,
  type Span,
} from '#contract/invocations/trace.ts';
import type { BatchFacts } from '#storage/queued/batches.ts';
import { deliveryResult } from './changes.ts';
import { sharedNow } from '#storage/redis/clock.ts';
import { TraceSampler } from './sampling.ts';
import { SpanExport } from './span-export.ts';

const SCOPE = { name: 'offshoot' };
/** Upper bound on the deliveries under way whose begin is remembered; beyond it the oldest is forgotten. */
const MAX_DELIVERIES = 10_000;

export interface Telemetry {
  /** Exports an invocation that has ended. True when it was exported, and not left out. */
  export(record: InvocationRecord): boolean;
  /** Exports everything that a change of a queued record has ended. True when the invocation itself was exported. */
  changed(before: AnyInvocation, after: AnyInvocation): boolean;
  /** Exports a function's own spans of a failed attempt. */
  ownSpans(record: AnyInvocation, spans: readonly FunctionSpan[]): void;
  /** Exports the spans that a run has begun after its answer. */
  lateSpans(call: LateCall, spans: readonly FunctionSpan[]): void;
  /** Exports the span of a batch that has ended; the spans of its groups are its children. */
  batchEnded(facts: BatchFacts, batch: Batch, wasRetried: boolean): void;
  /** Number of spans that the collector did not get. */
  dropped(): number;
  /** Sends the remaining spans. */
  close(): Promise<void>;
}

/** The call whose run made late spans. `failed`: its trace is exported for that reason. */
export interface LateCall {
  readonly id: string;
  readonly traceparent: string;
  readonly tracestate?: string | undefined;
  readonly failed: boolean;
}

/** Facts that all spans of one exported record share. */
type Exported = Pick<AnyInvocation, 'traceId' | 'tracestate' | 'startedAt'> & {
  /** The root span: its name, and the id by which it is recognised. */
  readonly root?: { readonly spanId: string; readonly name: string };
};

/** `exporter`: used in place of the one that the environment names. */
export function startTelemetry(
  serviceName: string,
  version: string,
  options: Partial<TelemetryOptions> & { readonly exporter?: SpanExporter },
): Telemetry {
  const { protocol, exporter, ratio = 1, perSecond, slowMs = Number.POSITIVE_INFINITY } = options;
  const sampler = new TraceSampler(ratio, perSecond);
  const resource = resourceFromAttributes({ 'service.name': serviceName, 'service.version': version });
  const outlet = new SpanExport(protocol, exporter);
  const first = (traceId: string): boolean => sampler.keeps(traceId);
  // For a trace that was counted when its invocation ended.
  const again = (traceId: string): boolean => sampler.keptWith(traceId);
  const begun = new Map<string, number>();
  const sendOf = (of: Exported, span: Span, kind: SpanKind, failed?: string): void =>
    outlet.add(readableSpan(of, span, kind, failed, resource));
  const send = (record: AnyInvocation, span: Span, kind: SpanKind, failed?: string): void => {
    const { spanId, namespace, name } = record;
    sendOf({ ...record, root: { spanId, name: `${namespace}/${name}` } }, span, kind, failed);
  };
  const exportRecord = (record: InvocationRecord): boolean => {
    if (!isKept(record, first, slowMs)) return false;
    for (const span of spansOf(record)) {
      const isRoot = span.spanId === record.spanId;
      const failed =
        isRoot && isFailure(record.outcome)
          ? OUTCOMES[record.outcome].meaning
          : (span.own?.error ?? triedInVain(span));
      send(record, span, isRoot ? rootKind(record) : ownKind(span), failed);
    }
    return true;
  };
  const exportDelivery = (before: AnyInvocation, after: AnyInvocation): void => {
    const { callback, id } = after;
    if (!callback) return;
    if (callback.attempts > (before.callback?.attempts ?? 0)) {
      if (begun.size >= MAX_DELIVERIES) begun.delete(begun.keys().next().value ?? '');
      begun.set(id, sharedNow());
    }
    const result = deliveryResult(before, after);
    if (!result || after.state !== 'done' || !isKept(after, again, slowMs, result !== 'delivered')) return;
    const now = sharedNow();
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
      const ends = before.state !== 'done' && after.state === 'done';
      const exported = ends && exportRecord(after);
      exportDelivery(before, after);
      return exported;
    },
    ownSpans(record, spans) {
      for (const own of spans) {
        const span = ownSpan(own, record.startedAt - hostIsBehind());
        send(record, span, ownKind(span), own.error);
      }
    },
    lateSpans({ traceparent, tracestate, failed }, spans) {
      const run = parseTraceparent(traceparent);
      if (!run) return;
      const { traceId, sampled } = run;
      const isBad = failed || spans.some(({ error, duration }) => error !== undefined || duration >= slowMs);
      if (!isBad && !(sampled && again(traceId))) return;
      for (const own of spans) {
        const span = ownSpan(own, -hostIsBehind());
        sendOf({ traceId, tracestate, startedAt: 0 }, span, ownKind(span), own.error);
      }
    },
    batchEnded(facts, batch, wasRetried) {
      const { traceId, tracestate, spanId, sampled, namespace, name, createdAt: startedAt } = facts;
      const duration = (batch.endedAt ?? startedAt) - startedAt;
      const failed = batchFailure(batch);
      const isBad = failed !== undefined || wasRetried || duration >= slowMs;
      if (!isBad && !(sampled && first(traceId))) return;
      const span: Span = {
        name: 'batch',
        spanId,
        parentSpanId: facts.parentSpanId,
        start: 0,
        duration,
        attributes: batchAttributes(facts, batch),
      };
      const root = { spanId, name: `batch ${namespace}/${name}` };
      sendOf({ traceId, tracestate, startedAt, root }, span, SpanKind.PRODUCER, failed);
    },
    dropped: () => outlet.dropped,
    close: () => outlet.close(),
  };
}

/**
 * `failed`: a part of the invocation has failed, whatever its outcome. A caller's "not sampled" is honoured only for fast
 * successes, because the caller decides before the result is known.
 */
function isKept(
  record: InvocationRecord,
  keeps: (traceId: string) => boolean,
  slowMs: number,
  failed = false,
): boolean {
  const { outcome, status, duration, attempts = [], traceId, sampled } = record;
  const isBad = isFailure(outcome) || status >= 500 || attempts.length > 1;
  return failed || isBad || duration >= slowMs || (sampled && keeps(traceId));
}

/** Milliseconds by which the clock of this host, which also times the function's spans, is behind the shared time. */
function hostIsBehind(): number {
  return sharedNow() - (clockOrigin() + performance.now());
}

function batchFailure({ state, items, failed }: Batch): string | undefined {
  if (state === 'cancelled') return OUTCOMES[state].meaning;
  return failed === 0 ? undefined : `${failed} of ${items} items ${failed === 1 ? 'has' : 'have'} failed`;
}

function batchAttributes({ namespace, name, version }: BatchFacts, batch: Batch): Span['attributes'] {
  const { id, state, items, succeeded, failed, groups } = batch;
  return {
    'faas.name': `${namespace}/${name}`,
    'faas.version': String(version),
    'messaging.system': 'offshoot',
    'messaging.operation.type': 'send',
    'messaging.batch.message_count': items,
    'offshoot.batch': id,
    'offshoot.batch.groups': groups,
    'offshoot.batch.succeeded': succeeded,
    'offshoot.batch.failed': failed,
    ...(batch.cancelledBy && { 'offshoot.cancelled_by': batch.cancelledBy.by }),
    'offshoot.outcome': state === 'cancelled' ? 'cancelled' : failed > 0 ? 'error' : 'ok',
  };
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

/** The URL without user info and query, which may carry a token. */
function withoutSecrets(url: string): string {
  if (!URL.canParse(url)) return '';
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname}`;
}

/** A span in the form that exporters take. It is made without a tracer, which would choose ids and times of its own. */
function readableSpan(
  { traceId, tracestate, startedAt, root }: Exported,
  span: Span,
  kind: SpanKind,
  failed: string | undefined,
  resource: ReadableSpan['resource'],
): ReadableSpan {
  const isRoot = span.spanId === root?.spanId;
  const { own = { kind: 0 } } = span;
  // Sampled by the platform, whatever the caller's flag was.
  const context = {
    traceId,
    traceFlags: TraceFlags.SAMPLED,
    ...(tracestate !== undefined && { traceState: createTraceState(tracestate) }),
  };
  const start = startedAt + span.start;
  return {
    name: isRoot ? root.name : span.name,
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
      failed === undefined
        ? { code: own.ok ? SpanStatusCode.OK : SpanStatusCode.UNSET }
        : { code: SpanStatusCode.ERROR, message: failed },
    attributes: span.attributes,
    links: [
      ...(span.link === undefined ? [] : [{ context: { ...context, spanId: span.link } }]),
      ...(own.links ?? []).map((link) => ({
        context: { traceId: link.traceId, spanId: link.spanId, traceFlags: TraceFlags.NONE, isRemote: true },
        ...(link.attributes && { attributes: link.attributes }),
      })),
    ],
    events: (own.events ?? []).map(({ name, start: at, attributes }) => ({
      name,
      time: hrTime(startedAt + at),
      ...(attributes && { attributes }),
    })),
    ended: true,
    resource,
    instrumentationScope: SCOPE,
    droppedAttributesCount: own.dropped?.attributes ?? 0,
    droppedEventsCount: own.dropped?.events ?? 0,
    droppedLinksCount: own.dropped?.links ?? 0,
  };
}

function hrTime(milliseconds: number): HrTime {
  const seconds = Math.floor(milliseconds / 1000);
  return [seconds, Math.round((milliseconds - seconds * 1000) * 1e6)];
}
