/** offshoot dlq redrive and offshoot dlq purge: one dead letter, those of a function, or all of a namespace. */
import { connect } from '../../api/connect.ts';
import { confirm } from '../../terminal/confirm.ts';
import type { Context } from '../../terminal/context.ts';
import { CliError } from '../../terminal/errors.ts';
import { shellWord } from '../../terminal/text.ts';
import type { Given } from '../../verbs/definition.ts';
import type * as verbs from './definitions.ts';

export async function redrive(context: Context, given: Given<typeof verbs.redrive>): Promise<void> {
  const { terminal } = context;
  const choice = chosen('redrive', given);
  const client = connect(context);
  const ids = await client.moveDeadLetters(client.target.namespace, 'redrive', choice);
  if (ids.length === 0) throw nothingMoved('there is no such dead letter whose function is still there');
  terminal.document({ ids });
  terminal.print(`${terminal.style('green', '✓')} ${ids.length} queued again`);
  terminal.note(`${terminal.noteStyle('cyan', 'next:')} offshoot trace ${ids[0]}`);
}

export async function purge(context: Context, given: Given<typeof verbs.purge>): Promise<void> {
  const { terminal } = context;
  const choice = chosen('purge', given);
  const client = connect(context);
  const { namespace } = client.target;
  const { id, ofFunction, yes } = given;
  const what = id ?? `all dead letters of ${ofFunction ?? `namespace ${namespace}`}`;
  const words = id ?? (ofFunction === undefined ? '--all' : `--function ${ofFunction}`);
  await confirm(context, { question: `Purge ${what}?`, yes, command: `offshoot dlq purge ${words} --yes` });
  const ids = await client.moveDeadLetters(namespace, 'purge', choice);
  if (ids.length === 0) throw nothingMoved('there is no such dead letter');
  terminal.document({ ids });
  terminal.print(`${terminal.style('green', '✓')} ${ids.length} purged`);
}

/** The dead letters that the command line means, as the API takes them. */
function chosen(
  verb: 'redrive' | 'purge',
  { id, ofFunction, all }: Given<typeof verbs.redrive>,
): { ids?: string[]; name?: string } {
  const whole = all || ofFunction !== undefined;
  if (whole && id !== undefined) {
    throw new CliError('usage', `dlq ${verb} takes an id, or --all or --function, not both`, {
      code: 'bad_usage',
      next: `offshoot dlq ${verb} ${shellWord(id)}`,
    });
  }
  if (!whole && id === undefined) {
    throw new CliError('usage', `dlq ${verb} needs an id, or --function, or --all`, {
      code: 'bad_usage',
      next: 'offshoot dlq list',
    });
  }
  return { ...(id !== undefined && { ids: [id] }), ...(ofFunction !== undefined && { name: ofFunction }) };
}

function nothingMoved(message: string): CliError {
  return new CliError('failed', message, { code: 'not_found', next: 'offshoot dlq list' });
}
