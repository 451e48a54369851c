/**
 * `awslambda.streamifyResponse` and `awslambda.HttpResponseStream`, as the managed runtime of AWS has them in the global scope:
 * a handler writes its response into a stream, and `HttpResponseStream.from` puts status, headers and cookies in front.
 */
import { Writable } from 'node:stream';
import { ChannelKind, MAX_PIECE_BYTES } from '#contract/wire/channel.ts';
import { encodePayload, type ResponseMeta } from '#contract/wire/payload.ts';
import { named, toBytes } from '../body.ts';
import { BadResponseError, type Invocation } from '../invocation.ts';
import { headersOf } from './result.ts';

/** The mark by which the runtime of AWS knows such a handler. */
const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');

export type StreamingHandler = (event: unknown, stream: Writable, context: object) => unknown;

interface Prelude {
  readonly statusCode?: unknown;
  readonly headers?: unknown;
  readonly multiValueHeaders?: unknown;
  readonly cookies?: unknown;
}

/** Installs the global. To be called once. */
export function installAwsLambda(): void {
  const awslambda = {
    streamifyResponse(handler: StreamingHandler): StreamingHandler {
      if (typeof handler !== 'function') {
        throw new TypeError(`awslambda.streamifyResponse() takes a function, not ${named(handler)}`);
      }
      Object.defineProperty(handler, STREAMING, { value: 'response', configurable: true });
      return handler;
    },
    HttpResponseStream: {
      from(stream: Writable, prelude: Prelude): Writable {
        if (!(stream instanceof ResponseStream)) {
          throw new TypeError('HttpResponseStream.from() takes the response stream of the handler');
        }
        stream.begin(prelude ?? {});
        return stream;
      },
    },
  };
  Object.defineProperty(globalThis, 'awslambda', { value: awslambda, writable: true, configurable: true });
}

export function isStreaming(handler: object): boolean {
  return STREAMING in handler;
}

/** Runs a streaming handler. Its stream is ended when it returns, as on AWS. */
export async function answerStreaming(
  invocation: Invocation,
  call: (stream: Writable) => unknown,
): Promise<void> {
  const stream = new ResponseStream(invocation);
  const closed = new Promise<void>((resolve, reject) => {
    stream.once('close', resolve).once('error', reject);
  });
  closed.catch(() => undefined);
  try {
    await call(stream);
  } catch (error) {
    stream.destroy();
    throw error;
  }
  if (!stream.writableEnded) stream.end();
  await closed;
}

class ResponseStream extends Writable {
  readonly #invocation: Invocation;
  #meta: ResponseMeta | undefined;
  #contentType = 'application/octet-stream';
  #isOpen = false;

  constructor(invocation: Invocation) {
    super({ decodeStrings: true });
    this.#invocation = invocation;
  }

  /** Sets the type of a stream that has no status and headers of its own. */
  setContentType(type: string): void {
    this.#contentType = type;
  }

  /** Takes status, headers and cookies. They leave one turn later, if no byte has come until then. */
  begin(prelude: Prelude): void {
    if (this.#isOpen) throw new Error('HttpResponseStream.from(): the response has begun already');
    const status = Number(prelude.statusCode ?? 200);
    if (!Number.isInteger(status) || status < 200 || status > 599) {
      throw new BadResponseError(
        `HttpResponseStream.from() has statusCode ${String(prelude.statusCode)}; use 200 to 599`,
      );
    }
    const headers = headersOf(prelude, 'application/octet-stream');
    this.#meta = { status, headers };
    setImmediate(() => {
      if (!this.destroyed && !this.#isOpen) void this.#open(new Uint8Array(0));
    });
  }

  override _write(chunk: unknown, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    void this.#writeThenTell(chunk, done);
  }

  async #writeThenTell(chunk: unknown, done: (error?: Error | null) => void): Promise<void> {
    try {
      await this.#send(chunk);
    } catch (error) {
      return done(error instanceof Error ? error : new Error(String(error)));
    }
    done();
  }

  override _final(done: (error?: Error | null) => void): void {
    if (this.#isOpen) this.#invocation.send(ChannelKind.END);
    else this.#invocation.send(ChannelKind.RESULT, encodePayload(this.#head(), new Uint8Array(0)));
    done();
  }

  async #send(chunk: unknown): Promise<void> {
    const bytes = toBytes(chunk);
    let at = 0;
    if (!this.#isOpen) {
      at = MAX_PIECE_BYTES;
      await this.#open(bytes.subarray(0, at));
    }
    for (; at < bytes.length; at += MAX_PIECE_BYTES) {
      await this.#invocation.sendAndWait(ChannelKind.CHUNK, bytes.subarray(at, at + MAX_PIECE_BYTES));
    }
  }

  async #open(bytes: Uint8Array): Promise<void> {
    this.#isOpen = true;
    await this.#invocation.sendAndWait(ChannelKind.HEAD, encodePayload(this.#head(), bytes));
  }

  #head(): ResponseMeta {
    const { status, headers }: ResponseMeta = this.#meta ?? {
      status: 200,
      headers: [['content-type', this.#contentType]],
    };
    // The length of a stream is known at its end only.
    return { status, headers: headers.filter(([name]) => name !== 'content-length') };
  }
}
