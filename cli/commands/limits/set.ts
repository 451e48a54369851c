/** offshoot limits set: sets limits of a namespace; the others stay. */
import { NamespaceLimits } from '#contract/functions/quota.ts';
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { CliError } from '../../terminal/errors.ts';
import type { Given } from '../../verbs/definition.ts';
import { NONE } from './definitions.ts';
import type * as verbs from './definitions.ts';
import { printLimits } from './show.ts';

type Wanted = Given<typeof verbs.set>;

export async function set(context: Context, wanted: Wanted): Promise<void> {
  const { terminal } = context;
  if (Object.values(wanted).every((one) => one === undefined)) {
    throw new CliError('usage', 'limits set needs at least one limit', {
      code: 'bad_usage',
      next: 'offshoot help limits set',
    });
  }
  const client = connect(context);
  const { namespace } = client.target;
  const next = changed(await client.limits(namespace), wanted);
  const kept = await client.setLimits(namespace, next);
  terminal.print(`${terminal.style('green', '✓')} limits of namespace ${namespace}`);
  printLimits(terminal, namespace, kept);
}

/** The limits with the wanted ones in their place. */
function changed(before: NamespaceLimits, wanted: Wanted): NamespaceLimits {
  const { concurrency, rate, burst, weight, maxQueued } = wanted;
  const next: Record<string, unknown> = { ...before };
  put(next, 'concurrency', concurrency);
  put(next, 'weight', weight);
  put(next, 'maxQueued', maxQueued);
  const rateLimit: Record<string, unknown> = { ...before.rateLimit };
  if (rate !== NONE) put(rateLimit, 'rate', rate);
  put(rateLimit, 'burst', burst);
  if (rate === NONE) delete next['rateLimit'];
  else if (Object.keys(rateLimit).length > 0) next['rateLimit'] = rateLimit;
  const checked = NamespaceLimits.safeParse(next);
  if (checked.success) return checked.data;
  const [issue] = checked.error.issues;
  const missingRate = rateLimit['rate'] === undefined && burst !== undefined;
  throw new CliError(
    'usage',
    missingRate ? '--burst needs a --rate' : `${issue?.path.join('.')}: ${issue?.message}`,
    { next: 'offshoot help limits set' },
  );
}

function put(into: Record<string, unknown>, field: string, value: number | typeof NONE | undefined): void {
  if (value === NONE) delete into[field];
  else if (value !== undefined) into[field] = value;
}
