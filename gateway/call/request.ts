/** Turns an HTTP request, as it came from the socket, into the request that the function gets. */
import type { IncomingMessage } from 'node:http';
import { CALLBACK_HEADER } from '#contract/api/headers.ts';
import { FUNCTION_PREFIX } from '#contract/functions/function-path.ts';
import type { RequestMeta } from '#contract/wire/payload.ts';
import { API_KEY_PREFIX } from '../functions/api-keys.ts';

/** Headers of one connection, not of the request: https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1 */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Headers that the gateway sets itself or that are meant for it alone, and `expect`, which it has answered. */
const REPLACED: ReadonlySet<string> = new Set([
  CALLBACK_HEADER,
  'expect',
  'traceparent',
  'tracestate',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-prefix',
  'x-forwarded-proto',
]);

/** Form of a host in a URL: name or address, and perhaps a port. The gateway decides nothing by it; functions build links. */
const HOST = /^(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?$/;

/** The path `/fn/{namespace}/{name}/rest?query`, cut up without decoding anything. */
export interface FunctionPath {
  readonly namespace: string;
  readonly name: string;
  /** As the client sent it, with the query; starts with `/`. */
  readonly rest: string;
}

/**
 * Path and query of a request as they were sent. Only a proxy's absolute form (`GET http://host/path`) is brought to the usual
 * form. A function gets exactly the path that its caller wrote.
 */
export function rawTarget(url: string): string {
  if (url.startsWith('/')) return url;
  const absolute = /^https?:\/\/[^/?#]*/i.exec(url);
  if (!absolute) return url;
  const rest = url.slice(absolute[0].length);
  return rest.startsWith('/') ? rest : `/${rest}`;
}

/** Undefined when the path does not name a function. The names are not checked. */
export function parseFunctionPath(target: string): FunctionPath | undefined {
  const nameStart = target.indexOf('/', FUNCTION_PREFIX.length) + 1;
  if (nameStart === 0) return undefined;
  let nameEnd = nameStart;
  for (; nameEnd < target.length; nameEnd++) {
    const code = target.charCodeAt(nameEnd);
    if (code === 0x2f || code === 0x3f || code === 0x23) break; // / ? #
  }
  const rest = target.slice(nameEnd);
  return {
    namespace: target.slice(FUNCTION_PREFIX.length, nameStart - 1),
    name: target.slice(nameStart, nameEnd),
    rest: rest.startsWith('/') ? rest : `/${rest}`,
  };
}

/** The value of a header that comes once. */
export function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}

export interface Forwarding {
  /** Believe the X-Forwarded headers of the request. */
  readonly trustProxy: boolean;
  /** The header that carried the platform's key, which the function must not see. */
  readonly keyHeader: 'authorization' | 'x-api-key' | undefined;
}

const PLATFORM_KEY = new RegExp(`^(?:bearer\\s+)?${API_KEY_PREFIX}`, 'i');

/** Method, URL and headers for the function. Undefined when the Host header cannot be part of a URL. */
export function requestMeta(
  request: IncomingMessage,
  path: FunctionPath,
  forwarding: Forwarding,
  bodyBytes: number,
): RequestMeta | undefined {
  const incoming = request.headers;
  const trusted = forwarding.trustProxy;
  const host = (trusted && first(incoming['x-forwarded-host'])) || incoming.host || 'localhost';
  if (!HOST.test(host)) return undefined;
  const proto = trusted && first(incoming['x-forwarded-proto']) === 'https' ? 'https' : 'http';

  const headers: [string, string][] = [];
  const ofConnection = connectionHeaders(incoming.connection);
  const raw = request.rawHeaders;
  for (let index = 0; index < raw.length; index += 2) {
    const name = (raw[index] ?? '').toLowerCase();
    if (HOP_BY_HOP.has(name) || REPLACED.has(name) || name === forwarding.keyHeader) continue;
    if (ofConnection?.has(name)) continue;
    const value = raw[index + 1] ?? '';
    // A key of the platform stays hidden from the function, even where the call needed none.
    if ((name === 'authorization' || name === 'x-api-key') && PLATFORM_KEY.test(value)) continue;
    headers.push([name, value]);
  }
  if (incoming['transfer-encoding'] !== undefined) headers.push(['content-length', String(bodyBytes)]);
  const peer = request.socket.remoteAddress ?? 'unknown';
  const way = trusted && incoming['x-forwarded-for'];
  headers.push(
    ['x-forwarded-for', way ? `${String(way)}, ${peer}` : peer],
    ['x-forwarded-host', host],
    ['x-forwarded-proto', proto],
    ['x-forwarded-prefix', `${FUNCTION_PREFIX}${path.namespace}/${path.name}`],
  );
  return { kind: 'http', method: request.method ?? 'GET', url: `${proto}://${host}${path.rest}`, headers };
}

/** Names that a Connection header lists, which are hop-by-hop too. Undefined for the usual values, which list none. */
export function connectionHeaders(value: string | undefined): Set<string> | undefined {
  if (value === undefined || value === 'keep-alive' || value === 'close') return undefined;
  return new Set(value.split(',').map((name) => name.trim().toLowerCase()));
}

function first(value: string | string[] | undefined): string | undefined {
  return (Array.isArray(value) ? value[0] : value)?.split(',', 1)[0]?.trim();
}
