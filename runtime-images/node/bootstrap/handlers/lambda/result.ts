/** Reads the result of a Lambda-style function: a response if it has a statusCode, else a JSON value. */
import type { HeaderList, ResponseMeta } from '#contract/wire/payload.ts';
import { binaryOf, named, readerOf, withoutStaleCoding, type BodyReader } from '../body.ts';
import { addHeader, badStatus, headerList } from '../foreign.ts';
import { BadResponseError } from '../invocation.ts';

export type Answer = { readonly meta: ResponseMeta } & (
  | { readonly body: Uint8Array }
  | { readonly reader: BodyReader; readonly stream: object }
);

interface LambdaResult {
  readonly statusCode: unknown;
  readonly headers?: unknown;
  readonly multiValueHeaders?: unknown;
  readonly cookies?: unknown;
  readonly body?: unknown;
  readonly isBase64Encoded?: unknown;
}

/** Headers of which a response has one. */
const SINGLE: ReadonlySet<string> = new Set([
  'content-type',
  'content-length',
  'content-encoding',
  'location',
  'etag',
  'last-modified',
  'retry-after',
]);

/** The answer of an event: its value as JSON, `null` for none. */
export function jsonAnswer(value: unknown): { readonly meta: ResponseMeta; readonly body: Uint8Array } {
  const json = JSON.stringify(value === undefined ? null : value);
  if (json === undefined) throw new BadResponseError(`handler() returned ${named(value)}, which is not JSON`);
  return { meta: { status: 200, headers: [['content-type', 'application/json']] }, body: Buffer.from(json) };
}

/** The answer to an HTTP request. A text without a statusCode is the body as it is, any other value becomes JSON. */
export function httpAnswer(value: unknown): Answer {
  if (typeof value === 'string') {
    const headers: HeaderList = [['content-type', 'application/json']];
    return { meta: { status: 200, headers }, body: Buffer.from(value) };
  }
  if (typeof value !== 'object' || value === null || !('statusCode' in value)) return jsonAnswer(value);
  const result = value as LambdaResult;
  const meta: ResponseMeta = { status: statusOf(result.statusCode), headers: headersOf(result) };
  const body = bodyOf(result);
  return body instanceof Uint8Array ? { meta: withoutStaleCoding(meta, body), body } : { meta, ...body };
}

/** A status may be text, as in results that were JSON of another system. */
function statusOf(given: unknown): number {
  const status = typeof given === 'string' && /^\s*\d{3}\s*$/.test(given) ? Number(given) : given;
  if (typeof status === 'number' && Number.isInteger(status) && status >= 200 && status <= 599) return status;
  throw new BadResponseError(
    `handler() returned statusCode ${typeof given === 'number' ? String(given) : (JSON.stringify(given) ?? named(given))}; ${badStatus(status).split('; ')[1] ?? ''}`,
  );
}

export function headersOf(
  { headers, multiValueHeaders, cookies }: Omit<LambdaResult, 'statusCode'>,
  contentType = 'application/json',
): HeaderList {
  const single = headerList(headers);
  const multiple = headerList(multiValueHeaders);
  const byMultiple = new Set(multiple.map(([name]) => name));
  // API Gateway merges both maps; where a response has one such header, the one of multiValueHeaders counts.
  const merged = single.filter(
    ([name, value]) =>
      !byMultiple.has(name) ||
      (!SINGLE.has(name) && !multiple.some((other) => other[0] === name && other[1] === value)),
  );
  const list = onlyLast([...merged, ...multiple]);
  if (cookies !== undefined && cookies !== null) {
    if (typeof cookies !== 'string' && !Array.isArray(cookies)) {
      throw new BadResponseError(
        `cookies of the result of handler() is ${named(cookies)}; use an array of strings`,
      );
    }
    addHeader(list, 'set-cookie', cookies);
  }
  if (!list.some(([name]) => name === 'content-type')) list.push(['content-type', contentType]);
  return list;
}

/** Keeps the last of several headers of which a response has one: `Content-Type` beside `content-type`. */
function onlyLast(list: HeaderList): HeaderList {
  return list.filter(
    ([name], index) => !SINGLE.has(name) || index === list.findLastIndex((other) => other[0] === name),
  );
}

function bodyOf({
  body,
  isBase64Encoded,
}: LambdaResult): Uint8Array | { reader: BodyReader; stream: object } {
  if (body === undefined || body === null) return new Uint8Array(0);
  const isBase64 = isBase64Encoded === true || isBase64Encoded === 'true';
  if (typeof body === 'string') return Buffer.from(body, isBase64 ? 'base64' : 'utf8');
  if (typeof body === 'number' || typeof body === 'boolean' || typeof body === 'bigint')
    return Buffer.from(String(body));
  const bytes = binaryOf(body);
  if (bytes) return bytes;
  const reader = readerOf(body);
  if (reader) return { reader, stream: body };
  const json = typeof body === 'object' ? JSON.stringify(body) : undefined;
  if (json === undefined) {
    throw new BadResponseError(
      `the body of the result of handler() is ${named(body)}; use a string, a Uint8Array or a stream`,
    );
  }
  return Buffer.from(json);
}
