/** Builds the HTTP answer to a call that has no response: the same body on every route. */
import type { ErrorBody } from '#contract/api/errors.ts';
import { OUTCOME_HEADER } from '#contract/api/headers.ts';
import { nextWith } from '#contract/invocations/next.ts';
import { egressAdvice } from '#contract/functions/network.ts';
import { OUTCOMES } from '#contract/invocations/outcome.ts';
import { drainSeconds } from '#contract/platform/pace.ts';
import type { Failure } from '../dispatch/pending.ts';

export interface FailureAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: ErrorBody;
}

/**
 * `trusted`: the caller holds a key of the namespace and may see where in the code the call failed. Any other caller of a public
 * function gets the error's name and message, as the function's author wrote them, but no stack.
 */
export function failureAnswer(id: string, failure: Failure, trusted: boolean): FailureAnswer {
  if (failure.error) {
    const { status, retryAfterS } = failure.error;
    const retry = retryAfterS === undefined ? {} : { 'retry-after': String(retryAfterS) };
    return { status, headers: retry, body: failure.error.toBody(id) };
  }
  const { outcome, report, backlog } = failure;
  const facts = OUTCOMES[outcome];
  const error =
    report?.error && (trusted ? report.error : { name: report.error.name, message: report.error.message });
  // A failure that the runtime reports, and that would only repeat itself, comes with a sentence of the platform.
  const isSaid = 'told' in facts && facts.queued === 'not_retried';
  const said = isSaid ? report?.error?.message : undefined;
  // A destination may be a secret of the author's, so an anonymous caller does not see it.
  const advice = trusted ? egressAdvice(report?.denied ?? []) : undefined;
  const cause = failure.message ?? said ?? report?.exitCause;
  return {
    status: facts.status,
    headers: {
      [OUTCOME_HEADER]: outcome,
      ...(facts.status === 503 && { 'retry-after': String(backlog ? drainSeconds(backlog) : 1) }),
    },
    body: {
      error: {
        code: outcome,
        message: cause ? `${facts.meaning} (${cause})` : facts.meaning,
        next: nextWith(advice ?? facts.next, id),
        details: {
          invocation: id,
          ...(failure.cancelledBy && { cancelledBy: failure.cancelledBy.by }),
          ...(error && { error }),
          ...backlog,
        },
      },
    },
  };
}
