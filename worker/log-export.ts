/** Sends what functions print to an OpenTelemetry collector, each line with its level and span, as far as it is kept at all. */
import { ROOT_CONTEXT, SeverityNumber, trace, TraceFlags } from '@opentelemetry/api';
import { OTLPLogExporter as JsonExporter } from '@opentelemetry/exporter-logs-otlp-http';
import { OTLPLogExporter as ProtobufExporter } from '@opentelemetry/exporter-logs-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchLogRecordProcessor, LoggerProvider } from '@opentelemetry/sdk-logs';
import type { LogLevel, LogLine } from '#contract/invocation.ts';
import type { TelemetryEnvironment } from '#contract/telemetry.ts';
import { defuse } from '#contract/text.ts';
import { parseTraceparent } from '#contract/trace.ts';
import type { LogTarget } from './invocation-log.ts';

/** Lines that may wait for the collector; what is over is dropped, for a slow collector must not cost calls. */
const MAX_QUEUED_LINES = 16_384;
const EXPORT_INTERVAL_MS = 1_000;

/** Numbers of the log data model (https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber). */
const SEVERITY: Readonly<Record<LogLevel, SeverityNumber>> = {
  debug: SeverityNumber.DEBUG,
  log: SeverityNumber.INFO,
  info: SeverityNumber.INFO,
  stdout: SeverityNumber.INFO,
  stderr: SeverityNumber.WARN,
  warn: SeverityNumber.WARN,
  error: SeverityNumber.ERROR,
  platform: SeverityNumber.WARN,
};

export interface LogExport {
  add(target: LogTarget, lines: readonly LogLine[]): void;
  /** Sends what is left. */
  close(): Promise<void>;
}

/** The exporter reads its address, headers and time-outs from OTEL_EXPORTER_OTLP_*, as that of traces does. */
export function startLogExport(
  serviceName: string,
  version: string,
  protocol: TelemetryEnvironment['OTEL_EXPORTER_OTLP_PROTOCOL'],
): LogExport {
  const processor = new BatchLogRecordProcessor({
    exporter: protocol === 'http/json' ? new JsonExporter() : new ProtobufExporter(),
    maxQueueSize: MAX_QUEUED_LINES,
    scheduledDelayMillis: EXPORT_INTERVAL_MS,
  });
  const provider = new LoggerProvider({
    resource: resourceFromAttributes({ 'service.name': serviceName, 'service.version': version }),
    processors: [processor],
  });
  const logger = provider.getLogger('offshoot');
  return {
    add({ id, namespace, name, traceparent }, lines) {
      const run = parseTraceparent(traceparent);
      for (const { time, level, text, span } of lines) {
        const context = run && {
          traceId: run.traceId,
          spanId: span ?? run.spanId,
          traceFlags: run.sampled ? TraceFlags.SAMPLED : TraceFlags.NONE,
        };
        logger.emit({
          timestamp: time,
          severityNumber: SEVERITY[level],
          severityText: level,
          // Whoever shows it further on need not know that it is a stranger's.
          body: defuse(text),
          attributes: { 'faas.name': `${namespace}/${name}`, 'faas.invocation_id': id },
          ...(context && { context: trace.setSpanContext(ROOT_CONTEXT, context) }),
        });
      }
    },
    close: () => provider.shutdown(),
  };
}
