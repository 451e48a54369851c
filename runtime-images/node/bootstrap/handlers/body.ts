/** Sends a response body of any kind: whole in one frame if it is complete at once, else piece by piece as it is made. */
import { ChannelKind, MAX_PIECE_BYTES } from '#contract/wire/channel.ts';
import { encodePayload, type ResponseMeta } from '#contract/wire/payload.ts';
import { announcedLength } from '../runtime/decoded-fetch.ts';
import { BadResponseError, type Invocation } from './invocation.ts';

const EMPTY = new Uint8Array(0);

/** Source of a body's pieces, such as the reader of a web stream. */
export interface BodyReader {
  read(): Promise<{ readonly done: boolean; readonly value?: unknown }>;
  /** Tells the source that no more is wanted. */
  cancel?(reason: unknown): Promise<unknown>;
}

/** Lengths that streams made by FixedLengthStream will have. */
const fixedLengths = new WeakMap<object, string>();

/**
 * A stream whose length is known before its bytes, as in Workers: its response keeps its `content-length`. A body of another
 * length is an error of the stream.
 */
export class FixedLengthStream extends TransformStream<Uint8Array, Uint8Array> {
  constructor(length: number | bigint) {
    const total = Number(length);
    if (!Number.isSafeInteger(total) || total < 0)
      throw new TypeError(`not a length in bytes: ${String(length)}`);
    let left = total;
    super({
      transform(chunk, controller) {
        left -= chunk.byteLength;
        if (left < 0)
          throw new TypeError(`the body is longer than the ${total} bytes of its FixedLengthStream`);
        controller.enqueue(chunk);
      },
      flush() {
        if (left > 0) throw new TypeError(`the body is ${left} bytes shorter than its FixedLengthStream`);
      },
    });
    fixedLengths.set(this.readable, String(total));
  }
}

/**
 * Sends status and headers at the latest one turn of the event loop after this call, so that a stream begins before its first
 * byte. `stream` is the body itself, by which its length may be known; `length` is one that is certain.
 */
export async function sendBody(
  invocation: Invocation,
  meta: ResponseMeta,
  reader: BodyReader,
  stream: object = reader,
  length?: string,
): Promise<void> {
  invocation.hooks?.streams(async (reason) => await reader.cancel?.(reason));
  let waits = true;
  let isOpen = false;
  const turn = Promise.withResolvers<undefined>();
  const immediate = setImmediate(() => {
    if (waits) {
      isOpen = true;
      invocation.send(ChannelKind.HEAD, encodePayload(streamMeta(meta, stream, length), EMPTY));
    }
    turn.resolve(undefined);
  });
  try {
    const first = await reader.read();
    waits = false;
    if (isOpen) return await sendRest(invocation, reader, first);
    if (first.done) return invocation.send(ChannelKind.RESULT, encodePayload(meta, EMPTY));
    const bytes = toBytes(first.value);
    const mended = withoutStaleCoding(meta, bytes);
    const next = reader.read();
    const soon = await Promise.race([next, turn.promise]);
    if (soon?.done && bytes.length <= MAX_PIECE_BYTES) {
      // The usual case: a complete body of one chunk.
      return invocation.send(ChannelKind.RESULT, encodePayload(mended, bytes));
    }
    await invocation.sendAndWait(
      ChannelKind.HEAD,
      encodePayload(streamMeta(mended, stream, length), bytes.subarray(0, MAX_PIECE_BYTES)),
    );
    await sendPieces(invocation, bytes.subarray(MAX_PIECE_BYTES));
    await sendRest(invocation, reader, await next);
  } catch (error) {
    void reader.cancel?.(error).catch(() => undefined);
    throw error;
  } finally {
    waits = false;
    // Usually the immediate was not needed, and a turn without work costs one more system call.
    clearImmediate(immediate);
  }
}

async function sendRest(
  invocation: Invocation,
  reader: BodyReader,
  from: { readonly done: boolean; readonly value?: unknown },
): Promise<void> {
  for (let chunk = from; !chunk.done; chunk = await reader.read()) {
    await sendPieces(invocation, toBytes(chunk.value));
  }
  invocation.send(ChannelKind.END);
}

async function sendPieces(invocation: Invocation, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; at += MAX_PIECE_BYTES) {
    await invocation.sendAndWait(ChannelKind.CHUNK, bytes.subarray(at, at + MAX_PIECE_BYTES));
  }
}

