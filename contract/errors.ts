/**
 * The catalogue of errors that the API answers. An outcome (outcome.ts) says how an invocation ended; an error here says
 * why a request never became one, or why a management call was refused.
 */
import { z } from 'zod';

interface ErrorFacts {
  readonly status: number;
  readonly fault: 'user' | 'system';
  /** What to do next; may name a command. */
  readonly next: string;
}

export const ERRORS = {
  bad_request: { status: 400, fault: 'user', next: 'correct the request as the message says' },
  bad_name: { status: 400, fault: 'user', next: 'choose another name' },
  bad_manifest: { status: 400, fault: 'user', next: 'correct offshoot.json, then: offshoot deploy' },
  bad_archive: {
    status: 400,
    fault: 'user',
    next: 'deploy with the offshoot command, which makes a sound archive',
  },
  digest_mismatch: { status: 400, fault: 'user', next: 'upload again: offshoot deploy' },
  unauthorized: { status: 401, fault: 'user', next: 'sign in: offshoot login' },
  forbidden: { status: 403, fault: 'user', next: 'use a key of that namespace that carries the scope' },
  namespace_not_found: { status: 404, fault: 'user', next: 'see what there is: offshoot list' },
  function_not_found: { status: 404, fault: 'user', next: 'see what there is: offshoot list' },
  invocation_not_found: {
    status: 404,
    fault: 'user',
    next: 'records are kept for a limited time; call the function again',
  },
  trace_not_found: {
    status: 404,
    fault: 'user',
    next: 'records are kept for a limited time; see what there is: offshoot invocations',
  },
  result_not_found: {
    status: 404,
    fault: 'user',
    next: 'see how it ended: offshoot trace ID',
  },
  input_not_found: {
    status: 409,
    fault: 'user',
    next: 'send the input along: offshoot replay ID --data JSON',
  },
  already_ended: { status: 409, fault: 'user', next: 'see how it ended: offshoot trace ID' },
  not_ended: { status: 409, fault: 'user', next: 'wait for its end: offshoot trace ID' },
  idempotency_mismatch: {
    status: 422,
    fault: 'user',
    next: 'choose another Idempotency-Key for another input',
  },
  bad_item: {
    status: 400,
    fault: 'user',
    next: 'correct that item and send it and what comes after it to POST /api/v1/batches/ID/items',
  },
  batch_not_found: {
    status: 404,
    fault: 'user',
    next: 'batches are kept for a limited time; see what there is: offshoot batches',
  },
  concurrency_limited: {
    status: 429,
    fault: 'user',
    next: 'call again after the number of seconds in Retry-After, queue the call ("Prefer: respond-async"), or have the limit raised that the message names',
  },
  rate_limited: {
    status: 429,
    fault: 'user',
    next: 'call again after the number of seconds in Retry-After, queue the call ("Prefer: respond-async"), or have the limit raised that the message names',
  },
  queue_full: {
    status: 503,
    fault: 'system',
    next: 'call again after the number of seconds in Retry-After',
  },
  spool_full: {
    status: 503,
    fault: 'system',
    next: 'call again after the number of seconds in Retry-After, or raise OFFSHOOT_MAX_SPOOL_BYTES on the gateway',
  },
  artifact_not_found: { status: 404, fault: 'user', next: 'upload it first: offshoot deploy' },
  not_found: { status: 404, fault: 'user', next: 'see /api/v1/docs for the routes' },
  conflict: {
    status: 409,
    fault: 'user',
    next: 'look at the current state, then try again: offshoot describe',
  },
  body_too_large: {
    status: 413,
    fault: 'user',
    next: 'send less, or raise the setting that the message names',
  },
  archive_too_large: {
    status: 413,
    fault: 'user',
    next: 'remove files that the function does not need, then: offshoot deploy',
  },
  load_failed: {
    status: 422,
    fault: 'user',
    next: 'correct the error at the line shown, then: offshoot deploy',
  },
  too_many_streams: {
    status: 429,
    fault: 'user',
    next: 'close other pages of the dashboard, then reload this one',
  },
  internal: { status: 500, fault: 'system', next: 'read the log of the gateway' },
  storage_full: {
    status: 507,
    fault: 'system',
    next: 'make room in the artifact store (on its disk, or in its bucket), then try again',
  },
  storage_unavailable: {
    status: 503,
    fault: 'system',
    next: 'see that the S3 server runs and that OFFSHOOT_ARTIFACTS and the AWS_ variables name it; then try again',
  },
  redis_unavailable: { status: 503, fault: 'system', next: 'see that Redis runs: offshoot doctor' },
} as const satisfies Record<string, ErrorFacts>;

export type ErrorCode = keyof typeof ERRORS;

/** How an error looks on the wire, for every route of the API. */
export const ErrorBody = z.object({
  error: z.object({
    code: z.string(),
    message: z.string(),
    next: z.string(),
    details: z.record(z.string(), z.unknown()).optional(),
  }),
});
export type ErrorBody = z.infer<typeof ErrorBody>;

/** An error from the catalogue, with the facts of this case in its message. */
export class OffshootError extends Error {
  override readonly name = 'OffshootError';
  readonly code: ErrorCode;
  readonly details: Record<string, unknown> | undefined;
  readonly #retryAfterS: number | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    options: { details?: Record<string, unknown>; cause?: unknown; retryAfterS?: number } = {},
  ) {
    super(message, { cause: options.cause });
    this.code = code;
    this.details = options.details;
    this.#retryAfterS = options.retryAfterS;
  }

  /** Seconds for Retry-After, where coming again helps. */
  get retryAfterS(): number | undefined {
    return this.#retryAfterS ?? (this.status === 503 ? 1 : undefined);
  }

  get status(): number {
    return ERRORS[this.code].status;
  }

  toBody(): ErrorBody {
    const { code, message, details } = this;
    return { error: { code, message, next: ERRORS[code].next, ...(details && { details }) } };
  }
}
