/**
 * The record of one invocation: its timings, its usage, its end. The gateway writes it to Redis at the end of the invocation;
 * the API, the CLI and the trace exporter read it.
 */
import { z } from 'zod';
import { DeniedEgress } from '../functions/network.ts';
import { HANDLER_NAMES } from '../wire/channel.ts';
import { CANCELLERS } from './canceller.ts';
import { DEAD, type DeadReason as AnyDeadReason } from './dead-letter.ts';
import { OUTCOME_NAMES } from './outcome.ts';

/** Upper bound on the characters of a name or value in a function's own span. */
export const MAX_SPAN_TEXT = 1_024;
/** Largest Unix time in milliseconds that a Date can hold. */
const MAX_TIME = 8.64e15;

/** Schemas of the tables beside this file. */
export const Outcome = z.enum(OUTCOME_NAMES);
export type Outcome = z.infer<typeof Outcome>;
export const DeadReason = z.enum(Object.keys(DEAD) as AnyDeadReason[]);
export type DeadReason = z.infer<typeof DeadReason>;
export const Canceller = z.object({
  by: z.enum(Object.keys(CANCELLERS) as (keyof typeof CANCELLERS)[]),
  /** Id of the API key that asked for it. */
  key: z.string().optional(),
});
export type Canceller = z.infer<typeof Canceller>;

export const AcquireKind = z.enum(['idle', 'prepared', 'cold']);
export type AcquireKind = z.infer<typeof AcquireKind>;

/** Reason why there was no idle sandbox of the function. */
export const ColdReason = z.enum([
  'first_call',
  'new_version',
  'all_busy',
  'evicted',
  'sandbox_ended',
  'single_use',
]);
export type ColdReason = z.infer<typeof ColdReason>;

/** Milliseconds, with fractions, by the worker's monotonic clock, from the moment at which it took the call. */
export const Timings = z.object({
  /** Wait for a sandbox, including the start of one. */
  acquire: z.number(),
  /** Load of the function's module; 0 in a sandbox that had loaded it already. */
  init: z.number(),
  /** From the start of the request in the sandbox to the end of the response. */
  run: z.number(),
  /** From taking the call to sending the reply. */
  total: z.number(),
});
export type Timings = z.infer<typeof Timings>;

/** Resources of the run, read from the sandbox's cgroup. */
export const Usage = z.object({
  /** Milliseconds of processor time of all processes of the sandbox during this run. */
  cpu: z.number(),
  /** Highest memory of the sandbox since its start, in bytes. */
  memoryPeak: z.number(),
});
export type Usage = z.infer<typeof Usage>;

export const FunctionError = z.object({
  name: z.string(),
  message: z.string(),
  /** With positions of the source, if the bundle has a source map. */
  stack: z.string().optional(),
});
export type FunctionError = z.infer<typeof FunctionError>;

const AttributeValue = z.union([z.string().max(MAX_SPAN_TEXT), z.number(), z.boolean()]);

const SpanId = z.string().regex(/^(?!0{16})[0-9a-f]{16}$/);
const SpanTime = z.number().min(0).max(MAX_TIME);
const SpanAttributes = z.record(z.string().max(MAX_SPAN_TEXT), AttributeValue);
/** Upper bound on the events of one span, and on its links. */
export const MAX_SPAN_PARTS = 32;

/** An event within a span. An exception has the name `exception`. */
export const SpanEvent = z.object({
  name: z.string().max(MAX_SPAN_TEXT),
  /** Unix time in milliseconds. */
  time: SpanTime,
  attributes: SpanAttributes.optional(),
});
export type SpanEvent = z.infer<typeof SpanEvent>;

