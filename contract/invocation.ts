/**
 * What is known of one invocation: its timings, what it used, how it ended. The gateway writes it to Redis when the
 * invocation has ended; the API, the CLI and the trace exporter read it.
 */
import { z } from 'zod';
import { DeniedEgress } from './network.ts';
import { Outcome } from './outcome.ts';

export const AcquireKind = z.enum(['idle', 'prepared', 'cold']);
export type AcquireKind = z.infer<typeof AcquireKind>;

/** Why no idle sandbox of the function was there. */
export const ColdReason = z.enum([
  'first_call',
  'new_version',
  'all_busy',
  'evicted',
  'sandbox_ended',
  'single_use',
]);
export type ColdReason = z.infer<typeof ColdReason>;

/** Milliseconds, with fractions, measured by the worker's monotonic clock, from the moment at which it took the call. */
export const Timings = z.object({
  /** Waiting for a sandbox, its making included. */
  acquire: z.number(),
  /** Loading the function's module; 0 in a sandbox that had it already. */
  init: z.number(),
  /** From handing over the request to the end of the response. */
  run: z.number(),
  /** Everything between taking the call and sending the reply. */
  total: z.number(),
});
export type Timings = z.infer<typeof Timings>;

/** What the run cost, read from the sandbox's cgroup. */
export const Usage = z.object({
  /** Milliseconds of processor time of all processes of the sandbox during this run. */
  cpu: z.number(),
  /** Highest memory of the sandbox since it was made, in bytes. */
  memoryPeak: z.number(),
});
export type Usage = z.infer<typeof Usage>;

export const FunctionError = z.object({
  name: z.string(),
  message: z.string(),
  /** With the positions of the source, where the bundle has a source map. */
  stack: z.string().optional(),
});
export type FunctionError = z.infer<typeof FunctionError>;

/** What the worker says of a call that it has finished. It travels in the header of the last reply frame. */
export const RunReport = z.object({
  outcome: Outcome,
  error: FunctionError.optional(),
  /** `exit code 3` or `signal SIGSEGV`, when the sandbox ended. */
  exitCause: z.string().optional(),
  worker: z.string(),
  sandbox: z.string().optional(),
  acquired: AcquireKind.optional(),
  coldReason: ColdReason.optional(),
  timings: Timings,
  usage: Usage.optional(),
  /** Processes and threads that the kernel refused the sandbox since its last run, when `pids` was reached. */
  pidsRefused: z.number().optional(),
  /** Network destinations that were refused to the sandbox since its last invocation. */
  denied: z.array(DeniedEgress).optional(),
  /** System calls that the filter refused during the run, such as `socket(AF_VSOCK)`, each once; 16 at most. */
  refusedCalls: z.array(z.string()).optional(),
  logBytes: z.number(),
  logBytesDropped: z.number(),
});
export type RunReport = z.infer<typeof RunReport>;

export const InvocationRecord = z.object({
  id: z.string(),
  namespace: z.string(),
  name: z.string(),
  version: z.number(),
  lane: z.enum(['sync', 'queued']),
  outcome: Outcome,
  status: z.number(),
  method: z.string(),
  path: z.string(),
  traceId: z.string(),
  /** Root span of this invocation. */
  spanId: z.string(),
  /** Span of the caller, when the request carried a traceparent. */
  parentSpanId: z.string().optional(),
  sampled: z.boolean(),
  /** Unix time in milliseconds at which the gateway received the request. */
  startedAt: z.number(),
  /** Milliseconds from the request's arrival to the end of the response, at the gateway. */
  duration: z.number(),
  /** Milliseconds in the gateway before the call was handed to Redis. */
  gateway: z.number(),
  /** Milliseconds in Redis and on the way: what is left of the round trip when the worker's share is taken off. */
  queue: z.number(),
  requestBytes: z.number(),
  responseBytes: z.number(),
  report: RunReport.optional(),
  /** Set when the worker could say nothing: expired, worker_lost, cancelled before it was taken. */
  message: z.string().optional(),
});
export type InvocationRecord = z.infer<typeof InvocationRecord>;

export const LogLevel = z.enum(['debug', 'info', 'log', 'warn', 'error', 'stdout', 'stderr', 'platform']);
export type LogLevel = z.infer<typeof LogLevel>;

export const LogLine = z.object({
  /** Unix time in milliseconds. */
  time: z.number(),
  /** `stdout` and `stderr` are bytes written past `console`; `platform` is Offshoot's own word, such as what was cut. */
  level: LogLevel,
  text: z.string(),
});
export type LogLine = z.infer<typeof LogLine>;
