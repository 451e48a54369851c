/** Derives events for metrics and traces from a change of a queued invocation's record. */
import type { AnyInvocation } from '#contract/invocations/invocation.ts';

/** The result of a delivery attempt that a change of a record shows; undefined when the change ended no attempt. */
export function deliveryResult(
  { callback: before }: AnyInvocation,
  { callback: after }: AnyInvocation,
): 'delivered' | 'failed' | 'retried' | undefined {
  if (!before || !after || before.state !== 'pending') return undefined;
  if (after.state !== 'pending') return after.state;
  // The begin of an attempt removes `nextAt`, and its failure sets `nextAt`.
  const failed = after.lastStatus !== undefined || after.lastError !== undefined;
  return failed && before.nextAt === undefined && after.nextAt !== undefined ? 'retried' : undefined;
}
