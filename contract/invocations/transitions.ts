/**
 * Every change of an invocation's state, each under its name. Pure: the caller reads the clock, and QueuedStore.swap() writes the
 * result, refusing a pair that is not in MOVES.
 *
 *   queued -> running          taken
 *   running -> running         taken, where the worker before was lost
 *   running -> queued          retried, handedBack
 *   queued or running -> done  ended, cancelled, lost
 *   done -> queued             redriven, a dead letter only
 *   done -> done               purged, delivered
 */
import type {
  AnyInvocation,
  Attempt,
  Callback,
  Canceller,
  DeadReason,
  InvocationRecord,
  OpenInvocation,
  QueuedTerms,
  RunReport,
} from './invocation.ts';
import { OUTCOMES, type Outcome } from './outcome.ts';

type State = AnyInvocation['state'];

/** States that may follow each. Every pair has a function below. */
export const MOVES: Readonly<Record<State, readonly State[]>> = {
  queued: ['running', 'done'],
  running: ['running', 'queued', 'done'],
  done: ['queued', 'done'],
};

/** The fields of an invocation that do not depend on its state. */
export type Identity = Omit<OpenInvocation, 'state' | 'worker' | 'gatewayId' | 'dueAt'>;

/** How an invocation ended. Times are milliseconds. */
export interface End {
  readonly outcome: Outcome;
  /** HTTP status; that of the outcome's table where the function answered none. */
  readonly status?: number | undefined;
  readonly duration: number;
  readonly gateway?: number;
  readonly queue: number;
  readonly responseBytes?: number | undefined;
  readonly resultBlob?: string | undefined;
  readonly report?: RunReport | undefined;
  readonly message?: string | undefined;
  /** For `cancelled`, if the report does not say it. */
  readonly cancelledBy?: Canceller | undefined;
  readonly dead?: DeadReason | undefined;
}

/** A change of state that is not in MOVES: an error of the platform's own code, which no retry mends. */
export class IllegalMove extends Error {
  override readonly name = 'IllegalMove';
}

/**
 * Throws IllegalMove for a change that no function below makes. An invocation ends with one outcome, a cancelled one says who did it,
 * and only a dead letter is queued again.
 */
export function checkMove(before: AnyInvocation, after: AnyInvocation): void {
  const refuse = (why: string): never => {
    throw new IllegalMove(`invocation ${before.id} cannot go from ${before.state} to ${after.state}: ${why}`);
  };
  if (before.id !== after.id) refuse(`it would become ${after.id}`);
  if (!MOVES[before.state].includes(after.state)) refuse('there is no such move');
  if (after.state === 'done') {
    const { outcome, cancelledBy } = after;
    if ((outcome === 'cancelled') !== (cancelledBy !== undefined))
      refuse(`"${outcome}" and who cancelled it do not fit`);
  }
  if (before.state !== 'done') return;
  if (after.state === 'queued' && before.dead === undefined) refuse('it is no dead letter');
  if (after.state === 'done' && after.outcome !== before.outcome) refuse('its outcome would change');
}

/** A new invocation of the queued lane. `dueAt`: Unix time in milliseconds before which it does not start. */
export function queued(identity: Identity, dueAt?: number): OpenInvocation {
  return { ...identity, state: 'queued', ...(dueAt !== undefined && { dueAt }) };
}

/** A synchronous call as it is shown while it lasts; it has no worker until one has taken it. */
export function called(identity: Identity, worker: string | undefined): OpenInvocation {
  return {
    ...identity,
    state: worker === undefined ? 'queued' : 'running',
    ...(worker !== undefined && { worker }),
  };
}

/** queued, or running where the worker before was lost, -> running. `attempts`: the tries before, each with its end. */
export function taken(
  record: OpenInvocation,
  worker: string,
  attempts: readonly Attempt[],
  now: number,
): OpenInvocation {
  const { dueAt: _, ...rest } = record;
  return { ...rest, state: 'running', worker, attempts: [...attempts, { startedAt: now, worker }] };
}

