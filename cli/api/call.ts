/** Calls a function: with an event by the API, or over HTTP at the function's own URL. */
import { INVOCATION_HEADER } from '#contract/api/headers.ts';
import { callPath } from '#contract/functions/function-path.ts';
import { DEFAULT_INLINE_BODY_BYTES } from '#contract/functions/limits.ts';
import { checkEvent } from '../terminal/data.ts';
import { CliError } from '../terminal/errors.ts';
import { shellWord } from '../terminal/text.ts';
import type { Client } from './client.ts';
import { functionPath } from './paths.ts';

export interface HttpOptions {
  readonly path: string | undefined;
  readonly method: string | undefined;
  /** Lines of the form `Name: value`. */
  readonly headers: readonly string[];
}

/** Sends an event by the API. Throws CliError for one that is not JSON. */
export async function sendEvent(
  client: Client,
  namespace: string,
  name: string,
  data: Buffer,
): Promise<Response> {
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
export async function sendHttp(
  client: Client,
  namespace: string,
  name: string,
  data: Buffer | undefined,
  options: HttpOptions,
): Promise<Response> {
  const headers: Record<string, string> = {};
  for (const line of options.headers) {
    const [key, value] = parseHeader(line, name);
    headers[key] = value;
  }
  const path = `/${(options.path ?? '').replace(/^\//, '')}`;
  const method = options.method?.toUpperCase() ?? (data === undefined ? 'GET' : 'POST');
  checkMethod(method, data, name);
  const url = `${callPath(namespace, name)}${path}`;
  const request = { method, headers, ...(data && { body: new Uint8Array(data) }) };
  // A large body goes only once, with the key: a refused one was sent in vain. The gateway never passes the key on.
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
