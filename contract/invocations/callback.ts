/**
 * Request to the receiver of a callback, by the Standard Webhooks specification (https://www.standardwebhooks.com): a POST of
 * one JSON value, signed with a secret of the namespace.
 */
import { z } from 'zod';
import { Canceller, DeadReason, Outcome } from './invocation.ts';

export const MAX_CALLBACK_URL = 2_048;

/** Upper bound in bytes on a function's answer that is sent along; for a larger one the receiver gets its address. */
export const MAX_INLINE_RESULT_BYTES = 256 * 1024;

/**
 * The body of a delivery. The gateway writes it by hand (gateway/callbacks/body.ts), so that a function's JSON passes
 * unchanged.
 */
export const CallbackBody = z.object({
  type: z.literal('invocation.ended'),
  /** Time of its end, ISO 8601. */
  timestamp: z.string(),
  id: z.string(),
  namespace: z.string(),
  name: z.string(),
  version: z.number(),
  outcome: Outcome,
  /** Set for `cancelled`. */
  cancelledBy: Canceller.shape.by.optional(),
  /** The status of the function's answer for `ok`, otherwise that of the outcome's table. */
  status: z.number(),
  /** Milliseconds from the request to the end. */
  duration: z.number(),
  /** Tries of the function. */
  attempts: z.number(),
  /** Set if it is a dead letter. */
  dead: DeadReason.optional(),
  /** The function's answer, if it is small. */
  result: z
    .object({
      contentType: z.string().optional(),
      /** `json`: `body` is the value itself; `base64`: its bytes. */
      encoding: z.enum(['json', 'base64']),
      body: z.unknown(),
    })
    .optional(),
  /** Path of the answer in the API, if it is not small. */
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

/** Answer to a request for the secret of a namespace. */
export const CallbackSecrets = z.object({
  namespace: z.string(),
  current: CallbackSecret,
  /** Secrets with which deliveries are signed as well, each until its time. */
  previous: z.array(CallbackSecret.extend({ until: z.number() })),
});
export type CallbackSecrets = z.infer<typeof CallbackSecrets>;
