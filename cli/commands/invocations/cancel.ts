/** offshoot cancel ID: ends an invocation of either lane. */
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import type { Given } from '../../verbs/definition.ts';
import type * as verbs from './definitions.ts';

export async function cancel(context: Context, { id }: Given<typeof verbs.cancel>): Promise<void> {
  const { terminal } = context;
  const record = await connect(context).cancel(id);
  terminal.document(record);
  const what = record.state === 'done' ? 'cancelled before it ran' : 'is being killed where it runs';
  terminal.print(`${terminal.style('green', '✓')} ${id} ${what}`);
  terminal.note(`${terminal.noteStyle('cyan', 'next:')} offshoot trace ${id}`);
}
