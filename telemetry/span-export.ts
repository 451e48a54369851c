/** The way of ended spans to an OpenTelemetry collector: bounded, since a slow collector must not cost calls, and counted where it ends. */
import { ExportResultCode } from '@opentelemetry/core';
import { OTLPTraceExporter as JsonExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as ProtobufExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { BatchSpanProcessor, type ReadableSpan, type SpanExporter } from '@opentelemetry/sdk-trace';
import type { TelemetryOptions } from '#contract/platform/telemetry.ts';

/** Spans that may be on their way. */
const MAX_OUTSTANDING = 16_384;
/** Spans of one request. Putting them into bytes takes about a millisecond, for which every call waits. */
const BATCH_SPANS = 128;
const EXPORT_INTERVAL_MS = 1_000;

export class SpanExport {
  readonly #processor: BatchSpanProcessor;
  #outstanding = 0;
  #dropped = 0;

  /**
   * The exporter reads its address, headers and time-outs from OTEL_EXPORTER_OTLP_*
   * (https://opentelemetry.io/docs/specs/otel/protocol/exporter/); another one may be given in its place.
   */
  constructor(protocol: TelemetryOptions['protocol'] | undefined, given?: SpanExporter) {
    // At its end a process sends all that waits at once.
    const settings = { concurrencyLimit: MAX_OUTSTANDING / BATCH_SPANS + 1 };
    const made = protocol === 'http/json' ? new JsonExporter(settings) : new ProtobufExporter(settings);
    this.#processor = new BatchSpanProcessor({
      exporter: this.#counted(given ?? made),
      maxQueueSize: MAX_OUTSTANDING,
      maxExportBatchSize: BATCH_SPANS,
      scheduledDelayMillis: EXPORT_INTERVAL_MS,
    });
  }

  /** Spans that the collector did not get, since the start: it was slow, away, or refused them. */
  get dropped(): number {
    return this.#dropped;
  }

  add(span: ReadableSpan): void {
    if (this.#outstanding >= MAX_OUTSTANDING) {
      this.#dropped++;
      return;
    }
    this.#outstanding++;
    this.#processor.onEnd(span);
  }

  /** Sends what is left. */
  async close(): Promise<void> {
    await this.#processor.shutdown();
  }

  #counted(exporter: SpanExporter): SpanExporter {
    return {
      export: (spans, done) =>
        exporter.export(spans, (result) => {
          this.#outstanding -= spans.length;
          if (result.code !== ExportResultCode.SUCCESS) this.#dropped += spans.length;
          done(result);
        }),
      shutdown: () => exporter.shutdown(),
      forceFlush: async () => await exporter.forceFlush?.(),
    };
  }
}
