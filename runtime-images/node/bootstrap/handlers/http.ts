/**
 * Turns a request payload into a Request and a Response into frames. A fetch-style function sees only these standard classes of
 * the platform.
 */
import { ChannelKind, MAX_PIECE_BYTES, type InvokeContext } from '#contract/wire/channel.ts';
import {
  decodePayload,
  encodePayload,
  type RequestMeta,
  type ResponseMeta,
  type ScheduledEvent,
} from '#contract/wire/payload.ts';
import { wholeBody } from './body-stream.ts';
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
  await sendResponse(invocation, checkResponse(response));
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
  if (meta.method === 'GET' || meta.method === 'HEAD') return new Request(meta.url, init);
  if (body instanceof ReadableStream) {
    init.body = body;
    // The fetch standard requires this for a body of unknown length; the response need not wait for the end of the request.
    init.duplex = 'half';
  } else if (body.length > 0 || isEvent) init.body = body;
  return new Request(meta.url, init);
}

/** Also accepts a Response of another implementation of the standard, which a bundle may carry. */
function checkResponse(value: unknown): Response {
  if (value instanceof Response) return value;
  const looks = value as Partial<Response> | null | undefined;
  if (typeof looks?.status === 'number' && typeof looks.headers?.entries === 'function' && 'body' in looks) {
    return looks as Response;
  }
  const got = value === undefined ? 'nothing' : value === null ? 'null' : `a value of type ${typeof value}`;
  throw new BadResponseError(`fetch() must return a Response, but returned ${got}`);
}

export async function sendResponse(invocation: Invocation, response: Response): Promise<void> {
  if (response.status < 200) {
    throw new BadResponseError(`status ${response.status} cannot end an invocation; use 200 to 599`);
  }
  if (response.bodyUsed)
    throw new BadResponseError('the body of the returned Response has been read already');
  const meta: ResponseMeta = { status: response.status, headers: [...response.headers] };
  if (!response.body) {
    invocation.send(ChannelKind.RESULT, encodePayload(meta, EMPTY));
    return;
  }
  const reader = (response.body as ReadableStream<unknown>).getReader();
  invocation.hooks?.streams((reason) => reader.cancel(reason));
  const first = await reader.read();
  if (first.done) {
    invocation.send(ChannelKind.RESULT, encodePayload(meta, EMPTY));
    return;
  }
  const firstBytes = toBytes(first.value);
  const next = reader.read();
  const soon = await thisTurn(next);
  if (soon?.done && firstBytes.length <= MAX_PIECE_BYTES) {
    // The usual case: a complete body of one chunk.
    invocation.send(ChannelKind.RESULT, encodePayload(meta, firstBytes));
    return;
  }
  await streamBody(invocation, meta, firstBytes, next, reader);
}

/** Streams a body that is large or still being produced: each piece leaves at once. */
async function streamBody(
  invocation: Invocation,
  meta: ResponseMeta,
  firstBytes: Uint8Array,
  second: Promise<ReadableStreamReadResult<unknown>>,
  reader: ReadableStreamDefaultReader<unknown>,
): Promise<void> {
  await invocation.sendAndWait(
    ChannelKind.HEAD,
    encodePayload(meta, firstBytes.subarray(0, MAX_PIECE_BYTES)),
  );
  await sendPieces(invocation, firstBytes.subarray(MAX_PIECE_BYTES));
  for (let chunk = await second; !chunk.done; chunk = await reader.read()) {
    await sendPieces(invocation, toBytes(chunk.value));
  }
  invocation.send(ChannelKind.END);
}

async function sendPieces(invocation: Invocation, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; at += MAX_PIECE_BYTES) {
    await invocation.sendAndWait(ChannelKind.CHUNK, bytes.subarray(at, at + MAX_PIECE_BYTES));
  }
}

function toBytes(chunk: unknown): Uint8Array {
  if (chunk instanceof Uint8Array) return chunk;
  if (typeof chunk === 'string') return Buffer.from(chunk);
  throw new BadResponseError(`a chunk of the response body is a ${typeof chunk}; use Uint8Array or string`);
}

/** Returns the result of `promise` if it settles within this turn of the event loop, else undefined. */
async function thisTurn<T>(promise: Promise<T>): Promise<T | undefined> {
  const turn = Promise.withResolvers<undefined>();
  const immediate = setImmediate(() => turn.resolve(undefined));
  try {
    return await Promise.race([promise, turn.promise]);
  } finally {
    // Usually the immediate was not needed, and a turn without work costs one more system call.
    clearImmediate(immediate);
  }
}
