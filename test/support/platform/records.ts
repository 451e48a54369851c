/** Records of invocations of the queued lane, for tests that put them into Redis by hand. */
import { randomBytes } from 'node:crypto';
import type { InvocationRecord, OpenInvocation, QueuedTerms } from '#contract/invocations/invocation.ts';

/** Fields that a dead letter has besides those of other ends. */
export const DEAD = { outcome: 'error', status: 500, dead: 'attempts_used' } as const;

/** Terms of an invocation that is tried once, and not after `expiresAt`. */
export function oneTryUntil(expiresAt: number): QueuedTerms {
  return { maxAttempts: 1, minDelay: 0, maxDelay: 0, expiresAt };
}

/** An invocation that was just queued for `default/fn` and may start within the hour. */
export function openRecord(more: Partial<OpenInvocation> = {}): OpenInvocation {
  const now = Date.now();
  return {
    id: randomBytes(16).toString('hex'),
    namespace: 'default',
    name: 'fn',
    version: 1,
    lane: 'queued',
    state: 'queued',
    method: 'POST',
    path: '/',
    traceId: randomBytes(16).toString('hex'),
    spanId: randomBytes(8).toString('hex'),
    sampled: true,
    startedAt: now,
    requestBytes: 2,
    terms: oneTryUntil(now + 3_600_000),
    ...more,
  };
}

/** The record of an open invocation once it has ended: by default at once, with success. */
export function endedRecord(open: OpenInvocation, more: Partial<InvocationRecord> = {}): InvocationRecord {
  return {
    ...open,
    state: 'done',
    outcome: 'ok',
    status: 200,
    duration: 1,
    gateway: 0,
    queue: 0,
    responseBytes: 0,
    ...more,
  };
}
