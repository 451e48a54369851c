/** What a change of a record of the queued lane means to those who watch. */
import type { AnyInvocation } from '#contract/invocations/invocation.ts';

/** What a change of a record says of its callback; undefined when nothing was tried by it. */
export function deliveryResult(
  { callback: before }: AnyInvocation,
  { callback: after }: AnyInvocation,
): 'delivered' | 'failed' | 'retried' | undefined {
  if (!before || !after || before.state !== 'pending') return undefined;
  if (after.state !== 'pending') return after.state;
  // A try that is begun takes the time of the next one away, one that has failed sets it.
  const failed = after.lastStatus !== undefined || after.lastError !== undefined;
  return failed && before.nextAt === undefined && after.nextAt !== undefined ? 'retried' : undefined;
}
