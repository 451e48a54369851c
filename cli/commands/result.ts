/** offshoot result ID: what an invocation of the queued lane answered. */
import { printBody, wholeBody } from '../body.ts';
import { connect } from '../connect.ts';
import type { Context } from '../context.ts';
import { bodyForJson } from './invoke.ts';

export async function result(context: Context, [id = '']: string[]): Promise<void> {
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