/** Sends a response whose body is complete, in pieces if it is large. */
export async function sendWhole(invocation: Invocation, meta: ResponseMeta, body: Uint8Array): Promise<void> {
  if (body.length <= MAX_PIECE_BYTES) {
    invocation.send(ChannelKind.RESULT, encodePayload(meta, body));
    return;
  }
  const known = { ...meta, headers: [...meta.headers.filter(notLength), lengthOf(body)] };
  await invocation.sendAndWait(ChannelKind.HEAD, encodePayload(known, body.subarray(0, MAX_PIECE_BYTES)));
  await sendPieces(invocation, body.subarray(MAX_PIECE_BYTES));
  invocation.send(ChannelKind.END);
}

const lengthOf = (body: Uint8Array): [string, string] => ['content-length', String(body.length)];
const notLength = ([name]: readonly [string, string]): boolean => name.toLowerCase() !== 'content-length';

/**
 * Leaves out the length of a streamed body unless it is certain. A function that copies headers announces the length of another
 * body, and the gateway would have to cut the response off in the middle.
 */
function streamMeta(meta: ResponseMeta, stream: object, length: string | undefined): ResponseMeta {
  const known = length ?? announcedLength(stream) ?? fixedLengths.get(stream);
  const headers = meta.headers.filter(notLength);
  if (known !== undefined) headers.push(['content-length', known]);
  return { status: meta.status, headers };
}

/** First bytes of the formats that have such: https://www.rfc-editor.org/rfc/rfc1952#section-2.3.1 and rfc8878#section-3.1.1 */
const MAGIC: Readonly<Record<string, readonly number[]>> = {
  gzip: [0x1f, 0x8b],
  'x-gzip': [0x1f, 0x8b],
  zstd: [0x28, 0xb5, 0x2f, 0xfd],
};

/** Leaves out a `content-encoding` that the body shows to be wrong: a client that had decoded it has passed its headers on. */
export function withoutStaleCoding(meta: ResponseMeta, bytes: Uint8Array): ResponseMeta {
  for (const [name, value] of meta.headers) {
    if (name !== 'content-encoding') continue;
    const magic = MAGIC[value.trim().toLowerCase()];
    // A part of a body (206) begins anywhere.
    if (!magic || meta.status === 206 || bytes.length < magic.length) return meta;
    if (magic.every((byte, index) => bytes[index] === byte)) return meta;
    return { status: meta.status, headers: meta.headers.filter((header) => header[0] !== name) };
  }
  return meta;
}

/** Returns the bytes of a chunk of a body. */
export function toBytes(chunk: unknown): Uint8Array {
  if (chunk instanceof Uint8Array) return chunk;
  if (typeof chunk === 'string') return Buffer.from(chunk);
  const bytes = binaryOf(chunk);
  if (bytes) return bytes;
  throw new BadResponseError(`a chunk of the response body is ${named(chunk)}; use Uint8Array or string`);
}

/** Returns the bytes of a buffer or a view of one, undefined for anything else. */
export function binaryOf(value: unknown): Uint8Array | undefined {
  if (value instanceof Uint8Array) return value;
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) return new Uint8Array(value);
  return undefined;
}

/** Returns a reader of a web stream, Node stream, async iterable or Blob; undefined for anything else. */
export function readerOf(body: unknown): BodyReader | undefined {
  if (typeof body !== 'object' || body === null) return undefined;
  const stream = body as Partial<
    ReadableStream<unknown> & AsyncIterable<unknown> & Blob & { locked: boolean }
  >;
  if (typeof stream.getReader === 'function') {
    if (stream.locked) throw new BadResponseError(LOCKED);
    return stream.getReader();
  }
  if (typeof stream[Symbol.asyncIterator] === 'function') {
    const iterator = (stream as AsyncIterable<unknown>)[Symbol.asyncIterator]();
    return {
      read: async () => (await iterator.next()) as { done: boolean; value?: unknown },
      cancel: async () => await iterator.return?.(),
    };
  }
  if (typeof stream.stream === 'function') return readerOf(stream.stream());
  return undefined;
}

export const LOCKED =
  'the body of the returned Response is locked, because something else reads it; return a Response that nothing has read, or response.clone()';

/** Names a value for a sentence: `a string`, `an object of class Date`. */
export function named(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (typeof value !== 'object') return typeof value === 'function' ? 'a function' : `a ${typeof value}`;
  const name: unknown = (value as { constructor?: { name?: unknown } }).constructor?.name;
  return typeof name === 'string' && name !== '' && name !== 'Object'
    ? `an object of class ${name}`
    : 'a plain object';
}
