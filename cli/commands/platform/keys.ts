/** offshoot keys: list, create and remove API keys. */
import { Scope } from '#contract/api/api.ts';
import { confirm } from '../../terminal/confirm.ts';
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { CliError } from '../../terminal/errors.ts';
import { table } from '../../terminal/terminal.ts';
import { ago } from '../../terminal/text.ts';

interface KeysOptions {
  readonly scope?: string[];
  readonly yes?: boolean;
}

export async function keys(context: Context, args: string[], options: KeysOptions): Promise<void> {
  const [action = 'list', id] = args;
  switch (action) {
    case 'list':
      return listKeys(context);
    case 'create':
      return createKey(context, options.scope ?? []);
    case 'rm':
      return removeKey(context, id, options.yes === true);
    default:
      throw new CliError('usage', `keys has no action "${action}"; it has list, create and rm`, {
        next: 'offshoot help keys',
      });
  }
}

async function listKeys(context: Context): Promise<void> {
  const { terminal } = context;
  const found = await connect(context).keys();
  terminal.document({ keys: found });
  const rows = found.map((key) => [
    key.id,
    key.namespace,
    key.scopes.join(','),
    `…${key.last4}`,
    ago(key.createdAt),
  ]);
  const [head = '', ...lines] = table(['ID', 'NAMESPACE', 'SCOPES', 'KEY', 'CREATED'], rows);
  terminal.print(terminal.style('bold', head));
  for (const line of lines) terminal.print(line);
}

async function createKey(context: Context, wanted: readonly string[]): Promise<void> {
  const { terminal } = context;
  const scopes = wanted
    .flatMap((text) => text.split(','))
    .map((text) => {
      const scope = Scope.safeParse(text);
      if (scope.success) return scope.data;
      throw new CliError('usage', `there is no scope "${text}"; there are ${Scope.options.join(', ')}`, {
        next: 'offshoot keys create --scope invoke',
      });
    });
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

async function removeKey(context: Context, id: string | undefined, yes: boolean): Promise<void> {
  const { terminal } = context;
  if (id === undefined) {
    throw new CliError('usage', 'keys rm needs the id of a key', { next: 'offshoot keys list' });
  }
  await confirm(context, { question: `Remove key ${id}?`, yes, command: `offshoot keys rm ${id} --yes` });
  await connect(context).removeKey(id);
  terminal.document({ removed: { key: id } });
  terminal.print(`${terminal.style('green', '✓')} removed key ${id}`);
}
