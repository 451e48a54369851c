/**
 * What follows a try of an invocation of the queued lane: it is done, tried again after a while, or a dead letter. Pure, so
 * that the worker that decides and the tests that hold it to the rules use the same words.
 */
import type { Attempt, DeadReason, QueuedTerms } from './invocation.ts';
import type { Retries } from '../functions/manifest.ts';
import { OUTCOMES, type Outcome } from './outcome.ts';

/** Tries that took their sandbox or worker with them, after which an invocation is not given another. */
export const POISON_KILLS = 3;

/** Outcomes of a try that ended the process that ran it. */
const KILLS: ReadonlySet<Outcome> = new Set(['crashed', 'exited', 'out_of_memory', 'worker_lost']);

/** Longest wait that a function may ask for by Retry-After, in milliseconds. */
const MAX_RETRY_AFTER_MS = 24 * 3_600_000;

export type Next =
  | { readonly next: 'done' }
  | { readonly next: 'retry'; readonly at: number }
  | { readonly next: 'dead'; readonly reason: DeadReason };

/** Ends that somebody wanted: nothing of it is tried again. */
export const WANTED: ReadonlySet<Outcome> = new Set(['cancelled', 'function_removed']);

/** What a function says of its retries, as the record of an invocation carries it. */
export function retryTerms({
  attempts,
  minDelay,
  maxDelay,
}: Retries): Pick<QueuedTerms, 'maxAttempts' | 'minDelay' | 'maxDelay'> {
  return { maxAttempts: attempts, minDelay: minDelay * 1000, maxDelay: maxDelay * 1000 };
}

/** Did a try fail in the eyes of the queued lane? A function that answers 5xx, 408 or 429 says so itself. */
export function hasFailed({ outcome, status }: Pick<Attempt, 'outcome' | 'status'>): boolean {
  if (outcome !== 'ok') return outcome === undefined || !WANTED.has(outcome);
  return status !== undefined && (status >= 500 || status === 408 || status === 429);
}

/**
 * Decides after the last of `attempts` has ended. `now` is Unix time in milliseconds, `retryAfterMs` what the function's
 * response asked for, `random` from 0 up to 1.
 *
 * The wait is drawn from all of 0 to the bound of this try ("full jitter"), since those that failed together should not come
 * back together: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export function afterAttempt(
  attempts: readonly Attempt[],
  terms: QueuedTerms,
  now: number,
  { retryAfterMs = 0, random = Math.random() }: { retryAfterMs?: number | undefined; random?: number } = {},
): Next {
  const last = attempts.at(-1);
  if (!last || !hasFailed(last)) return { next: 'done' };
  if (last.outcome !== undefined && last.outcome !== 'ok' && !OUTCOMES[last.outcome].retried) {
    return { next: 'dead', reason: last.outcome === 'expired' ? 'expired' : 'not_retried' };
  }
  const counted = attempts.slice(terms.triedBefore ?? 0);
  const kills = counted.filter(({ outcome }) => outcome !== undefined && KILLS.has(outcome)).length;
  if (kills >= POISON_KILLS) return { next: 'dead', reason: 'poison' };
  if (counted.length >= terms.maxAttempts) return { next: 'dead', reason: 'attempts_used' };
  const bound = Math.min(terms.maxDelay, terms.minDelay * 2 ** (counted.length - 1));
  const wait = Math.max(random * bound, Math.min(retryAfterMs, MAX_RETRY_AFTER_MS));
  const at = Math.round(now + wait);
  return at > terms.expiresAt ? { next: 'dead', reason: 'expired' } : { next: 'retry', at };
}

/** Milliseconds that a Retry-After header asks for (https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3). */
export function readRetryAfter(value: string | undefined, now: number): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  const time = Date.parse(value);
  return Number.isNaN(time) ? undefined : Math.max(0, time - now);
}
