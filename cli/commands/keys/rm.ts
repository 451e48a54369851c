/** offshoot keys rm ID: removes an API key. */
import { connect } from '../../api/connect.ts';
import { confirm } from '../../terminal/confirm.ts';
import type { Context } from '../../terminal/context.ts';
import type { Given } from '../../verbs/definition.ts';
import type * as verbs from './definitions.ts';

export async function rm(context: Context, { id, yes }: Given<typeof verbs.rm>): Promise<void> {
  const { terminal } = context;
  await confirm(context, { question: `Remove key ${id}?`, yes, command: `offshoot keys rm ${id} --yes` });
  await connect(context).removeKey(id);
  terminal.document({ removed: { key: id } });
  terminal.print(`${terminal.style('green', '✓')} removed key ${id}`);
}
