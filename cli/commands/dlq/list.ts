/** offshoot dlq list: the dead letters of a namespace. */
import type { InvocationRecord } from '#contract/invocations/invocation.ts';
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { table } from '../../terminal/terminal.ts';
import { ago, defuse } from '../../terminal/text.ts';
import type { Given } from '../../verbs/definition.ts';
import type * as verbs from './definitions.ts';

/** Upper bound on the characters of a message in the table. */
const SHOWN_MESSAGE = 60;

export async function list(context: Context, { ofFunction }: Given<typeof verbs.list>): Promise<void> {
  const { terminal } = context;
  const client = connect(context);
  const filter = ofFunction === undefined ? {} : { name: ofFunction };
  const letters = await client.deadLetters(client.target.namespace, filter);
  terminal.document({ deadLetters: letters });
  if (letters.length === 0) return terminal.print('no dead letters');
  const rows = letters.map((one) => [
    one.id,
    `${one.namespace}/${one.name}`,
    one.dead ?? '',
    `${one.outcome} ${one.status}`,
    String(one.attempts?.length ?? 0),
    ago(one.startedAt + one.duration),
    lastMessage(one),
  ]);
  const columns = ['INVOCATION', 'FUNCTION', 'REASON', 'OUTCOME', 'TRIES', 'WHEN', 'MESSAGE'];
  const [head = '', ...lines] = table(columns, rows);
  terminal.print(terminal.style('bold', head));
  for (const line of lines) terminal.print(line);
  terminal.note(`\n${terminal.noteStyle('cyan', 'next:')} offshoot dlq show ${letters[0]?.id}`);
}

function lastMessage({ message, report }: InvocationRecord): string {
  const said = message ?? (report?.error ? `${report.error.name}: ${report.error.message}` : '');
  return defuse(said).slice(0, SHOWN_MESSAGE);
}