/** running -> queued: the try has failed, and another one starts at `dueAt`. */
export function retried(record: OpenInvocation, attempts: Attempt[], dueAt: number): OpenInvocation {
  const { worker: _, ...rest } = record;
  return { ...rest, state: 'queued', dueAt, attempts };
}

/** running -> queued: the worker stops, so the try does not count. */
export function handedBack(record: OpenInvocation): OpenInvocation {
  const { worker: _, ...rest } = record;
  return { ...rest, state: 'queued', attempts: rest.attempts?.slice(0, -1) ?? [] };
}

/** queued or running -> done. `attempts` replace those of the record. */
export function ended(
  record: Identity & Partial<OpenInvocation>,
  end: End,
  attempts = record.attempts,
): InvocationRecord {
  const { worker: _worker, dueAt: _dueAt, gatewayId: _gateway, ...identity } = record;
  const { outcome, status, duration, gateway = 0, queue, responseBytes = 0 } = end;
  const { resultBlob, report, message, dead } = end;
  const cancelledBy = outcome === 'cancelled' ? (end.cancelledBy ?? report?.cancelledBy) : undefined;
  return {
    ...identity,
    ...(attempts && { attempts }),
    state: 'done',
    outcome,
    ...(cancelledBy && { cancelledBy }),
    status: status ?? OUTCOMES[outcome].status,
    duration,
    gateway,
    queue,
    responseBytes,
    ...(resultBlob !== undefined && { resultBlob }),
    ...(report && { report }),
    ...(message !== undefined && { message }),
    ...(dead && { dead }),
  };
}

/** queued -> done: it never ran. */
export function cancelled(record: OpenInvocation, now: number, cancelledBy: Canceller): InvocationRecord {
  const waited = now - record.startedAt;
  const message = 'it was cancelled before it ran';
  return ended(record, { outcome: 'cancelled', cancelledBy, duration: waited, queue: waited, message });
}

/** A synchronous call -> done, when the gateway that waited for it is gone. */
export function lost(record: OpenInvocation, now: number): InvocationRecord {
  const message = 'the gateway that waited for it was lost; whether the function finished is not known';
  return ended(record, { outcome: 'platform_error', duration: now - record.startedAt, queue: 0, message });
}

/** done -> queued: a dead letter has as many tries, and as much time, as it had at first. */
export function redriven(record: InvocationRecord, now: number): OpenInvocation {
  const {
    outcome: _o,
    status: _s,
    duration: _d,
    gateway: _g,
    queue: _q,
    responseBytes: _b,
    ...rest
  } = record;
  const { report: _r, message: _m, dead: _dead, resultBlob: _blob, cancelledBy: _by, ...identity } = rest;
  const terms = record.terms && termsAgain(record.terms, record, now);
  return {
    ...identity,
    state: 'queued',
    ...(terms && { terms }),
    redriven: (record.redriven ?? 0) + 1,
    // It ends once more, which the receiver of its callback learns once more.
    ...(record.callback && { callback: { url: record.callback.url, state: 'pending', attempts: 0 } }),
  };
}

function termsAgain(
  terms: QueuedTerms,
  { startedAt, attempts = [] }: InvocationRecord,
  now: number,
): QueuedTerms {
  const lasts = terms.lasts ?? Math.max(0, terms.expiresAt - startedAt);
  return { ...terms, triedBefore: attempts.length, lasts, expiresAt: now + lasts };
}

/** done -> done: it is no dead letter any more. */
export function purged(record: InvocationRecord): InvocationRecord {
  const { dead: _, ...rest } = record;
  return rest;
}

/** done -> done: how far the delivery of its end has come. */
export function delivered(record: InvocationRecord, callback: Callback): InvocationRecord {
  return { ...record, callback };
}
