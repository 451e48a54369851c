/**
 * A whole trace: the invocations that have its id, and their spans as one tree. Made by the gateway (gateway/records/whole-trace.ts),
 * drawn by the dashboard and by `offshoot trace`.
 */
import { z } from 'zod';
import { Outcome } from './outcome.ts';

/** What one answer holds; of a trace that has more, it says how much is left out. */
export const MAX_TRACE_INVOCATIONS = 200;
export const MAX_TRACE_SPANS = 2_000;

export const TRACE_ID = /^(?!0{32})[0-9a-f]{32}$/;

/** Where a span was: `caller` is whoever called the platform, whose own spans are elsewhere. */
export const TraceProcess = z.enum(['caller', 'gateway', 'queue', 'worker', 'function']);
export type TraceProcess = z.infer<typeof TraceProcess>;

export const TraceSpan = z.object({
  /** `namespace/name` of an invocation's root; `caller`; a phase; or a name of a function's own, which may be anything. */
  name: z.string(),
  spanId: z.string(),
  parentSpanId: z.string().optional(),
  /** How many spans it lies below. Spans come with what is below them right behind them. */
  depth: z.number(),
  process: TraceProcess,
  /** Id of the invocation that it belongs to. A caller has none. */
  invocation: z.string().optional(),
  kind: z.enum(['internal', 'server', 'client', 'producer', 'consumer']),
  /** Milliseconds from the beginning of the trace. Absent of a caller: its own times are not known here. */
  start: z.number().optional(),
  /** Absent while it has not ended, and of a caller. */
  duration: z.number().optional(),
  /** Set when it has failed. */
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
  /** Milliseconds from there to the end of the last span that has ended. */
  duration: z.number(),
  /** Oldest first. */
  invocations: z.array(TraceInvocation),
  spans: z.array(TraceSpan),
  /** How many there are beyond those. */
  invocationsCut: z.number(),
  spansCut: z.number(),
});
export type WholeTrace = z.infer<typeof WholeTrace>;
