/**
 * What functions and namespaces may take of the platform: how much at once, how often, and how much of what they share with
 * others. Nothing is limited unless somebody has said so.
 */
import { z } from 'zod';

export const RateLimit = z
  .strictObject({
    rate: z
      .number()
      .min(0.001)
      .max(100_000)
      .describe('Invocations per second that may begin, in the long run.'),
    burst: z
      .int()
      .min(1)
      .max(1_000_000)
      .optional()
      .describe(
        'Invocations that may begin at once after a quiet time; as many as in one second without it.',
      ),
  })
  .describe('How often invocations may begin.');
export type RateLimit = z.infer<typeof RateLimit>;

export const MaxConcurrency = z.int().min(1).max(1_000_000);

/** What a namespace may take. A field that is not there is not limited; the weight is then 1. */
export const NamespaceLimits = z.strictObject({
  concurrency: MaxConcurrency.optional().describe('Invocations of all its functions at the same time.'),
  rateLimit: RateLimit.optional(),
  weight: z
    .number()
    .min(0.01)
    .max(1_000)
    .optional()
    .describe('Its share of a worker beside other namespaces that have work; 1 without it.'),
  maxQueued: z
    .int()
    .min(1)
    .optional()
    .describe('Invocations that may wait in its queue; OFFSHOOT_MAX_QUEUED without it, and at most.'),
});
export type NamespaceLimits = z.infer<typeof NamespaceLimits>;

export const DEFAULT_WEIGHT = 1;

/** What is counted for an invocation before it begins, of its function and of its namespace. */
export interface Quota {
  readonly function: Allowance;
  readonly namespace: Allowance;
}

export interface Allowance {
  readonly concurrency?: number | undefined;
  readonly rateLimit?: RateLimit | undefined;
}

/** Undefined where nothing is limited, so that such an invocation is not counted at all. */
export function quotaOf(
  manifest: { readonly maxConcurrency?: number | undefined; readonly rateLimit?: RateLimit | undefined },
  limits: NamespaceLimits | undefined,
): Quota | undefined {
  const { maxConcurrency: concurrency, rateLimit } = manifest;
  const own = concurrency !== undefined || rateLimit !== undefined;
  if (!own && limits?.concurrency === undefined && limits?.rateLimit === undefined) return undefined;
  return {
    function: { concurrency, rateLimit },
    namespace: { concurrency: limits?.concurrency, rateLimit: limits?.rateLimit },
  };
}
