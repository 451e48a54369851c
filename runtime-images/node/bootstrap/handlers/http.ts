/**
 * Turns a request payload into a Request and a Response into frames. A fetch-style function sees only these standard classes of
 * the platform.
 */
import { ChannelKind, type InvokeContext } from '#contract/wire/channel.ts';
import {
  decodePayload,
  encodePayload,
  type RequestMeta,
  type ResponseMeta,
  type ScheduledEvent,
} from '#contract/wire/payload.ts';
import { wholeBody } from './body-stream.ts';
import { LOCKED, sendBody, type BodyReader } from './body.ts';
import { badStatus, sendForeign, USED } from './foreign.ts';
import { BadResponseError, type Invocation } from './invocation.ts';

const EMPTY = new Uint8Array(0);

/** Calls `handler` with the request in `payload` and sends its response. Rejects as the handler does. */
export async function answerHttp(
  invocation: Invocation,
  payload: Buffer,
  handler: (request: Request) => unknown,
  scheduled?: (event: ScheduledEvent) => unknown,
): Promise<void> {
  // The gateway made the payload by its own schema, so it is trusted.
  const { meta, body } = decodePayload(payload) as { meta: RequestMeta; body: Buffer<ArrayBuffer> };
  showOwnContext(meta, invocation.context);
  if (meta.kind === 'scheduled' && scheduled) {
    await scheduled(JSON.parse((await wholeBody(invocation.body, body)).toString('utf8')) as ScheduledEvent);
    invocation.send(ChannelKind.RESULT, encodePayload({ status: 204, headers: [] }, EMPTY));
    return;
  }
  const make = (): Request => toRequest(meta, invocation.body?.stream() ?? body);
  const response = await handler(invocation.hooks?.request(make) ?? make());
  const isHead = meta.method === 'HEAD';
  if (response instanceof Response) await sendResponse(invocation, response, isHead);
  else await sendForeign(invocation, response, isHead);
}

/**
 * Puts this attempt's `traceparent` into the headers: a later attempt reuses the first request, whose header names the first
 * span.
 */
export function showOwnContext({ headers }: RequestMeta, { traceparent }: InvokeContext): void {
  const header = headers.findLast(([name]) => name === 'traceparent');
  if (header && traceparent !== '') header[1] = traceparent;
}

function toRequest(meta: RequestMeta, body: Buffer<ArrayBuffer> | ReadableStream): Request {
  const isEvent = meta.kind !== 'http';
  const init: RequestInit & { duplex?: 'half' } = isEvent
    ? { method: 'POST', headers: [['content-type', 'application/json']] }
    : { method: meta.method, headers: meta.headers };
  // The fetch standard forbids a body for these two.
  if (meta.method === 'GET' || meta.method === 'HEAD') {
    if (body instanceof ReadableStream || body.length > 0) init.headers = withoutBody(meta);
    return new Request(meta.url, init);
  }
  if (body instanceof ReadableStream) {
    init.body = body;
    // The fetch standard requires this for a body of unknown length; the response need not wait for the end of the request.
    init.duplex = 'half';
  } else if (body.length > 0 || isEvent) init.body = body;
  return new Request(meta.url, init);
}

const OF_BODY: ReadonlySet<string> = new Set([
  'content-length',
  'content-type',
  'content-encoding',
  'content-language',
  'content-location',
  'transfer-encoding',
]);

/** Takes the headers of a body away that the request cannot have, and says so in the log: no length may stand beside nothing. */
function withoutBody({ method, headers }: RequestMeta): [string, string][] {
  const bytes = headers.find(([name]) => name === 'content-length')?.[1] ?? 'unknown';
  console.warn(
    `the body of this ${method} request (content-length: ${bytes}) was left out with its headers: a Request has no body for ${method}; send it by POST or QUERY`,
  );
  return headers.filter(([name]) => !OF_BODY.has(name));
}

export async function sendResponse(
  invocation: Invocation,
  response: Response,
  isHead = false,
): Promise<void> {
  if (response.status < 200) throw new BadResponseError(badStatus(response.status));
  if (response.bodyUsed) throw new BadResponseError(USED);
  const meta: ResponseMeta = { status: response.status, headers: [...response.headers] };
  const { body } = response;
  if (!body || isHead) {
    invocation.send(ChannelKind.RESULT, encodePayload(meta, EMPTY));
    // The answer to HEAD needs none of the body, and its maker may stop.
    if (body && !body.locked) void body.cancel().catch(() => undefined);
    return;
  }
  let reader: BodyReader;
  try {
    reader = body.getReader();
  } catch {
    throw new BadResponseError(LOCKED);
  }
  await sendBody(invocation, meta, reader, body);
}
