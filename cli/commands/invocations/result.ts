/** offshoot result ID: what an invocation of the queued lane answered. */
import { printBody, wholeBody } from '../../show/body.ts';
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { bodyForJson } from '../../show/call-end.ts';
import type { Given } from '../../verbs/definition.ts';
import type * as verbs from './definitions.ts';

export async function result(context: Context, { id }: Given<typeof verbs.result>): Promise<void> {
  const { terminal } = context;
  const response = await connect(context).result(id);
  if (terminal.json) {
    const body = await wholeBody(response);
    return terminal.document({
      id,
      status: response.status,
      headers: [...response.headers],
      ...bodyForJson(body),
    });
  }
  await printBody(response, terminal);
}
