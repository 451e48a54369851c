/** What a caller may say of an invocation that it does not wait for, in headers, for both ways to queue one. */
import type { IncomingHttpHeaders } from 'node:http';
import { z } from 'zod';
import { OffshootError } from '#contract/errors.ts';

const DAY_S = 86_400;

const Options = z.object({
  'idempotency-key': z.string().min(1).max(255).optional(),
  /** Seconds before it may start. */
  'x-offshoot-delay': z.coerce
    .number()
    .min(0)
    .max(30 * DAY_S)
    .default(0),
  /** 1 is first. Those without one come before all that have one. */
  'x-offshoot-priority': z.coerce.number().int().min(1).max(1_000_000).optional(),
  /** Seconds after which it does not start any more, instead of the function's own "queueTime". */
  'x-offshoot-ttl': z.coerce
    .number()
    .min(1)
    .max(30 * DAY_S)
    .optional(),
});

export interface QueuedOptions {
  readonly idempotencyKey: string | undefined;
  readonly delayMs: number;
  readonly priority: number | undefined;
  readonly ttlMs: number | undefined;
}

/** Throws `bad_request` that names the header. */
export function queuedOptions(headers: IncomingHttpHeaders): QueuedOptions {
  const read = Options.safeParse(headers);
  if (!read.success) {
    const [issue] = read.error.issues;
    throw new OffshootError('bad_request', `the header ${issue?.path.join('.')}: ${issue?.message}`);
  }
  const ttl = read.data['x-offshoot-ttl'];
  return {
    idempotencyKey: read.data['idempotency-key'],
    delayMs: read.data['x-offshoot-delay'] * 1000,
    priority: read.data['x-offshoot-priority'],
    ttlMs: ttl === undefined ? undefined : ttl * 1000,
  };
}
