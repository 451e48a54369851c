/** offshoot keys list: the API keys, without their secrets. */
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { table } from '../../terminal/terminal.ts';
import { ago } from '../../terminal/text.ts';

export async function list(context: Context): Promise<void> {
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
