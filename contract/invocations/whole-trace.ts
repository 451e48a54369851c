/**
 * A whole trace: the invocations with its id, and their spans as one tree. Made by the gateway
 * (gateway/records/whole-trace.ts), drawn by the dashboard and by `offshoot trace`.
 */
import { z } from 'zod';
import { Outcome } from './invocation.ts';

/** Upper bounds on the invocations and spans in one answer; for a larger trace it has the number of those left out. */
export const MAX_TRACE_INVOCATIONS = 200;
export const MAX_TRACE_SPANS = 2_000;

export const TRACE_ID = /^(?!0{32})[0-9a-f]{32}$/;

/** Process of a span: `caller` is the client of the platform, whose own spans are elsewhere. */
export const TraceProcess = z.enum(['caller', 'gateway', 'queue', 'worker', 'function']);
export type TraceProcess = z.infer<typeof TraceProcess>;

export const TraceSpan = z.object({
  /** `namespace/name` of an invocation's root; `caller`; a phase; or the name of a function's own span, which may be any text. */
  name: z.string(),
  spanId: z.string(),
  parentSpanId: z.string().optional(),
  /** Number of spans above it in the tree. Each span is directly followed by its descendants. */
  depth: z.number(),
  process: TraceProcess,
  /** Id of its invocation; a caller has none. */
  invocation: z.string().optional(),
  kind: z.enum(['internal', 'server', 'client', 'producer', 'consumer']),
  /** Milliseconds from the beginning of the trace. Absent for a caller, whose times are not known here. */
  start: z.number().optional(),
  /** Absent until it has ended, and for a caller. */
  duration: z.number().optional(),
  /** Set if it has failed. */
  error: z.string().optional(),
  /** Id of the span of the try before this one. */
  link: z.string().optional(),
  attributes: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
});
export type TraceSpan = z.infer<typeof TraceSpan>;

export const TraceInvocation = z.object({
  id: z.string(),
  namespace: z.string(),
  name: z.string(),
  version: z.number(),
  lane: z.enum(['sync', 'queued']),
  state: z.enum(['queued', 'running', 'done']),
  outcome: Outcome.optional(),
  status: z.number().optional(),
  /** Milliseconds from the beginning of the trace. */
  start: z.number(),
  duration: z.number().optional(),
});
export type TraceInvocation = z.infer<typeof TraceInvocation>;

export const WholeTrace = z.object({
  traceId: z.string(),
  /** Unix time in milliseconds at which its first invocation began. */
  startedAt: z.number(),
  /** Milliseconds from there to the end of the last ended span. */
  duration: z.number(),
  /** Oldest first. */
  invocations: z.array(TraceInvocation),
  spans: z.array(TraceSpan),
  /** Number of invocations and spans that are left out. */
  invocationsCut: z.number(),
  spansCut: z.number(),
});
export type WholeTrace = z.infer<typeof WholeTrace>;
