/**
 * Limits of functions and namespaces on their use of the platform: concurrency, rate, and share of common resources. By default
 * there is no limit.
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
      .describe('Invocations that may begin at once after a quiet time. Default: as many as in one second.'),
  })
  .describe('Limit on the rate at which invocations may begin.');
export type RateLimit = z.infer<typeof RateLimit>;

export const MaxConcurrency = z.int().min(1).max(1_000_000);

/** Limits of a namespace. An absent field means no limit; an absent weight means 1. */
export const NamespaceLimits = z.strictObject({
  concurrency: MaxConcurrency.optional().describe('Invocations of all its functions at the same time.'),
  rateLimit: RateLimit.optional(),
  weight: z
    .number()
    .min(0.01)
    .max(1_000)
    .optional()
    .describe('Its share of a worker, relative to other namespaces that have work. Default: 1.'),
  maxQueued: z
    .int()
    .min(1)
    .optional()
    .describe('Invocations that may wait in its queue. Default and upper bound: OFFSHOOT_MAX_QUEUED.'),
});
export type NamespaceLimits = z.infer<typeof NamespaceLimits>;

export const DEFAULT_WEIGHT = 1;

/** Limits that are checked for an invocation before it begins: its function's and its namespace's. */
export interface Quota {
  readonly function: Allowance;
  readonly namespace: Allowance;
}

export interface Allowance {
  readonly concurrency?: number | undefined;
  readonly rateLimit?: RateLimit | undefined;
}

/** Undefined if there is no limit, so that such an invocation is not counted at all. */
export function quotaOf(
  settings: { readonly maxConcurrency?: number | undefined; readonly rateLimit?: RateLimit | undefined },
  limits: NamespaceLimits | undefined,
): Quota | undefined {
  const { maxConcurrency: concurrency, rateLimit } = settings;
  const own = concurrency !== undefined || rateLimit !== undefined;
  if (!own && limits?.concurrency === undefined && limits?.rateLimit === undefined) return undefined;
  return {
    function: { concurrency, rateLimit },
    namespace: { concurrency: limits?.concurrency, rateLimit: limits?.rateLimit },
  };
}
