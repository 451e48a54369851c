/**
 * What is known of one invocation: its timings, what it used, how it ended. The gateway writes it to Redis when the
 * invocation has ended; the API, the CLI and the trace exporter read it.
 */
import { z } from 'zod';
import { DeniedEgress } from './network.ts';
import { Outcome } from './outcome.ts';

/** Characters of a name or value of a function's own span. */
export const MAX_SPAN_TEXT = 1_024;
/** Largest Unix time that a date can be. */
const MAX_TIME = 8.64e15;

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

const AttributeValue = z.union([z.string().max(MAX_SPAN_TEXT), z.number(), z.boolean()]);

const SpanId = z.string().regex(/^(?!0{16})[0-9a-f]{16}$/);
const SpanTime = z.number().min(0).max(MAX_TIME);
const SpanAttributes = z.record(z.string().max(MAX_SPAN_TEXT), AttributeValue);
/** Events and links of one span. */
export const MAX_SPAN_PARTS = 32;

/** Something that happened within a span. An exception is one that is named `exception`. */
export const SpanEvent = z.object({
  name: z.string().max(MAX_SPAN_TEXT),
  /** Unix time in milliseconds. */
  time: SpanTime,
  attributes: SpanAttributes.optional(),
});
export type SpanEvent = z.infer<typeof SpanEvent>;

/** A span of this or another trace that has to do with it, such as that of the message that it handles. */
export const SpanLink = z.object({
  traceId: z.string().regex(/^(?!0{32})[0-9a-f]{32}$/),
  spanId: SpanId,
  attributes: SpanAttributes.optional(),
});
export type SpanLink = z.infer<typeof SpanLink>;

const Dropped = z.object({
  attributes: z.int().positive().optional(),
  events: z.int().positive().optional(),
  links: z.int().positive().optional(),
});

/**
 * A span of the function's own. A sandbox says it, so nothing of it is believed: its trace is that of the invocation whatever it
 * says, and what is not of this form is left out.
 */
export const FunctionSpan = z.object({
  name: z.string().max(MAX_SPAN_TEXT),
  spanId: SpanId,
  parentSpanId: SpanId,
  /** SpanKind of OpenTelemetry: internal, server, client, producer, consumer. */
  kind: z.int().min(0).max(4),
  /** Unix time in milliseconds, by the sandbox's clock. */
  startedAt: SpanTime,
  duration: SpanTime,
  /** It had not ended when its run had: answered, or killed. Its duration is that until then. */
  unfinished: z.literal(true).optional(),
  /** Set when the function has said that it failed. */
  error: z.string().max(MAX_SPAN_TEXT).optional(),
  /** Set when the function has said that it went well. */
  ok: z.literal(true).optional(),
  attributes: SpanAttributes.optional(),
  events: z.array(SpanEvent).max(MAX_SPAN_PARTS).optional(),
  links: z.array(SpanLink).max(MAX_SPAN_PARTS).optional(),
  /** How many of each there were beyond what is kept. */
  dropped: Dropped.optional(),
});
export type FunctionSpan = z.infer<typeof FunctionSpan>;

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
  /** When the run began: Unix time in milliseconds by the clock of its host, which is that of the spans below. */
  ranAt: z.number().optional(),
  usage: Usage.optional(),
  /** Processes and threads that the kernel refused the sandbox since its last run, when `pids` was reached. */
  pidsRefused: z.number().optional(),
  /** Network destinations that were refused to the sandbox since its last invocation. */
  denied: z.array(DeniedEgress).optional(),
  /** System calls that the filter refused during the run, such as `socket(AF_VSOCK)`, each once; 16 at most. */
  refusedCalls: z.array(z.string()).optional(),
  logBytes: z.number(),
  logBytesDropped: z.number(),
  /** Lines of which nothing was kept; they are among those bytes. */
  logLinesDropped: z.number().optional(),
  /** Spans of the function itself that had begun before its answer, and how many more there were. */
  spans: z.array(FunctionSpan).optional(),
  spansDropped: z.number().optional(),
});
export type RunReport = z.infer<typeof RunReport>;

/** One try of an invocation of the queued lane. Times are Unix time in milliseconds. */
export const Attempt = z.object({
  startedAt: z.number(),
  worker: z.string(),
  /** Absent while it runs. */
  outcome: Outcome.optional(),
  /** HTTP status that the function answered. */
  status: z.number().optional(),
  endedAt: z.number().optional(),
  message: z.string().optional(),
});
export type Attempt = z.infer<typeof Attempt>;

/** Why an invocation of the queued lane is a dead letter: it has failed, and is not tried again by itself. */
export const DeadReason = z.enum(['not_retried', 'attempts_used', 'poison', 'expired']);
export type DeadReason = z.infer<typeof DeadReason>;

/** What the queued lane has promised of an invocation when it took it. */
export const QueuedTerms = z.object({
  /** Tries at most, since it was queued or queued again. */
  maxAttempts: z.number(),
  /** Milliseconds before the second try at most, doubled for each further one up to `maxDelay`. */
  minDelay: z.number(),
  maxDelay: z.number(),
  /** Unix time in milliseconds after which it does not start any more. */
  expiresAt: z.number(),
  /** Milliseconds of that, where it cannot be told from the time at which it was made. */
  lasts: z.number().optional(),
  /** Tries from before it was last taken out of the dead letters, which count no more. */
  triedBefore: z.number().optional(),
  /** 1 is first; absent is before all that have one. */
  priority: z.number().optional(),
});
export type QueuedTerms = z.infer<typeof QueuedTerms>;

