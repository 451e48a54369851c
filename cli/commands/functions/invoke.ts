/** offshoot invoke NAME: call a function, with an event or as HTTP, and say how it ended. */
import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { ERRORS, ErrorBody } from '#contract/api/errors.ts';
import { FunctionError, Outcome } from '#contract/invocations/invocation.ts';
import { DEFAULT_INLINE_BODY_BYTES } from '#contract/functions/limits.ts';
import { OUTCOMES } from '#contract/invocations/outcome.ts';
import { functionPath, parseFunctionName, type Client } from '../../api/client.ts';
import { connect } from '../../api/connect.ts';
import type { Context } from '../../terminal/context.ts';
import { CliError, EXIT_CODES, messageOf } from '../../terminal/errors.ts';
import { printBody, wholeBody } from '../../show/body.ts';
import { defuseLines, milliseconds, shellWord } from '../../terminal/text.ts';
import {
  CALLBACK_HEADER,
  DELAY_HEADER,
  INVOCATION_HEADER,
  OUTCOME_HEADER,
  PRIORITY_HEADER,
  TTL_HEADER,
} from '#contract/api/headers.ts';
import { callPath } from '#contract/functions/function-path.ts';

interface InvokeOptions {
  readonly data?: string;
  readonly path?: string;
  readonly method?: string;
  readonly header?: string[];
  readonly async?: boolean;
  readonly delay?: string;
  readonly ttl?: string;
  readonly priority?: string;
  readonly idempotencyKey?: string;
  readonly callback?: string;
}

export async function invoke(
  context: Context,
  [wanted = '']: string[],
  options: InvokeOptions,
): Promise<number> {
  const { terminal } = context;
  const client = connect(context);
  const { namespace, name } = parseFunctionName(wanted, client.target.namespace);
  const data = options.data === undefined ? undefined : await readData(options.data);
  if (options.callback !== undefined && !options.async) {
    throw new CliError('usage', '--callback is for invocations that nobody waits for', {
      next: `offshoot invoke ${wanted} --async --callback ${shellWord(options.callback)}`,
    });
  }
  if (options.async) return await queue(context, client, { namespace, name }, data, options);
  const asHttp = options.path !== undefined || options.method !== undefined || options.header !== undefined;
  const response =
    data !== undefined && !asHttp
      ? await sendEvent(client, namespace, name, data)
      : await sendHttp(client, namespace, name, data, options);
  const id = response.headers.get(INVOCATION_HEADER) ?? undefined;
  // Without an id there was no invocation: the gateway itself refused the call.
  if (id === undefined && !response.ok) throw await client.failure(response);
  const outcome = Outcome.catch('ok').parse(response.headers.get(OUTCOME_HEADER) ?? 'ok');
  if (outcome !== 'ok') throw await functionFailure(response, outcome, id, wanted);

  if (await isRefusal(response)) throw await client.failure(response);
  const timings = parseServerTiming(response.headers.get('server-timing') ?? '');
  if (terminal.json) {
    const body = await wholeBody(response);
    const headers = [...response.headers];
    terminal.document({ id, outcome, status: response.status, headers, ...bodyForJson(body), timings });
    return EXIT_CODES.ok.code;
  }
  await printBody(response, terminal);
  const phases = timings.map(
    ({ name: phase, duration, description }) =>
      `${phase} ${milliseconds(duration)}${description ? ` (${description})` : ''}`,
  );
  terminal.note(terminal.noteStyle('dim', [`${outcome} ${response.status}`, id ?? '', ...phases].join('  ')));
  if (id !== undefined) terminal.note(terminal.noteStyle('dim', `offshoot trace ${id}`));
  return EXIT_CODES.ok.code;
}

/** Queues the event; the answer is there later. */
async function queue(
  { terminal }: Context,
  client: Client,
  { namespace, name }: { namespace: string; name: string },
  data: Buffer | undefined,
  { delay, ttl, priority, idempotencyKey, callback }: InvokeOptions,
): Promise<number> {
  const event = data ?? Buffer.from('{}');
  checkEvent(name, event);
  const accepted = await client.enqueue(namespace, name, new Uint8Array(event), {
    ...(delay !== undefined && { [DELAY_HEADER]: delay }),
    ...(ttl !== undefined && { [TTL_HEADER]: ttl }),
    ...(priority !== undefined && { [PRIORITY_HEADER]: priority }),
    ...(idempotencyKey !== undefined && { 'idempotency-key': idempotencyKey }),
    ...(callback !== undefined && { [CALLBACK_HEADER]: callback }),
  });
  terminal.document(accepted);
  terminal.print(accepted.id);
  terminal.note(`${accepted.state}; ${terminal.noteStyle('cyan', 'next:')} offshoot trace ${accepted.id}`);
  return EXIT_CODES.ok.code;
}

/** Text, the content of a file after `@`, or of stdin for `-`. */
export async function readData(data: string): Promise<Buffer> {
  if (data === '-') return Buffer.from(await text(process.stdin));
  if (!data.startsWith('@')) return Buffer.from(data);
  try {
    return readFileSync(data.slice(1));
  } catch (error) {
    throw new CliError('usage', `the data cannot be read: ${messageOf(error)}`, {
      next: 'offshoot invoke NAME --data @FILE',
      cause: error,
    });
  }
}

export function checkEvent(name: string, data: Buffer): void {
  try {
    JSON.parse(data.toString());
  } catch (error) {
    throw new CliError('usage', `the event is not JSON: ${messageOf(error)}`, {
      code: 'bad_event',
      next: `to send it as it is, call over HTTP: offshoot invoke ${name} --method POST --data ${shellWord(data.toString().slice(0, 40))}`,
      cause: error,
    });
  }
}

