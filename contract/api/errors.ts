/**
 * The catalogue of the API's errors. An outcome (outcome.ts) says how an invocation ended. An error here says why a request did
 * not become an invocation, or why a management call was refused.
 */
import { z } from 'zod';

interface ErrorFacts {
  readonly status: number;
  readonly fault: 'user' | 'system';
  /** Next step for the user; may name a command. */
  readonly next: string;
}

/** Next steps that several errors share. */
const LIST = 'list the functions: offshoot list';
const TRACE = 'see how it ended: offshoot trace ID';
const AGAIN = 'call again after the number of seconds in Retry-After';
const LIMITED = `${AGAIN}, queue the call ("Prefer: respond-async"), or have the limit in the message raised`;

const user = <S extends number>(status: S, next: string) => ({ status, fault: 'user', next }) as const;
const system = <S extends number>(status: S, next: string) => ({ status, fault: 'system', next }) as const;

export const ERRORS = {
  bad_request: user(400, 'correct the request as the message says'),
  bad_name: user(400, 'choose another name'),
  bad_manifest: user(400, 'correct offshoot.json, then: offshoot deploy'),
  bad_archive: user(400, 'deploy with the offshoot command, which makes a valid archive'),
  digest_mismatch: user(400, 'upload again: offshoot deploy'),
  unauthorized: user(401, 'sign in: offshoot login'),
  forbidden: user(403, 'use a key of that namespace with the scope'),
  namespace_not_found: user(404, LIST),
  function_not_found: user(404, LIST),
  invocation_not_found: user(404, 'records are kept for a limited time; call the function again'),
  trace_not_found: user(404, 'records are kept for a limited time; list the kept ones: offshoot invocations'),
  result_not_found: user(404, TRACE),
  input_not_found: user(409, 'send the input along: offshoot replay ID --data JSON'),
  already_ended: user(409, TRACE),
  not_ended: user(409, 'wait for its end: offshoot trace ID'),
  idempotency_mismatch: user(422, 'use a different Idempotency-Key for a different input'),
  bad_item: user(400, 'correct that item, then send it and all later items to POST /api/v1/batches/ID/items'),
  batch_not_found: user(404, 'batches are kept for a limited time; list the kept ones: offshoot batches'),
  concurrency_limited: user(429, LIMITED),
  rate_limited: user(429, LIMITED),
  queue_full: system(503, AGAIN),
  spool_full: system(503, `${AGAIN}, or raise OFFSHOOT_MAX_SPOOL_BYTES on the gateway`),
  artifact_not_found: user(404, 'upload it first: offshoot deploy'),
  not_found: user(404, 'see /api/v1/docs for the routes'),
  conflict: user(409, 'look at the current state, then try again: offshoot describe'),
  body_too_large: user(413, 'send less, or raise the setting in the message'),
  archive_too_large: user(413, 'remove files that the function does not need, then: offshoot deploy'),
  load_failed: user(422, 'correct the error at the line shown, then: offshoot deploy'),
  too_many_streams: user(429, 'close other pages of the dashboard, then reload this one'),
  internal: system(500, 'read the log of the gateway'),
  storage_full: system(
    507,
    'make room in the artifact store (on its disk, or in its bucket), then try again',
  ),
  storage_unavailable: system(
    503,
    'check that the S3 server runs and that OFFSHOOT_ARTIFACTS and the AWS_ variables name it; then try again',
  ),
  redis_unavailable: system(503, 'check that Redis runs: offshoot doctor'),
} as const satisfies Record<string, ErrorFacts>;

export type ErrorCode = keyof typeof ERRORS;

/** Body of an error, for every route of the API. */
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

  /** Seconds for Retry-After, if a retry can help. */
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
