/** offshoot batch results ID: the result of each item, one JSON value a line. */
import { connect } from '../../api/connect.ts';
import { printBody } from '../../show/body.ts';
import type { Context } from '../../terminal/context.ts';
import type { Given } from '../../verbs/definition.ts';
import type * as verbs from './definitions.ts';

export async function results(
  context: Context,
  { id, completed, follow }: Given<typeof verbs.results>,
): Promise<void> {
  const order = completed ? 'completed' : 'input';
  const response = await connect(context).batchResults(id, { order, wait: follow });
  await printBody(response, context.terminal, `offshoot batch results ${id}`);
}