/** A related span of this or another trace, such as that of the message that the function handles. */
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
 * A span of the function's own. It comes from a sandbox, so none of it is trusted: it gets the trace of its invocation in any
 * case, and parts of another form are left out.
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
  /** The span was still open when its run was answered or killed. Its duration is that until then. */
  unfinished: z.literal(true).optional(),
  /** Set if the function reported a failure. */
  error: z.string().max(MAX_SPAN_TEXT).optional(),
  /** Set if the function reported success. */
  ok: z.literal(true).optional(),
  attributes: SpanAttributes.optional(),
  events: z.array(SpanEvent).max(MAX_SPAN_PARTS).optional(),
  links: z.array(SpanLink).max(MAX_SPAN_PARTS).optional(),
  /** Number of each beyond the kept ones. */
  dropped: Dropped.optional(),
});
export type FunctionSpan = z.infer<typeof FunctionSpan>;

/** The worker's report on a finished call. It travels in the header of the last reply frame. */
export const RunReport = z.object({
  outcome: Outcome,
  /** Set for `cancelled`. */
  cancelledBy: Canceller.optional(),
  error: FunctionError.optional(),
  /** `exit code 3` or `signal SIGSEGV`, if the sandbox ended. */
  exitCause: z.string().optional(),
  worker: z.string(),
  /** Handlers of the module, after a load. */
  handlers: z.array(z.enum(HANDLER_NAMES)).readonly().optional(),
  sandbox: z.string().optional(),
  acquired: AcquireKind.optional(),
  coldReason: ColdReason.optional(),
  timings: Timings,
  /** Start of the run: Unix time in milliseconds by the clock of its host, which is also that of the spans below. */
  ranAt: z.number().optional(),
  usage: Usage.optional(),
  /** Number of processes and threads that the kernel refused the sandbox since its last run, because of `pids`. */
  pidsRefused: z.number().optional(),
  /** Network destinations that were refused to the sandbox since its last invocation. */
  denied: z.array(DeniedEgress).optional(),
  /** System calls that the filter refused during the run, such as `socket(AF_VSOCK)`, each once; 16 at most. */
  refusedCalls: z.array(z.string()).optional(),
  logBytes: z.number(),
  logBytesDropped: z.number(),
  /** Number of lines that were dropped whole; their bytes are in `logBytesDropped`. */
  logLinesDropped: z.number().optional(),
  /** Spans of the function itself that had begun before its answer, and number of those beyond them. */
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

/** The queued lane's terms for an invocation, fixed when it was queued. */
export const QueuedTerms = z.object({
  /** Upper bound on the tries since it was queued, or queued again. */
  maxAttempts: z.number(),
  /** Upper bound in milliseconds on the wait before the second try, doubled for each further one up to `maxDelay`. */
  minDelay: z.number(),
  maxDelay: z.number(),
  /** Unix time in milliseconds after which it does not start any more. */
  expiresAt: z.number(),
  /** Length of that period in milliseconds. Set if `expiresAt` minus the time of creation does not give it. */
  lasts: z.number().optional(),
  /** Tries before its last redrive, which do not count any more. */
  triedBefore: z.number().optional(),
  /** 1 is first; an invocation without a priority comes before all that have one. */
  priority: z.number().optional(),
});
export type QueuedTerms = z.infer<typeof QueuedTerms>;

/** The items and the batch of an invocation that runs a group; part of its record. */
export const GroupOfBatch = z.object({
  id: z.string(),
  /** Number of the group, from 0. */
  group: z.number(),
  /** Index of its first item. */
  first: z.number(),
  items: z.number(),
});
export type GroupOfBatch = z.infer<typeof GroupOfBatch>;
/** Receiver of the news that an invocation of the queued lane has ended, and the state of its delivery. */
export const Callback = z.object({
  url: z.string(),
  state: z.enum(['pending', 'delivered', 'failed']),
  /** Number of deliveries that were begun, including one whose gateway died during it. */
  attempts: z.number(),
  /** HTTP status that the receiver answered last. */
  lastStatus: z.number().optional(),
  /** Error of the last delivery, for people. */
  lastError: z.string().optional(),
  /** Unix time in milliseconds of the next one. */
  nextAt: z.number().optional(),
});
export type Callback = z.infer<typeof Callback>;

/** Facts about an invocation that are known from its creation on. */
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
  /** The caller's sampling flag. It is passed on; the export is decided at the end. */
  sampled: z.boolean(),
  /** Unix time in milliseconds at which the gateway received the request. */
  startedAt: z.number(),
  requestBytes: z.number(),
  /** In the queued lane: key of the request's body in the artifact store, if it is too large for Redis. */
  inputBlob: z.string().optional(),
  /** In the queued lane: the tries, oldest first. */
  attempts: z.array(Attempt).optional(),
  terms: QueuedTerms.optional(),
  /** Invocation of which this one is a replay, with the same input. */
  replayOf: z.string().optional(),
  /** Unix time in milliseconds for which a schedule planned it. */
  scheduledFor: z.number().optional(),
  /** Number of its redrives from the dead letters. */
  redriven: z.number().optional(),
  /** Its record is kept for the whole time, because an Idempotency-Key stands for it. */
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
  /** Unix time in milliseconds before which it does not start: after a delay, or after the wait before a retry. */
  dueAt: z.number().optional(),
});
export type OpenInvocation = z.infer<typeof OpenInvocation>;

