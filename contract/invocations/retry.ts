/**
 * The step after a try of an invocation of the queued lane: it is done, retried after a while, or a dead letter. Pure, so that
 * the worker and the tests apply the same rules.
 */
import type { Attempt, DeadReason, QueuedTerms } from './invocation.ts';
import type { Retries } from '../functions/manifest.ts';
import { isFree, OUTCOMES } from './outcome.ts';

/** Number of tries that ended their sandbox or worker, after which an invocation gets no further one. */
export const POISON_KILLS = 3;

/** Upper bound on tries of an invocation that others ended and that are not counted: such ends may also go on for ever. */
export const MAX_FREE = 5;

/** Upper bound in milliseconds on the wait that a function may ask for by Retry-After. */
const MAX_RETRY_AFTER_MS = 24 * 3_600_000;

export type Next =
  | { readonly next: 'done' }
  | { readonly next: 'retry'; readonly at: number }
  | { readonly next: 'dead'; readonly reason: DeadReason };

/** The retry settings of a function, in the form of an invocation's record. */
export function retryTerms({
  attempts,
  minDelay,
  maxDelay,
}: Retries): Pick<QueuedTerms, 'maxAttempts' | 'minDelay' | 'maxDelay'> {
  return { maxAttempts: attempts, minDelay: minDelay * 1000, maxDelay: maxDelay * 1000 };
}

/** True if a try failed in the eyes of the queued lane. By a 5xx, 408 or 429 a function reports a failure itself. */
export function hasFailed({ outcome, status }: Pick<Attempt, 'outcome' | 'status'>): boolean {
  if (outcome !== 'ok') return outcome === undefined || OUTCOMES[outcome].queued !== 'done';
  return status !== undefined && (status >= 500 || status === 408 || status === 429);
}

/** Statuses of 4xx by which a function asks for another try. */
const ASKS_AGAIN: ReadonlySet<number> = new Set([408, 429]);

/**
 * True if the function has refused the call by a 4xx. A client reads such an answer, but a schedule and an item of a batch have
 * no client: the work was not done, and another try would be refused alike.
 */
export function isRefused({ outcome, status }: Pick<Attempt, 'outcome' | 'status'>): boolean {
  return outcome === 'ok' && status !== undefined && status >= 400 && status < 500 && !ASKS_AGAIN.has(status);
}

/**
 * Decides after the end of the last of `attempts`. `now` is Unix time in milliseconds, `retryAfterMs` the wait that the
 * function's response asked for, `random` from 0 up to 1.
 *
 * The wait is drawn from all of 0 to the bound of this try ("full jitter"). So invocations that failed together do not return
 * together: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export function afterAttempt(
  attempts: readonly Attempt[],
  terms: QueuedTerms,
  now: number,
  { retryAfterMs = 0, random = Math.random() }: { retryAfterMs?: number | undefined; random?: number } = {},
): Next {
  const last = attempts.at(-1);
  if (!last || !hasFailed(last)) return { next: 'done' };
  const { queued } = OUTCOMES[last.outcome ?? 'ok'];
  // `done` is a function that answered with a status of failure.
  if (queued !== 'retry' && queued !== 'done') return { next: 'dead', reason: queued };
  const counted = attempts.slice(terms.triedBefore ?? 0);
  const kills = counted.filter(({ outcome }) => outcome !== undefined && OUTCOMES[outcome].poison).length;
  if (kills >= POISON_KILLS) return { next: 'dead', reason: 'poison' };
  const free = Math.min(MAX_FREE, counted.filter(({ outcome }) => isFree(outcome)).length);
  const used = counted.length - free;
  if (used >= terms.maxAttempts) return { next: 'dead', reason: 'attempts_used' };
  if (isFree(last.outcome))
    return now > terms.expiresAt ? { next: 'dead', reason: 'expired' } : { next: 'retry', at: now };
  const bound = Math.min(terms.maxDelay, terms.minDelay * 2 ** (used - 1));
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