async function sendEvent(client: Client, namespace: string, name: string, data: Buffer): Promise<Response> {
  checkEvent(name, data);
  return client.request(`${functionPath(namespace, name)}/invoke`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: new Uint8Array(data),
  });
}

/**
 * Calls the URL of the function. First without the key: one that is not asked for must not reach the function's code,
 * which sees every header of a public call.
 */
async function sendHttp(
  client: Client,
  namespace: string,
  name: string,
  data: Buffer | undefined,
  options: InvokeOptions,
): Promise<Response> {
  const headers: Record<string, string> = {};
  for (const line of options.header ?? []) {
    const [key, value] = parseHeader(line, name);
    headers[key] = value;
  }
  const path = `/${(options.path ?? '').replace(/^\//, '')}`;
  const method = options.method?.toUpperCase() ?? (data === undefined ? 'GET' : 'POST');
  checkMethod(method, data, name);
  const url = `${callPath(namespace, name)}${path}`;
  const request = { method, headers, ...(data && { body: new Uint8Array(data) }) };
  // A large body is not sent twice, nor to somebody who may refuse it unread; the gateway keeps the key to itself anyway.
  if (data && data.length > DEFAULT_INLINE_BODY_BYTES) return client.fetch(url, request);
  const open = await client.fetch(url, { ...request, withoutKey: true });
  if (open.status !== 401 || open.headers.has(INVOCATION_HEADER)) return open;
  await open.arrayBuffer();
  return client.fetch(url, request);
}

/** A line as it stands in a request; what HTTP cannot carry is refused. */
function parseHeader(line: string, name: string): [key: string, value: string] {
  const colon = line.indexOf(':');
  const key = line.slice(0, colon).trim().toLowerCase();
  const value = line.slice(colon + 1).trim();
  try {
    if (colon >= 1 && new Headers([[key, value]]).has(key)) return [key, value];
  } catch {
    // Said below.
  }
  throw new CliError(
    'usage',
    `"${line}" is not a header; it must be "Name: value", without what is beyond Latin-1`,
    {
      next: `offshoot invoke ${name} --header 'Accept: application/json'`,
    },
  );
}

/** Methods that fetch refuses. */
const NEVER_SENT: ReadonlySet<string> = new Set(['CONNECT', 'TRACE', 'TRACK']);

function checkMethod(method: string, data: Buffer | undefined, name: string): void {
  const shown = data === undefined ? '' : ` --data ${shellWord(data.toString().slice(0, 40))}`;
  const next = `offshoot invoke ${name} --method POST${shown}`;
  if (data !== undefined && (method === 'GET' || method === 'HEAD')) {
    throw new CliError('usage', `${method} sends no body, so there is no place for --data`, { next });
  }
  if (!/^[\w!#$%&'*+.^`|~-]+$/.test(method) || NEVER_SENT.has(method)) {
    throw new CliError('usage', `"${method}" is not a method that a function can be called with`, { next });
  }
}

/** The gateway may fail after it has numbered the call, and then answers from its catalogue of errors. */
async function isRefusal(response: Response): Promise<boolean> {
  if (response.ok || !response.headers.get('content-type')?.startsWith('application/json')) return false;
  const body: unknown = await response
    .clone()
    .json()
    .catch(() => undefined);
  const code = ErrorBody.safeParse(body).data?.error.code;
  return Object.entries(ERRORS).some(([known, { status }]) => known === code && status === response.status);
}

async function functionFailure(
  response: Response,
  outcome: Outcome,
  id: string | undefined,
  wanted: string,
): Promise<CliError> {
  const { meaning, next } = OUTCOMES[outcome];
  const body = ErrorBody.safeParse(await response.json().catch(() => undefined));
  const message = body.data?.error.message ?? meaning;
  const thrown = FunctionError.safeParse(body.data?.error.details?.['error']).data;
  const lines = thrown ? defuseLines(thrown.stack ?? `${thrown.name}: ${thrown.message}`) : [];
  if (id === undefined) lines.push(next);
  return new CliError('failed', message, {
    code: outcome,
    lines,
    details: { ...body.data?.error.details, id, outcome, status: response.status },
    next: id === undefined ? `offshoot logs ${wanted}` : `offshoot trace ${id}`,
  });
}

interface Timing {
  readonly name: string;
  readonly duration: number;
  readonly description: string | undefined;
}

/** The entries of a Server-Timing header that have a duration. */
export function parseServerTiming(header: string): Timing[] {
  return header.split(/,\s*(?=[\w-]+(?:;|$))/).flatMap((entry) => {
    const name = /^\s*([\w-]+)/.exec(entry)?.[1];
    const duration = /;dur=([\d.]+)/.exec(entry)?.[1];
    if (name === undefined || duration === undefined) return [];
    return { name, duration: Number(duration), description: /;desc="([^"]*)"/.exec(entry)?.[1] };
  });
}

/** JSON as a value, other text as a string, anything else in base64. */
export function bodyForJson(body: Buffer): Record<string, unknown> {
  let decoded: string;
  try {
    decoded = new TextDecoder('utf-8', { fatal: true }).decode(body);
  } catch {
    return { body: body.toString('base64'), encoding: 'base64' };
  }
  try {
    return { body: JSON.parse(decoded) };
  } catch {
    return { body: decoded };
  }
}