/** Which items of which batch an invocation runs; part of its record. */
export const GroupOfBatch = z.object({
  id: z.string(),
  /** Number of the group, from 0. */
  group: z.number(),
  /** Index of its first item. */
  first: z.number(),
  items: z.number(),
});
export type GroupOfBatch = z.infer<typeof GroupOfBatch>;
/** Whom the end of an invocation of the queued lane is told, and how far that has come. */
export const Callback = z.object({
  url: z.string(),
  state: z.enum(['pending', 'delivered', 'failed']),
  /** Deliveries that were begun. One that a gateway had begun when it died counts. */
  attempts: z.number(),
  /** HTTP status that the receiver answered last. */
  lastStatus: z.number().optional(),
  /** Why the last delivery failed, for people. */
  lastError: z.string().optional(),
  /** Unix time in milliseconds of the next one. */
  nextAt: z.number().optional(),
});
export type Callback = z.infer<typeof Callback>;

/** What is known of an invocation from its first moment on. */
const Identity = z.object({
  id: z.string(),
  namespace: z.string(),
  name: z.string(),
  version: z.number(),
  lane: z.enum(['sync', 'queued']),
  method: z.string(),
  path: z.string(),
  traceId: z.string(),
  /** Root span of this invocation. */
  spanId: z.string(),
  /** Span of the caller, when the request carried a traceparent. */
  parentSpanId: z.string().optional(),
  /** The caller's `tracestate`, passed on. */
  tracestate: z.string().optional(),
  /** What the caller has said. Passed on; whether it is exported is decided when it has ended. */
  sampled: z.boolean(),
  /** Unix time in milliseconds at which the gateway received the request. */
  startedAt: z.number(),
  requestBytes: z.number(),
  /** Of the queued lane: where the request's body is in the artifact store, when it is too large for Redis. */
  inputBlob: z.string().optional(),
  /** Of the queued lane: oldest first. */
  attempts: z.array(Attempt).optional(),
  terms: QueuedTerms.optional(),
  /** Invocation whose input this one had as well. */
  replayOf: z.string().optional(),
  /** Unix time in milliseconds for which a schedule had planned it. */
  scheduledFor: z.number().optional(),
  /** How often it was taken out of the dead letters. */
  redriven: z.number().optional(),
  /** It is kept for its whole time, because an Idempotency-Key stands for it. */
  deduplicates: z.literal(true).optional(),
  /** Items of a batch that it runs. */
  batch: GroupOfBatch.optional(),
  callback: Callback.optional(),
});

/** An invocation that has not ended. */
export const OpenInvocation = Identity.extend({
  state: z.enum(['queued', 'running']),
  /** Worker that runs it. */
  worker: z.string().optional(),
  /** Gateway that waits for it, in the sync lane. */
  gatewayId: z.string().optional(),
  /** Unix time in milliseconds before which it does not start: a delay, or the wait before a retry. */
  dueAt: z.number().optional(),
});
export type OpenInvocation = z.infer<typeof OpenInvocation>;

/** An invocation that has ended. */
export const InvocationRecord = Identity.extend({
  state: z.literal('done'),
  outcome: Outcome,
  status: z.number(),
  /** Milliseconds from the request's arrival to the end of the response, at the gateway. */
  duration: z.number(),
  /** Milliseconds in the gateway before the call was handed to Redis. */
  gateway: z.number(),
  /** Milliseconds in Redis and on the way: what is left of the round trip when the worker's share is taken off. */
  queue: z.number(),
  responseBytes: z.number(),
  /** Of the queued lane: where the response's body is in the artifact store, when it is too large for Redis. */
  resultBlob: z.string().optional(),
  report: RunReport.optional(),
  /** Set when the worker could say nothing: expired, worker_lost, cancelled before it was taken. */
  message: z.string().optional(),
  /** Set when it is among the dead letters of its namespace. */
  dead: DeadReason.optional(),
});
export type InvocationRecord = z.infer<typeof InvocationRecord>;

export const AnyInvocation = z.discriminatedUnion('state', [InvocationRecord, OpenInvocation]);
export type AnyInvocation = z.infer<typeof AnyInvocation>;

export const LogLevel = z.enum(['debug', 'info', 'log', 'warn', 'error', 'stdout', 'stderr', 'platform']);
export type LogLevel = z.infer<typeof LogLevel>;

/**
 * Why a line is not what its invocation printed while it ran. `late`: the invocation had ended by then. `unclaimed`: nobody can say
 * which invocation it is of, if of any; it may be of something that is older than those that ran.
 */
export const LogOrigin = z.enum(['late', 'unclaimed']);
export type LogOrigin = z.infer<typeof LogOrigin>;

export const LogLine = z.object({
  /** Unix time in milliseconds. */
  time: z.number(),
  /** `stdout` and `stderr` are bytes written past `console`; `platform` is Offshoot's own word, such as what was cut. */
  level: LogLevel,
  text: z.string(),
  /** Span of the function's own within which it was written. */
  span: z
    .string()
    .regex(/^[0-9a-f]{16}$/)
    .optional(),
  /** Of the queued lane: number of the try that has printed it, from 1. */
  attempt: z.number().optional(),
  /** Of a batch whose items run one by one: index of the item. */
  item: z.number().optional(),
  /** Absent for all that the invocation has printed while it ran. */
  origin: LogOrigin.optional(),
  /** Of what is `unclaimed`: the sandbox in which it was printed. */
  sandbox: z.string().optional(),
});
export type LogLine = z.infer<typeof LogLine>;
