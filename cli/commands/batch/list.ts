/** offshoot batch list: the latest batches of a namespace. */
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { table } from '../../terminal/terminal.ts';
import { ago } from '../../terminal/text.ts';

export async function list(context: Context): Promise<void> {
  const { terminal } = context;
  const client = connect(context);
  const found = await client.batches(client.target.namespace);
  terminal.document({ batches: found });
  if (found.length === 0) {
    terminal.print('no batches');
    terminal.note(`${terminal.noteStyle('cyan', 'next:')} offshoot batch run FILE --function NAME`);
    return;
  }
  const rows = found.map((one) => [
    one.id,
    `${one.namespace}/${one.name}`,
    one.state,
    `${one.succeeded + one.failed} of ${one.items}`,
    String(one.failed),
    ago(one.createdAt),
  ]);
  const [head = '', ...lines] = table(['BATCH', 'FUNCTION', 'STATE', 'ITEMS', 'FAILED', 'WHEN'], rows);
  terminal.print(terminal.style('bold', head));
  for (const line of lines) terminal.print(line);
  terminal.note(`\n${terminal.noteStyle('cyan', 'next:')} offshoot batch show ${found[0]?.id}`);
}
