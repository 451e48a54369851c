/** A callback in words: its receiver, and how far its delivery has come. */
import type { Callback } from '#contract/invocations/invocation.ts';
import { clock, defuse } from '../terminal/text.ts';

export function callbackText({ url, state, attempts, lastStatus, lastError, nextAt }: Callback): string {
  const target = defuse(url);
  const tries = `${attempts} ${attempts === 1 ? 'try' : 'tries'}`;
  if (state === 'delivered')
    return `delivered to ${target}, ${lastStatus ?? ''}${attempts > 1 ? `, ${tries}` : ''}`;
  const reason = lastError === undefined ? '' : `: ${defuse(lastError)}`;
  if (state === 'failed') return `given up for ${target} after ${tries}${reason}`;
  if (attempts === 0) return `to ${target} when it has ended`;
  const next = nextAt === undefined ? 'under way' : `next ${clock(nextAt)}`;
  return `to ${target}, ${tries}, ${next}${reason}`;
}
