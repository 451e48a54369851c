/** Sends the kept output of functions to an OpenTelemetry collector, each line with its level and span. */
import { ROOT_CONTEXT, SeverityNumber, trace, TraceFlags } from '@opentelemetry/api';
import { ExportResultCode, type ExportResult } from '@opentelemetry/core';
import { OTLPLogExporter as JsonExporter } from '@opentelemetry/exporter-logs-otlp-http';
import { OTLPLogExporter as ProtobufExporter } from '@opentelemetry/exporter-logs-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  BatchLogRecordProcessor,
  LoggerProvider,
  type LogRecordExporter,
  type ReadableLogRecord,
} from '@opentelemetry/sdk-logs';
import type { LogLevel, LogLine } from '#contract/invocations/invocation.ts';
import type { TelemetryEnvironment } from '#contract/platform/telemetry.ts';
import { defuse } from '#contract/api/text.ts';
import { parseTraceparent } from '#contract/invocations/trace.ts';
import type { LogTarget } from './invocation-log.ts';

/**
 * Upper bounds on lines, and on their bytes, that wait for the collector. Lines beyond them are dropped and counted: a slow
 * collector must cost neither calls nor memory.
 */
const MAX_OUTSTANDING_LINES = 16_384;
const MAX_OUTSTANDING_BYTES = 32 * 1024 * 1024;
/** Number of lines in one request to the collector. */
const BATCH_LINES = 512;
const EXPORT_INTERVAL_MS = 1_000;

/** Numbers of the log data model (https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber). */
const SEVERITY: Readonly<Record<LogLevel, SeverityNumber>> = {
  trace: SeverityNumber.TRACE,
  debug: SeverityNumber.DEBUG,
  log: SeverityNumber.INFO,
  info: SeverityNumber.INFO,
  stdout: SeverityNumber.INFO,
  stderr: SeverityNumber.WARN,
  warn: SeverityNumber.WARN,
  error: SeverityNumber.ERROR,
  fatal: SeverityNumber.FATAL,
  platform: SeverityNumber.WARN,
};

export interface LogExport {
  /** Number of lines that were not exported: there were too many, or the collector did not take them. */
  readonly dropped: number;
  add(target: LogTarget, lines: readonly LogLine[]): void;
  /** Sends the pending lines, then stops. */
  close(): Promise<void>;
}

/** An exporter that bounds the pending lines and counts those that do not arrive. */
class Counted implements LogRecordExporter {
  readonly #exporter: LogRecordExporter;
  #lines = 0;
  #bytes = 0;
  dropped = 0;

  constructor(exporter: LogRecordExporter) {
    this.#exporter = exporter;
  }

  /** Is there room for another line? */
  take(bytes: number): boolean {
    if (this.#lines >= MAX_OUTSTANDING_LINES || this.#bytes + bytes > MAX_OUTSTANDING_BYTES) {
      this.dropped++;
      return false;
    }
    this.#lines++;
    this.#bytes += bytes;
    return true;
  }

  export(lines: ReadableLogRecord[], done: (result: ExportResult) => void): void {
    this.#exporter.export(lines, (result) => {
      this.#lines -= lines.length;
      for (const { body } of lines) this.#bytes -= sizeOf(String(body));
      if (result.code !== ExportResultCode.SUCCESS) this.dropped += lines.length;
      done(result);
    });
  }

  async forceFlush(): Promise<void> {
    await this.#exporter.forceFlush();
  }

  async shutdown(): Promise<void> {
    await this.#exporter.shutdown();
  }
}

/** Approximate size in memory. */
function sizeOf(text: string): number {
  return text.length;
}

/** Starts the export. The exporter reads its address, headers and timeouts from OTEL_EXPORTER_OTLP_*, like that of traces. */
export function startLogExport(
  serviceName: string,
  version: string,
  protocol: TelemetryEnvironment['OTEL_EXPORTER_OTLP_PROTOCOL'],
  exporter: LogRecordExporter = protocol === 'http/json' ? new JsonExporter() : new ProtobufExporter(),
): LogExport {
  const counted = new Counted(exporter);
  const processor = new BatchLogRecordProcessor({
    exporter: counted,
    // Never reached: lines beyond the bound are not passed on.
    maxQueueSize: MAX_OUTSTANDING_LINES,
    maxExportBatchSize: BATCH_LINES,
    scheduledDelayMillis: EXPORT_INTERVAL_MS,
  });
  const provider = new LoggerProvider({
    resource: resourceFromAttributes({ 'service.name': serviceName, 'service.version': version }),
    processors: [processor],
  });
  const logger = provider.getLogger('offshoot');
  return {
    get dropped() {
      return counted.dropped;
    },
    add({ id, namespace, name, traceparent, attempt, item, sandbox }, lines) {
      const all = {
        'faas.name': `${namespace}/${name}`,
        ...(id !== '' && { 'faas.invocation_id': id }),
        ...(sandbox !== undefined && { 'offshoot.sandbox': sandbox }),
        ...(attempt !== undefined && { 'offshoot.attempt': attempt }),
        ...(item !== undefined && { 'offshoot.batch.item': item }),
      };
      const run = parseTraceparent(traceparent);
      for (const { time, level, text, span, origin } of lines) {
        const attributes = origin === undefined ? all : { ...all, 'offshoot.log.origin': origin };
        // Programs that show the line later need not know that a tenant wrote it.
        const body = defuse(text);
        if (!counted.take(sizeOf(body))) continue;
        const context = run && {
          traceId: run.traceId,
          spanId: span ?? run.spanId,
          traceFlags: run.sampled ? TraceFlags.SAMPLED : TraceFlags.NONE,
        };
        logger.emit({
          timestamp: time,
          severityNumber: SEVERITY[level],
          severityText: level,
          body,
          attributes,
          ...(context && { context: trace.setSpanContext(ROOT_CONTEXT, context) }),
        });
      }
    },
    close: () => provider.shutdown(),
  };
}
