/** Reads the headers that set options of a queued invocation, for both ways to queue one. */
import type { IncomingHttpHeaders } from 'node:http';
import { z } from 'zod';
import { CALLBACK_HEADER, DELAY_HEADER, PRIORITY_HEADER, TTL_HEADER } from '#contract/api/headers.ts';
import { MAX_CALLBACK_URL } from '#contract/invocations/callback.ts';
import { OffshootError } from '#contract/api/errors.ts';

const DAY_S = 86_400;

const Options = z.object({
  'idempotency-key': z.string().min(1).max(255).optional(),
  /** Seconds before it may start. */
  [DELAY_HEADER]: z.coerce
    .number()
    .min(0)
    .max(30 * DAY_S)
    .default(0),
  /** 1 is first. Invocations without a priority come before all that have one. */
  [PRIORITY_HEADER]: z.coerce.number().int().min(1).max(1_000_000).optional(),
  /** Seconds after which it may not start any more, instead of the function's own "queueTime". */
  [TTL_HEADER]: z.coerce
    .number()
    .min(1)
    .max(30 * DAY_S)
    .optional(),
  /** URL for the callback at the end. Its address is checked at the delivery, because its name may lead elsewhere by then. */
  [CALLBACK_HEADER]: z.string().max(MAX_CALLBACK_URL).transform(callbackUrl).optional(),
});

function callbackUrl(text: string, context: z.RefinementCtx): string {
  const refuse = (message: string): never => {
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  };
  const url = URL.parse(text);
  if (url?.protocol !== 'http:' && url?.protocol !== 'https:')
    return refuse('must be an http or https URL, such as https://example.com/ended');
  // All readers of the namespace see the URL.
  if (url.username !== '' || url.password !== '')
    return refuse(
      'must not hold a user or password; receivers check the signature instead: offshoot callbacks secret',
    );
  url.hash = '';
  return url.href;
}

export interface QueuedOptions {
  readonly idempotencyKey: string | undefined;
  readonly delayMs: number;
  readonly priority: number | undefined;
  readonly ttlMs: number | undefined;
  readonly callbackUrl?: string | undefined;
}

/** Throws a `bad_request` that names the invalid header. */
export function queuedOptions(headers: IncomingHttpHeaders): QueuedOptions {
  const read = Options.safeParse(headers);
  if (!read.success) {
    const [issue] = read.error.issues;
    throw new OffshootError('bad_request', `the header ${issue?.path.join('.')}: ${issue?.message}`);
  }
  const ttl = read.data[TTL_HEADER];
  return {
    idempotencyKey: read.data['idempotency-key'],
    delayMs: read.data[DELAY_HEADER] * 1000,
    priority: read.data[PRIORITY_HEADER],
    ttlMs: ttl === undefined ? undefined : ttl * 1000,
    callbackUrl: read.data[CALLBACK_HEADER],
  };
}
