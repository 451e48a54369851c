/** offshoot keys create: makes an API key, and prints it once. */
import { Scope } from '#contract/api/api.ts';
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { CliError } from '../../terminal/errors.ts';
import type { Given } from '../../verbs/definition.ts';
import type * as verbs from './definitions.ts';

export async function create(
  context: Context,
  { scopes: wanted }: Given<typeof verbs.create>,
): Promise<void> {
  const { terminal } = context;
  // `--scope deploy,read` means both.
  const scopes = wanted.flatMap((text) => text.split(',')).map(scopeOf);
  if (scopes.length === 0) {
    throw new CliError('usage', 'a key needs at least one scope', {
      next: 'offshoot keys create --scope invoke',
    });
  }
  const client = connect(context);
  const created = await client.createKey({ namespace: client.target.namespace, scopes });
  terminal.document(created);
  terminal.print(created.key);
  terminal.note(
    `key ${created.id} of namespace ${created.namespace}, scopes ${created.scopes.join(', ')}; it is not shown again`,
  );
}

function scopeOf(text: string): Scope {
  const scope = Scope.safeParse(text);
  if (scope.success) return scope.data;
  throw new CliError('usage', `there is no scope "${text}"; there are ${Scope.options.join(', ')}`, {
    next: 'offshoot keys create --scope invoke',
  });
}
