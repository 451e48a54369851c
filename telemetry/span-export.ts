/** Sends ended spans to an OpenTelemetry collector. Spans that a slow collector does not take are dropped and counted. */
import { ExportResultCode } from '@opentelemetry/core';
import { OTLPTraceExporter as JsonExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as ProtobufExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { BatchSpanProcessor, type ReadableSpan, type SpanExporter } from '@opentelemetry/sdk-trace';
import type { TelemetryOptions } from '#contract/platform/telemetry.ts';

/** Upper bound on the spans in transit, so that a slow collector does not cost calls. */
const MAX_OUTSTANDING = 16_384;
/** Upper bound on the spans of one request. Serialising them takes about a millisecond, for which every call waits. */
const BATCH_SPANS = 128;
const EXPORT_INTERVAL_MS = 1_000;

export class SpanExport {
  readonly #processor: BatchSpanProcessor;
  #outstanding = 0;
  #dropped = 0;

  /**
   * The exporter reads its address, headers and timeouts from OTEL_EXPORTER_OTLP_*
   * (https://opentelemetry.io/docs/specs/otel/protocol/exporter/). `given`: an exporter in its place.
   */
  constructor(protocol: TelemetryOptions['protocol'] | undefined, given?: SpanExporter) {
    // A process that stops sends all waiting spans at once.
    const settings = { concurrencyLimit: MAX_OUTSTANDING / BATCH_SPANS + 1 };
    const made = protocol === 'http/json' ? new JsonExporter(settings) : new ProtobufExporter(settings);
    this.#processor = new BatchSpanProcessor({
      exporter: this.#counted(given ?? made),
      maxQueueSize: MAX_OUTSTANDING,
      maxExportBatchSize: BATCH_SPANS,
      scheduledDelayMillis: EXPORT_INTERVAL_MS,
    });
  }

  /** Spans that the collector did not get since the start: it was slow, unavailable, or refused them. */
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

  /** Sends the remaining spans. */
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
