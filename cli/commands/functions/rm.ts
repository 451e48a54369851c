/** offshoot rm NAME: remove a function and all its versions. */
import { parseFunctionName } from '../../api/client.ts';
import { confirm } from '../../terminal/confirm.ts';
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';

export async function rm(
  context: Context,
  [wanted = '']: string[],
  options: { yes?: boolean },
): Promise<void> {
  const { terminal } = context;
  const client = connect(context);
  const { namespace, name } = parseFunctionName(wanted, client.target.namespace);
  await confirm(context, {
    question: `Remove ${namespace}/${name} with all its versions?`,
    yes: options.yes === true,
    command: `offshoot rm ${namespace}/${name} --yes`,
  });
  await client.remove(namespace, name);
  terminal.document({ removed: { namespace, name } });
  terminal.print(`${terminal.style('green', '✓')} removed ${namespace}/${name}`);
}
