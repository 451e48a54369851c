/**
 * The catalogue of the API's errors. An outcome (outcome.ts) says how an invocation ended. An error here says why a request did
 * not become an invocation, or why a management call was refused.
 */
import { z } from 'zod';
import { nextWith } from '../invocations/next.ts';

interface ErrorFacts {
  readonly status: number;
  /** `user` is the client or the function, `system` is the platform or its operator. */
  readonly fault: 'user' | 'system';
  /** One clause, true of each case; the message of an error has the facts of its case. */
  readonly meaning: string;
  /** Next step, which may name a command. `ID` stands for the id of the invocation or batch; see nextWith(). */
  readonly next: string;
}

/** Next steps that several errors share. */
const LIST = 'see what there is: offshoot list';
const TRACE = 'see how it ended: offshoot trace ID';
const AGAIN = 'call again after the number of seconds in Retry-After';
const LIMITED = `${AGAIN}, queue the call ("Prefer: respond-async"), or have the limit in the message raised`;

const user = <S extends number>(status: S, meaning: string, next: string) =>
  ({ status, fault: 'user', meaning, next }) as const;
const system = <S extends number>(status: S, meaning: string, next: string) =>
  ({ status, fault: 'system', meaning, next }) as const;

export const ERRORS = {
  bad_request: user(
    400,
    'the request is not one that the route takes',
    'correct the request as the message says',
  ),
  bad_name: user(
    400,
    'the name of a namespace, function or key breaks the rules for names',
    'choose another name',
  ),
  bad_manifest: user(
    400,
    'offshoot.json has a wrong field, or one that does not fit another',
    'correct offshoot.json, then: offshoot deploy',
  ),
  bad_archive: user(
    400,
    'the archive is not sound, or lacks its entry file',
    'deploy with the command line, which makes a sound archive: offshoot deploy',
  ),
  digest_mismatch: user(
    400,
    'the bytes of the archive do not have the digest that was announced',
    'upload again: offshoot deploy',
  ),
  unauthorized: user(
    401,
    'the request carries no key, or one that does not exist',
    'sign in: offshoot login',
  ),
  forbidden: user(
    403,
    'the key lacks the scope, or holds for another namespace',
    'use a key of that namespace that carries the scope',
  ),
  namespace_not_found: user(404, 'there is no such namespace', LIST),
  function_not_found: user(404, 'there is no such function, or no such version of it', LIST),
  invocation_not_found: user(
    404,
    'there is no record of that invocation in the namespaces of the key',
    'records are kept for a limited time; call the function again',
  ),
  trace_not_found: user(
    404,
    'there is no invocation of that trace in the namespaces of the key',
    'records are kept for a limited time; see what there is: offshoot invocations',
  ),
  result_not_found: user(404, 'the invocation has no result that was kept', TRACE),
  input_not_found: user(
    409,
    'the input of the invocation was not kept',
    'send the input along: offshoot replay ID --data JSON',
  ),
  already_ended: user(409, 'the invocation or batch had ended before it could be cancelled', TRACE),
  not_ended: user(409, 'the invocation has no result yet', 'wait for its end: offshoot trace ID'),
  idempotency_mismatch: user(
    422,
    'the Idempotency-Key stands for an invocation with another input',
    'choose another Idempotency-Key for another input',
  ),
  bad_item: user(
    400,
    'an item of a batch is not JSON, too large or nested too deep',
    'correct that item, then send it and the items after it to POST /api/v1/batches/ID/items',
  ),
  batch_not_found: user(
    404,
    'there is no such batch in the namespaces of the key',
    'batches are kept for a limited time; see what there is: offshoot batch list',
  ),
  concurrency_limited: user(429, 'as many invocations of the function or namespace run as may', LIMITED),
  rate_limited: user(
    429,
    'as many invocations of the function or namespace have begun lately as may',
    LIMITED,
  ),
  queue_full: system(503, 'as many invocations of the namespace wait as may', AGAIN),
  spool_full: system(
    503,
    'the large bodies of running calls take as much room as they may',
    `${AGAIN}, or raise OFFSHOOT_MAX_SPOOL_BYTES on the gateway`,
  ),
  artifact_not_found: user(404, 'the artifact store has no such archive', 'upload it first: offshoot deploy'),
  not_found: user(404, 'there is no such route', 'see /api/v1/docs for the routes'),
  conflict: user(
    409,
    'the state of the function, key or invocation does not allow the request now',
    'look at the current state, then try again: offshoot describe NAME',
  ),
  body_too_large: user(
    413,
    'the body is over the limit',
    'send less, or raise the setting that the message names',
  ),
  archive_too_large: user(
    413,
    'the archive is over the limit',
    'remove files that the function does not need, then: offshoot deploy',
  ),
  function_outdated: user(
    409,
    'Redis holds the function in a form that this version of Offshoot does not read',
    'remove the function: offshoot rm NAME, then: offshoot deploy',
  ),
  load_failed: user(
    422,
    'no worker could load the new version, so it was not activated',
    'correct the error at the line shown, then: offshoot deploy',
  ),
  too_many_streams: user(
    429,
    'the session has as many open streams as it may',
    'close other pages of the dashboard, then reload this one',
  ),
  internal: system(500, 'the gateway failed', 'read the log of the gateway'),
  storage_full: system(
    507,
    'the artifact store has no more room',
    'make room in the artifact store (on its disk, or in its bucket), then try again',
  ),
  storage_unavailable: system(
    503,
    'the artifact store does not answer, or is too slow',
    'see that the S3 server runs and that OFFSHOOT_ARTIFACTS and the AWS_ variables name it; then try again',
  ),
  redis_unavailable: system(
    503,
    'Redis does not answer, or refuses commands',
    'see that Redis runs: offshoot doctor',
  ),
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
  readonly #id: string | undefined;

  /** @param options.id Id of the invocation or batch that the error is about, for the commands in `next`. */
  constructor(
    code: ErrorCode,
    message: string,
    options: { details?: Record<string, unknown>; cause?: unknown; retryAfterS?: number; id?: string } = {},
  ) {
    super(message, { cause: options.cause });
    this.code = code;
    this.details = options.details;
    this.#retryAfterS = options.retryAfterS;
    this.#id = options.id;
  }

  /** Seconds for Retry-After, if a retry can help. */
  get retryAfterS(): number | undefined {
    return this.#retryAfterS ?? (this.status === 503 ? 1 : undefined);
  }

  get status(): number {
    return ERRORS[this.code].status;
  }

  /** @param id Id of the invocation that the error ended, where the error itself has none. */
  toBody(id?: string): ErrorBody {
    const { code, message, details } = this;
    const next = nextWith(ERRORS[code].next, this.#id ?? id);
    return { error: { code, message, next, ...(details && { details }) } };
  }
}
