/** The settings of what is exported, the same for gateway and worker; most are OpenTelemetry's own. */
import { z } from 'zod';

export const TelemetryEnvironment = z.object({
  /** Where traces and logs go (OTLP over HTTP), such as http://127.0.0.1:4318. Unset: nowhere. */
  OTEL_EXPORTER_OTLP_ENDPOINT: z.url().optional(),
  /** Where traces or logs go when the others go elsewhere: the full address. */
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: z.url().optional(),
  OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: z.url().optional(),
  OTEL_EXPORTER_OTLP_PROTOCOL: z.enum(['http/protobuf', 'http/json']).default('http/protobuf'),
  /** `service.name` of what is exported. */
  OTEL_SERVICE_NAME: z.string().min(1).default('offshoot'),
  /** Share of the traces that are exported, from 0 to 1. Those with a failure and slow ones are exported whatever it says. */
  OFFSHOOT_TRACE_RATIO: z.coerce.number().min(0).max(1).default(1),
  /** Traces that a process exports in a second, about; what is more is thinned out. Failures and slow ones are not counted. */
  OFFSHOOT_TRACE_PER_SECOND: z.coerce.number().min(1).default(200),
  /** An invocation that takes this long is slow. */
  OFFSHOOT_TRACE_SLOW_MS: z.coerce.number().min(0).default(1_000),
});
export type TelemetryEnvironment = z.infer<typeof TelemetryEnvironment>;

/** Are traces exported at all? */
export function exportsTraces(env: TelemetryEnvironment): boolean {
  return (env.OTEL_EXPORTER_OTLP_ENDPOINT ?? env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) !== undefined;
}

/** Is what functions print exported? */
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
