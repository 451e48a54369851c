/** How tries of the queued lane have ended, and with what they begin: no I/O, that and its order are run-invocation.ts. */
import type { Attempt, OpenInvocation, RunReport } from '#contract/invocations/invocation.ts';
import type { BlobRef, CallHeader } from '#contract/platform/lane.ts';
import type { Outcome } from '#contract/invocations/outcome.ts';
import { readRetryAfter, WANTED } from '#contract/invocations/retry.ts';
import { formatTraceparent, runSpanId } from '#contract/invocations/trace.ts';
import { sharedNow } from '#storage/redis/clock.ts';
import { isRetried, type KeptResult } from '#storage/queued/groups.ts';
import { readAnswer, type Collected } from './collector.ts';

/** What is known of items of a batch, by index. */
export type Items = ReadonlyMap<number, KeptResult>;

/** What is known when a try has ended. */
export interface Ended {
  readonly outcome: Outcome;
  readonly status?: number | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly message?: string | undefined;
  readonly report?: RunReport | undefined;
  readonly payload?: Buffer | undefined;
  /** What has failed would fail again. */
  readonly hopeless?: boolean;
  /** Of a group of a batch: what is known of its items. */
  readonly items?: Items | undefined;
  /** Body of the response, when it is not in the payload. */
  readonly blob?: BlobRef | undefined;
}

/** A try without an end is one whose worker has died. */
export function closeLost(attempts: readonly Attempt[], now: number): Attempt[] {
  return attempts.map((attempt) =>
    attempt.outcome === undefined
      ? { ...attempt, outcome: 'worker_lost', endedAt: now, message: `worker ${attempt.worker} was lost` }
      : attempt,
  );
}

/** What execute() is told of the try that the record has begun. */
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

/** How a group has ended: well, when each of its items has. */
export function groupEnd(items: Items, count: number): Ended {
  const bad = [...items.values()].filter(({ ok }) => !ok);
  if (bad.length === 0) return { outcome: 'ok', status: 200 };
  const message = `${bad.length} of ${count} items ${bad.length === 1 ? 'has' : 'have'} failed`;
  const wanted = bad.find(({ outcome }) => outcome !== undefined && WANTED.has(outcome))?.outcome;
  if (wanted) return { outcome: wanted, message };
  // All of one run, such as a time-out, is that of the group too.
  const [{ outcome } = { outcome: 'error' as const }] = bad;
  const same = outcome !== 'ok' && bad.every((one) => one.outcome === outcome);
  return { outcome: same ? outcome : 'error', message, hopeless: !bad.some(isRetried) };
}

/** How a run has ended by what came out of the sandbox. */
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
