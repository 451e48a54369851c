/** offshoot invoke NAME: calls a function, with an event or as HTTP, and says how it ended. */
import {
  CALLBACK_HEADER,
  DELAY_HEADER,
  INVOCATION_HEADER,
  OUTCOME_HEADER,
  PRIORITY_HEADER,
  TTL_HEADER,
} from '#contract/api/headers.ts';
import { Outcome } from '#contract/invocations/invocation.ts';
import { sendEvent, sendHttp } from '../../api/call.ts';
import { parseFunctionName, type Client } from '../../api/client.ts';
import { connect } from '../../api/connect.ts';
import { printBody, wholeBody } from '../../show/body.ts';
import { bodyForJson, functionFailure, isRefusal, parseServerTiming } from '../../show/call-end.ts';
import type { Context } from '../../terminal/context.ts';
import { checkEvent, readData } from '../../terminal/data.ts';
import { CliError, EXIT_CODES } from '../../terminal/errors.ts';
import { milliseconds, shellWord } from '../../terminal/text.ts';
import type { Given } from '../../verbs/definition.ts';
import type * as verbs from './definitions.ts';

type Options = Given<typeof verbs.invoke>;

/** Returns the exit code of an answer that is no success. */
export async function invoke(context: Context, options: Options): Promise<number | void> {
  const { name: wanted, callback } = options;
  const client = connect(context);
  const data = options.data === undefined ? undefined : await readData(options.data);
  if (callback !== undefined && !options.async) {
    throw new CliError('usage', '--callback is for asynchronous calls', {
      code: 'bad_usage',
      next: `offshoot invoke ${shellWord(wanted)} --async --callback ${shellWord(callback)}`,
    });
  }
  if (options.async) return await queue(context, client, data, options);
  const response = await call(client, data, options);
  const id = response.headers.get(INVOCATION_HEADER) ?? undefined;
  // Without an id there was no invocation: the gateway itself refused the call.
  if (id === undefined && !response.ok) throw await client.failure(response);
  const outcome = Outcome.catch('ok').parse(response.headers.get(OUTCOME_HEADER) ?? 'ok');
  if (outcome !== 'ok') throw await functionFailure(response, outcome, id, wanted);
  if (await isRefusal(response)) throw await client.failure(response);
  await show(context, response, id);
  // The answer is shown, but a script that reads only the exit code must not take a 404 for a result.
  if (response.status >= 400) return EXIT_CODES.answered.code;
}

function call(client: Client, data: Buffer | undefined, options: Options): Promise<Response> {
  const { namespace, name } = parseFunctionName(options.name, client.target.namespace);
  const { path, method, headers } = options;
  const asHttp = path !== undefined || method !== undefined || headers.length > 0;
  return data !== undefined && !asHttp
    ? sendEvent(client, namespace, name, data)
    : sendHttp(client, namespace, name, data, options);
}

async function show({ terminal }: Context, response: Response, id: string | undefined): Promise<void> {
  const { status } = response;
  const timings = parseServerTiming(response.headers.get('server-timing') ?? '');
  if (terminal.json) {
    const body = await wholeBody(response);
    const headers = [...response.headers];
    return terminal.document({ id, outcome: 'ok', status, headers, ...bodyForJson(body), timings });
  }
  await printBody(response, terminal);
  const phases = timings.map(
    ({ name, duration, description }) =>
      `${name} ${milliseconds(duration)}${description ? ` (${description})` : ''}`,
  );
  terminal.note(terminal.noteStyle('dim', [`ok ${status}`, id ?? '', ...phases].join('  ')));
  if (id !== undefined) terminal.note(terminal.noteStyle('dim', `offshoot trace ${id}`));
}

/** Queues the event; the answer is there later. */
async function queue(
  { terminal }: Context,
  client: Client,
  data: Buffer | undefined,
  options: Options,
): Promise<void> {
  const { namespace, name } = parseFunctionName(options.name, client.target.namespace);
  const { delay, ttl, priority, idempotencyKey, callback } = options;
  const event = data ?? Buffer.from('{}');
  checkEvent(name, event);
  const accepted = await client.enqueue(namespace, name, new Uint8Array(event), {
    ...(delay !== undefined && { [DELAY_HEADER]: String(delay) }),
    ...(ttl !== undefined && { [TTL_HEADER]: String(ttl) }),
    ...(priority !== undefined && { [PRIORITY_HEADER]: String(priority) }),
    ...(idempotencyKey !== undefined && { 'idempotency-key': idempotencyKey }),
    ...(callback !== undefined && { [CALLBACK_HEADER]: callback }),
  });
  terminal.document(accepted);
  terminal.print(accepted.id);
  terminal.note(`${accepted.state}; ${terminal.noteStyle('cyan', 'next:')} offshoot trace ${accepted.id}`);
}
