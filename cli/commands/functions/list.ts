/** offshoot list: the functions of a namespace, or of all that the key may read. */
import { functionUrl } from '../../api/client.ts';
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { table } from '../../terminal/terminal.ts';
import { ago } from '../../terminal/text.ts';

export async function list(context: Context): Promise<void> {
  const { terminal, flags } = context;
  const client = connect(context);
  const { url } = client.target;
  const functions = await client.list(flags.namespace);
  terminal.document({ functions });
  if (functions.length === 0) {
    terminal.print(
      flags.namespace === undefined ? 'no functions' : `no functions in namespace ${flags.namespace}`,
    );
    terminal.note(`${terminal.noteStyle('cyan', 'next:')} offshoot init NAME`);
    return;
  }
  const rows = functions.map((view) => [
    `${view.namespace}/${view.name}`,
    String(view.activeVersion),
    view.active.settings.runtime,
    view.settings.access,
    ago(view.updatedAt),
    functionUrl(view, url),
  ]);
  const [head = '', ...lines] = table(['FUNCTION', 'VERSION', 'RUNTIME', 'ACCESS', 'DEPLOYED', 'URL'], rows);
  terminal.print(terminal.style('bold', head));
  for (const line of lines) terminal.print(line);
}
