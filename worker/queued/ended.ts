/**
 * Pure helpers for one attempt of a queued invocation: the call it starts with, and how its end is classified. The I/O and its
 * order are in run-invocation.ts.
 */
import type { Attempt, Canceller, OpenInvocation, RunReport } from '#contract/invocations/invocation.ts';
import type { BlobRef, CallHeader } from '#contract/platform/lane.ts';
import { wasRequested, type Outcome } from '#contract/invocations/outcome.ts';
import { readRetryAfter } from '#contract/invocations/retry.ts';
import { formatTraceparent, runSpanId } from '#contract/invocations/trace.ts';
import { sharedNow } from '#storage/redis/clock.ts';
import { isRetried, type KeptResult } from '#storage/queued/groups.ts';
import { readAnswer, type Collected } from './collector.ts';

/** Known results of a batch's items, by index. */
export type Items = ReadonlyMap<number, KeptResult>;

/** The result of an attempt. */
export interface Ended {
  readonly outcome: Outcome;
  readonly status?: number | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly message?: string | undefined;
  /** For `cancelled`, if the report does not say it. */
  readonly cancelledBy?: Canceller | undefined;
  readonly report?: RunReport | undefined;
  readonly payload?: Buffer | undefined;
  /** True when another attempt would fail in the same way. */
  readonly hopeless?: boolean;
  /** For a group of a batch: the known results of its items. */
  readonly items?: Items | undefined;
  /** Body of the response, when it is not in the payload. */
  readonly blob?: BlobRef | undefined;
}

/** Outcome of an attempt whose worker has died. */
export const LOST = 'worker_lost' satisfies Outcome;

/** Closes attempts that have no end. */
export function closeLost(attempts: readonly Attempt[], now: number): Attempt[] {
  return attempts.map((attempt) =>
    attempt.outcome === undefined
      ? { ...attempt, outcome: LOST, endedAt: now, message: `worker ${attempt.worker} was lost` }
      : attempt,
  );
}

/** Returns the call for the attempt that the record has begun. */
export function callOf(record: OpenInvocation): CallHeader {
  const { id, namespace, name, version, traceId, spanId, tracestate, sampled, inputBlob, requestBytes } =
    record;
  const attempt = Math.max(0, (record.attempts?.length ?? 1) - 1);
  return {
    id,
    namespace,
    name,
    version,
    operation: 'fetch',
    deadline: Number.MAX_SAFE_INTEGER,
    gateway: '',
    ...(inputBlob !== undefined && { input: { key: inputBlob, bytes: requestBytes } }),
    traceparent: formatTraceparent({ traceId, spanId: runSpanId(spanId, attempt), sampled }),
    ...(tracestate !== undefined && { tracestate }),
    attempt: attempt + 1,
  };
}

/** Returns the end of a group: success when each of its items has succeeded. */
export function groupEnd(items: Items, count: number): Ended {
  const bad = [...items.values()].filter(({ ok }) => !ok);
  if (bad.length === 0) return { outcome: 'ok', status: 200 };
  const message = `${bad.length} of ${count} items ${bad.length === 1 ? 'has' : 'have'} failed`;
  const wanted = bad.find(({ outcome }) => wasRequested(outcome))?.outcome;
  if (wanted) return { outcome: wanted, message };
  // When all items failed alike, such as by a timeout of their run, the group has the same outcome.
  const [{ outcome } = { outcome: 'error' as const }] = bad;
  const same = outcome !== 'ok' && bad.every((one) => one.outcome === outcome);
  return { outcome: same ? outcome : 'error', message, hopeless: !bad.some(isRetried) };
}

/** Returns the end of a run from the sandbox's answer. */
export function readEnd({ report, payload, blob }: Collected): Ended {
  const { outcome, error } = report;
  const message = error && `${error.name}: ${error.message}`;
  if (!payload) return { outcome, report, message };
  const answered = readAnswer(payload);
  if (!answered) {
    return {
      outcome: 'bad_response',
      report: { ...report, outcome: 'bad_response' },
      message: 'the response has no sensible status',
    };
  }
  const { status, retryAfter } = answered;
  return { outcome, report, payload, blob, status, retryAfterMs: readRetryAfter(retryAfter, sharedNow()) };
}
