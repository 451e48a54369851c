/**
 * What the receiver of a callback gets, by the Standard Webhooks specification
 * (https://www.standardwebhooks.com): a POST of one JSON value, signed with a secret of the namespace.
 */
import { z } from 'zod';
import { DeadReason } from './invocation.ts';
import { Outcome } from './outcome.ts';

export const MAX_CALLBACK_URL = 2_048;

/** Largest answer of a function, in bytes, that is sent along; of a larger one the receiver gets the address. */
export const MAX_INLINE_RESULT_BYTES = 256 * 1024;

/** The body of a delivery. It is written by hand (gateway/callbacks/body.ts), so that a function's JSON passes as it is. */
export const CallbackBody = z.object({
  type: z.literal('invocation.ended'),
  /** When it ended, ISO 8601. */
  timestamp: z.string(),
  id: z.string(),
  namespace: z.string(),
  name: z.string(),
  version: z.number(),
  outcome: Outcome,
  /** That of the function's answer for `ok`, that of the outcome's table otherwise. */
  status: z.number(),
  /** Milliseconds from the request to the end. */
  duration: z.number(),
  /** Tries of the function. */
  attempts: z.number(),
  /** Set when it is a dead letter. */
  dead: DeadReason.optional(),
  /** What the function answered, when it is small. */
  result: z
    .object({
      contentType: z.string().optional(),
      /** `json`: `body` is the value itself; `base64`: its bytes. */
      encoding: z.enum(['json', 'base64']),
      body: z.unknown(),
    })
    .optional(),
  /** Path of the answer in the API, when it is not small. */
  resultUrl: z.string().optional(),
});
export type CallbackBody = z.infer<typeof CallbackBody>;

export const CallbackSecret = z.object({
  /** `whsec_` and the key in base64. */
  secret: z.string(),
  /** Unix time in milliseconds. */
  createdAt: z.number(),
});
export type CallbackSecret = z.infer<typeof CallbackSecret>;

/** Answer to who asks for the secret of a namespace. */
export const CallbackSecrets = z.object({
  namespace: z.string(),
  current: CallbackSecret,
  /** Those that deliveries are signed with as well, each until its time. */
  previous: z.array(CallbackSecret.extend({ until: z.number() })),
});
export type CallbackSecrets = z.infer<typeof CallbackSecrets>;
