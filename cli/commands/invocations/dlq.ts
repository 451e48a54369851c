/** offshoot dlq: invocations of the queued lane that have failed for good. */
import type { InvocationRecord } from '#contract/invocations/invocation.ts';
import type { Client } from '../../api/client.ts';
import { confirm } from '../../terminal/confirm.ts';
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { CliError } from '../../terminal/errors.ts';
import { table } from '../../terminal/terminal.ts';
import { ago, defuse, shellWord } from '../../terminal/text.ts';
import { trace } from './trace.ts';

const SHOWN_MESSAGE = 60;

interface DlqOptions {
  readonly function?: string;
  readonly all?: boolean;
  readonly yes?: boolean;
}

export async function dlq(context: Context, args: string[], options: DlqOptions): Promise<void> {
  const [action = 'list', id] = args;
  const client = connect(context);
  switch (action) {
    case 'list':
      return await list(context, client, options);
    case 'show':
      return await trace(context, [needed(id, action)], {});
    case 'redrive':
    case 'purge':
      return await move(context, client, action, id, options);
    default:
      throw new CliError('usage', `dlq has no action "${action}"; it has list, show, redrive and purge`, {
        next: 'offshoot help dlq',
      });
  }
}

async function list({ terminal }: Context, client: Client, options: DlqOptions): Promise<void> {
  const filter = options.function === undefined ? {} : { name: options.function };
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

async function move(
  context: Context,
  client: Client,
  action: 'redrive' | 'purge',
  id: string | undefined,
  options: DlqOptions,
): Promise<void> {
  const { terminal } = context;
  const { namespace } = client.target;
  const whole = options.all === true || options.function !== undefined;
  if (whole && id !== undefined) {
    throw new CliError('usage', `dlq ${action} takes an id, or --all or --function, not both`, {
      code: 'bad_usage',
      next: `offshoot dlq ${action} ${shellWord(id)}`,
    });
  }
  const choice = {
    ...(!whole && { ids: [needed(id, action)] }),
    ...(options.function !== undefined && { name: options.function }),
  };
  if (action === 'purge') {
    const what = whole ? `all dead letters of ${options.function ?? `namespace ${namespace}`}` : id;
    const command = `offshoot dlq purge ${whole ? (options.function === undefined ? '--all' : `-f ${options.function}`) : id} --yes`;
    await confirm(context, { question: `Purge ${what}?`, yes: options.yes === true, command });
  }
  const ids = await client.moveDeadLetters(namespace, action, choice);
  terminal.document({ ids });
  if (ids.length === 0) {
    throw new CliError(
      'failed',
      action === 'redrive'
        ? 'there is no such dead letter whose function is still there'
        : 'there is no such dead letter',
      {
        code: 'not_found',
        next: 'offshoot dlq list',
      },
    );
  }
  terminal.print(
    `${terminal.style('green', '✓')} ${ids.length} ${action === 'purge' ? 'purged' : 'queued again'}`,
  );
  if (action === 'redrive') terminal.note(`${terminal.noteStyle('cyan', 'next:')} offshoot trace ${ids[0]}`);
}

function needed(id: string | undefined, action: string): string {
  if (id !== undefined) return id;
  throw new CliError('usage', `dlq ${action} needs the id of an invocation`, { next: 'offshoot dlq list' });
}

function lastMessage({ message, report }: InvocationRecord): string {
  const said = message ?? (report?.error ? `${report.error.name}: ${report.error.message}` : '');
  return defuse(said).slice(0, SHOWN_MESSAGE);
}