/** An invocation that has ended. */
export const InvocationRecord = Identity.extend({
  state: z.literal('done'),
  outcome: Outcome,
  /** Set for `cancelled`. */
  cancelledBy: Canceller.optional(),
  status: z.number(),
  /** Milliseconds from the request's arrival to the end of the response, at the gateway. */
  duration: z.number(),
  /** Milliseconds in the gateway before the call was handed to Redis. */
  gateway: z.number(),
  /** Milliseconds in Redis and on the way: the round trip without the worker's share. */
  queue: z.number(),
  responseBytes: z.number(),
  /** In the queued lane: key of the response's body in the artifact store, if it is too large for Redis. */
  resultBlob: z.string().optional(),
  report: RunReport.optional(),
  /** Cause that no worker reported: for expired or worker_lost, or a detail of a cancel. */
  message: z.string().optional(),
  /** Set if it is among the dead letters of its namespace. */
  dead: DeadReason.optional(),
});
export type InvocationRecord = z.infer<typeof InvocationRecord>;

export const AnyInvocation = z.discriminatedUnion('state', [InvocationRecord, OpenInvocation]);
export type AnyInvocation = z.infer<typeof AnyInvocation>;

export const LogLevel = z.enum(['debug', 'info', 'log', 'warn', 'error', 'stdout', 'stderr', 'platform']);
export type LogLevel = z.infer<typeof LogLevel>;

/**
 * Why a line is not part of the output of an invocation while it ran. `late`: the invocation had ended by then. `unclaimed`:
 * its invocation is not known; the code that printed it may be older than the invocations that ran.
 */
export const LogOrigin = z.enum(['late', 'unclaimed']);
export type LogOrigin = z.infer<typeof LogOrigin>;

export const LogLine = z.object({
  /** Unix time in milliseconds. */
  time: z.number(),
  /** `stdout` and `stderr` are bytes written past `console`; `platform` is a message of Offshoot, such as that output was cut. */
  level: LogLevel,
  text: z.string(),
  /** Span of the function's own within which it was written. */
  span: z
    .string()
    .regex(/^[0-9a-f]{16}$/)
    .optional(),
  /** In the queued lane: number of the try that printed it, from 1. */
  attempt: z.number().optional(),
  /** In a batch whose items run one by one: index of the item. */
  item: z.number().optional(),
  /** Absent for output that the invocation printed while it ran. */
  origin: LogOrigin.optional(),
  /** For an `unclaimed` line: the sandbox in which it was printed. */
  sandbox: z.string().optional(),
});
export type LogLine = z.infer<typeof LogLine>;
