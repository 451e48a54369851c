/** offshoot limits: what a namespace may take of the platform; with options, sets it. */
import { NamespaceLimits } from '#contract/functions/quota.ts';
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { CliError } from '../../terminal/errors.ts';

interface LimitsOptions {
  readonly concurrency?: string;
  readonly rate?: string;
  readonly burst?: string;
  readonly weight?: string;
  readonly maxQueued?: string;
}

/** What is written to take a limit away. */
const NONE = 'none';

export async function limits(context: Context, _args: string[], options: LimitsOptions): Promise<void> {
  const { terminal } = context;
  const client = connect(context);
  const { namespace } = client.target;
  let found = await client.limits(namespace);
  const changed = changedLimits(found, options);
  if (changed) found = await client.setLimits(namespace, changed);
  terminal.document({ namespace, limits: found });
  if (changed) terminal.print(`${terminal.style('green', '✓')} limits of namespace ${namespace}`);
  const { concurrency, rateLimit, weight, maxQueued } = found;
  const rate = rateLimit && `${rateLimit.rate}/s${rateLimit.burst ? `, ${rateLimit.burst} at once` : ''}`;
  terminal.print(`concurrency  ${concurrency ?? 'not limited'}`);
  terminal.print(`rate         ${rate ?? 'not limited'}`);
  terminal.print(`weight       ${weight ?? 1}`);
  terminal.print(`max queued   ${maxQueued ?? 'as the platform allows'}`);
}

/** What is to hold, or undefined where no option asks for a change. */
function changedLimits(before: NamespaceLimits, options: LimitsOptions): NamespaceLimits | undefined {
  const { concurrency, rate, burst, weight, maxQueued } = options;
  if ([concurrency, rate, burst, weight, maxQueued].every((one) => one === undefined)) return undefined;
  const next: Record<string, unknown> = { ...before };
  const set = (field: string, text: string | undefined): void => {
    if (text === undefined) return;
    if (text === NONE) delete next[field];
    else next[field] = numberOf(text, field);
  };
  set('concurrency', concurrency);
  set('weight', weight);
  set('maxQueued', maxQueued);
  const rateLimit: Record<string, unknown> = { ...before.rateLimit };
  if (rate !== undefined && rate !== NONE) rateLimit['rate'] = numberOf(rate, 'rate');
  if (burst === NONE) delete rateLimit['burst'];
  else if (burst !== undefined) rateLimit['burst'] = numberOf(burst, 'burst');
  if (rate === NONE) delete next['rateLimit'];
  else if (Object.keys(rateLimit).length > 0) next['rateLimit'] = rateLimit;
  const checked = NamespaceLimits.safeParse(next);
  if (checked.success) return checked.data;
  const [issue] = checked.error.issues;
  const missingRate = rateLimit['rate'] === undefined && burst !== undefined;
  throw new CliError(
    'usage',
    missingRate ? '--burst needs a --rate' : `${issue?.path.join('.')}: ${issue?.message}`,
    { next: 'offshoot help limits' },
  );
}

function numberOf(text: string, field: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value)) return value;
  throw new CliError('usage', `${field}: "${text}" is not a number, nor "${NONE}"`, {
    next: 'offshoot help limits',
  });
}
