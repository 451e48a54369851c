/** Decides whether a delivery has ended or is retried, and after which wait. Pure, like contract/invocations/retry.ts. */
import type { Callback } from '#contract/invocations/invocation.ts';
import { readRetryAfter } from '#contract/invocations/retry.ts';

export interface DeliveryTerms {
  readonly attempts: number;
  /** Upper bounds in milliseconds on the waits before the second and the last attempt. Those between grow evenly in ratio. */
  readonly firstDelayMs: number;
  readonly lastDelayMs: number;
}

/** Result of one attempt. */
export type Tried =
  | { readonly status: number; readonly retryAfter?: string | undefined }
  | { readonly error: string; readonly final: boolean };

/** Upper bound on the wait that a receiver may ask for. */
const MAX_RETRY_AFTER_MS = 24 * 3_600_000;
const GONE = 410;

/** Decides after attempt number `callback.attempts`. `now` is Unix time in milliseconds, `random` from 0 up to 1. */
export function afterDelivery(
  { url, attempts }: Callback,
  tried: Tried,
  terms: DeliveryTerms,
  now: number,
  random = Math.random(),
): Callback {
  if ('status' in tried && tried.status >= 200 && tried.status < 300)
    return { url, state: 'delivered', attempts, lastStatus: tried.status };
  const failed: Callback =
    'status' in tried
      ? { url, state: 'failed', attempts, lastStatus: tried.status, lastError: meaningOf(tried.status) }
      : { url, state: 'failed', attempts, lastError: tried.error };
  const final = 'status' in tried ? tried.status === GONE : tried.final;
  if (final || attempts >= terms.attempts) return failed;
  const asked = ('status' in tried && readRetryAfter(tried.retryAfter, now)) || 0;
  const wait = Math.max(random * bound(attempts, terms), Math.min(asked, MAX_RETRY_AFTER_MS));
  return { ...failed, state: 'pending', nextAt: Math.round(now + wait) };
}

/** Upper bound on the wait after attempt `attempt`: "full jitter" draws any value below it, see contract/invocations/retry.ts. */
export function bound(attempt: number, { attempts, firstDelayMs, lastDelayMs }: DeliveryTerms): number {
  const steps = Math.max(1, attempts - 2);
  return firstDelayMs * (Math.max(firstDelayMs, lastDelayMs) / firstDelayMs) ** ((attempt - 1) / steps);
}

function meaningOf(status: number): string {
  if (status === GONE) return 'the receiver answered 410: it wants no further attempts';
  if (status >= 300 && status < 400)
    return `the receiver answered ${status}; redirects are not followed, name the final address`;
  return `the receiver answered ${status}`;
}
