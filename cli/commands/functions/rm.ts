/** offshoot rm NAME: remove a function and all its versions. */
import { parseFunctionName } from '../../api/client.ts';
import { confirm } from '../../terminal/confirm.ts';
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import type { Given } from '../../verbs/definition.ts';
import type * as verbs from './definitions.ts';

export async function rm(context: Context, { name: wanted, yes }: Given<typeof verbs.rm>): Promise<void> {
  const { terminal } = context;
  const client = connect(context);
  const { namespace, name } = parseFunctionName(wanted, client.target.namespace);
  await confirm(context, {
    question: `Remove ${namespace}/${name} with all its versions?`,
    yes,
    command: `offshoot rm ${namespace}/${name} --yes`,
  });
  await client.remove(namespace, name);
  terminal.document({ removed: { namespace, name } });
  terminal.print(`${terminal.style('green', '✓')} removed ${namespace}/${name}`);
}
