/** offshoot replay ID: queues the input of an invocation again, for the active or another version, or another input. */
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { checkEvent, readData } from '../../terminal/data.ts';
import type { Given } from '../../verbs/definition.ts';
import type * as verbs from './definitions.ts';

export async function replay(
  context: Context,
  { id, data: given, version }: Given<typeof verbs.replay>,
): Promise<void> {
  const { terminal } = context;
  const data = given === undefined ? undefined : await readData(given);
  if (data) checkEvent('NAME', data);
  const accepted = await connect(context).replay(id, {
    ...(version !== undefined && { version }),
    ...(data && { input: JSON.parse(data.toString()) as unknown }),
  });
  terminal.document(accepted);
  terminal.print(accepted.id);
  terminal.note(`${accepted.state}; ${terminal.noteStyle('cyan', 'next:')} offshoot trace ${accepted.id}`);
}
