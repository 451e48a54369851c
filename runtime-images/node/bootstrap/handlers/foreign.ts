/**
 * Takes what is not a Response of the platform but has all that one needs: the classes of node-fetch, undici and polyfills, and
 * plain objects with a status. Anything else is refused with a sentence that says how to answer.
 */
import type { HeaderList } from '#contract/wire/payload.ts';
import { isDecoded } from '../runtime/decoded-fetch.ts';
import { binaryOf, LOCKED, named, readerOf, sendBody, sendWhole } from './body.ts';
import { BadResponseError, type Invocation } from './invocation.ts';

interface ResponseLike {
  readonly status: number;
  readonly headers?: unknown;
  readonly body?: unknown;
  readonly bodyUsed?: unknown;
  readonly url?: unknown;
}

/** Has the value what this module needs of a response? */
export function isResponseLike(value: unknown): value is ResponseLike {
  if (typeof value !== 'object' || value === null) return false;
  return typeof (value as ResponseLike).status === 'number' && ('headers' in value || 'body' in value);
}

/** Sends a response of another class. Throws BadResponseError with a sentence where a part of it cannot be sent. */
export async function sendForeign(invocation: Invocation, value: unknown, isHead: boolean): Promise<void> {
  if (!isResponseLike(value)) throw new BadResponseError(refusal(value));
  const { status, body } = value;
  if (!Number.isInteger(status) || status < 200 || status > 599)
    throw new BadResponseError(badStatus(status));
  if (value.bodyUsed === true) throw new BadResponseError(USED);
  let headers = headerList(value.headers);
  // Only a client's answer has a URL, and such clients have decoded the body already.
  const coding = headers.find(([name]) => name === 'content-encoding')?.[1];
  if (typeof value.url === 'string' && value.url !== '' && coding !== undefined && isDecoded(coding)) {
    headers = headers.filter(([name]) => name !== 'content-encoding' && name !== 'content-length');
  }
  const meta = { status, headers };
  if (body === undefined || body === null || isHead)
    return await sendWhole(invocation, meta, new Uint8Array(0));
  const whole = typeof body === 'string' ? Buffer.from(body) : binaryOf(body);
  if (whole) return await sendWhole(invocation, meta, whole);
  const reader = readerOf(body);
  if (!reader) {
    throw new BadResponseError(
      `the body of the response is ${named(body)}; use a string, a Uint8Array or a stream, or Response.json(value)`,
    );
  }
  await sendBody(invocation, meta, reader, body);
}

export const USED = 'the body of the returned Response has been read already';
export { LOCKED };

export function badStatus(status: unknown): string {
  return `status ${String(status)} cannot end an invocation; use 200 to 599`;
}

/** Says why a value that fetch() returned is no response, and how to answer with it. */
function refusal(value: unknown): string {
  const returned = `fetch() must return a Response, but returned ${named(value)}`;
  if (typeof value === 'string' || binaryOf(value)) return `${returned}; write: return new Response(value)`;
  if (typeof value !== 'object' || value === null) return returned;
  if ('statusCode' in value) {
    return `${returned} with a statusCode, which is a result of a Lambda-style function; export it as "handler", or return new Response(body, { status, headers })`;
  }
  if (readerOf(value)) return `${returned}; write: return new Response(stream)`;
  return `${returned}; write: return Response.json(value)`;
}

/**
 * Returns headers of any form as a list: a Headers of any class, a Map, pairs, or an object whose values may be arrays. Header
 * names are in lower case. Throws BadResponseError, which names the header, for a value that is no text.
 */
export function headerList(given: unknown): HeaderList {
  if (given === undefined || given === null) return [];
  if (typeof given !== 'object')
    throw new BadResponseError(`the headers of the response are ${named(given)}`);
  const list: HeaderList = [];
  const source = given as {
    getSetCookie?: () => unknown;
    raw?: () => Record<string, unknown>;
    entries?: () => Iterable<unknown>;
    [Symbol.iterator]?: () => Iterator<unknown>;
  };
  // A class without these two has joined several cookies to one text, which cannot be taken apart.
  const cookies =
    typeof source.getSetCookie === 'function'
      ? source.getSetCookie()
      : typeof source.raw === 'function'
        ? source.raw()['set-cookie']
        : undefined;
  const isPairs = typeof source[Symbol.iterator] === 'function';
  const pairs = isPairs ? (given as Iterable<unknown>) : Object.entries(given);
  for (const pair of pairs) {
    if (!Array.isArray(pair))
      throw new BadResponseError('the headers of the response are no pairs of name and value');
    const name = String(pair[0]).toLowerCase();
    if (name === 'set-cookie' && Array.isArray(cookies)) continue;
    addHeader(list, name, pair[1]);
  }
  if (Array.isArray(cookies)) for (const cookie of cookies) addHeader(list, 'set-cookie', cookie);
  return list;
}

/** Adds a header: each member of an array by itself, nothing for undefined and null. */
export function addHeader(list: HeaderList, name: string, value: unknown): void {
  if (value === undefined || value === null) return;
  if (Array.isArray(value)) {
    for (const member of value as unknown[]) addHeader(list, name, member);
    return;
  }
  if (
    typeof value === 'string' ||
    typeof value === 'number' ||
    typeof value === 'boolean' ||
    typeof value === 'bigint'
  ) {
    list.push([name, String(value)]);
    return;
  }
  throw new BadResponseError(
    `the header ${name} of the response is ${named(value)}; use a string or an array of strings`,
  );
}
