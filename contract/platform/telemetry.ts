/** Settings of the telemetry export, the same for gateway and worker; most are OpenTelemetry's own. */
import { z } from 'zod';

export const TelemetryEnvironment = z.object({
  /** Address for traces and logs (OTLP over HTTP), such as http://127.0.0.1:4318. Without it neither is exported. */
  OTEL_EXPORTER_OTLP_ENDPOINT: z.url().optional(),
  /** Full address for traces, or for logs, if it differs from the common one. */
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: z.url().optional(),
  OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: z.url().optional(),
  OTEL_EXPORTER_OTLP_PROTOCOL: z.enum(['http/protobuf', 'http/json']).default('http/protobuf'),
  /** `service.name` of exported telemetry. */
  OTEL_SERVICE_NAME: z.string().min(1).default('offshoot'),
  /** Share of the traces that are exported, from 0 to 1. Failed and slow ones are always exported. */
  OFFSHOOT_TRACE_RATIO: z.coerce.number().min(0).max(1).default(1),
  /** Upper bound on the traces that a process exports in a second, approximately. Failed and slow ones do not count. */
  OFFSHOOT_TRACE_PER_SECOND: z.coerce.number().min(1).default(200),
  /** Duration from which on an invocation counts as slow. */
  OFFSHOOT_TRACE_SLOW_MS: z.coerce.number().min(0).default(1_000),
});
export type TelemetryEnvironment = z.infer<typeof TelemetryEnvironment>;

/** True if traces are exported. */
export function exportsTraces(env: TelemetryEnvironment): boolean {
  return (env.OTEL_EXPORTER_OTLP_ENDPOINT ?? env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) !== undefined;
}

/** True if the output of functions is exported. */
export function exportsLogs(env: TelemetryEnvironment): boolean {
  return (env.OTEL_EXPORTER_OTLP_ENDPOINT ?? env.OTEL_EXPORTER_OTLP_LOGS_ENDPOINT) !== undefined;
}

export interface TelemetryOptions {
  readonly protocol: TelemetryEnvironment['OTEL_EXPORTER_OTLP_PROTOCOL'];
  readonly ratio: number;
  readonly perSecond: number;
  readonly slowMs: number;
}

export function telemetryOptions(env: TelemetryEnvironment): TelemetryOptions {
  return {
    protocol: env.OTEL_EXPORTER_OTLP_PROTOCOL,
    ratio: env.OFFSHOOT_TRACE_RATIO,
    perSecond: env.OFFSHOOT_TRACE_PER_SECOND,
    slowMs: env.OFFSHOOT_TRACE_SLOW_MS,
  };
}
