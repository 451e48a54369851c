import type { ChannelKind, InvokeContext } from '#contract/wire/channel.ts';
import type { BodyStream } from './body-stream.ts';

/** One running invocation, as the code that answers it sees it. */
export interface Invocation {
  readonly handle: number;
  readonly context: InvokeContext;
  /** The body of the request when it is too large to come in the payload. */
  readonly body?: BodyStream;
  /** Writes a frame of this invocation. */
  send(kind: ChannelKind, ...payload: Uint8Array[]): void;
  /** Writes a frame and waits while the worker is behind with reading. */
  sendAndWait(kind: ChannelKind, ...payload: Uint8Array[]): Promise<void>;
}

/** What a fetch-style function is given as its third argument. */
export interface FunctionContext {
  readonly invocationId: string;
  readonly traceparent: string;
  /** Milliseconds until this invocation is killed. */
  remainingMs(): number;
  /** Keeps the sandbox running after the response until the promise has settled, within the time limit. */
  waitUntil(promise: Promise<unknown>): void;
}

/** The two forms of a function: each takes a request payload and sends the answer itself. */
export type Answer = (invocation: Invocation, payload: Buffer, context: FunctionContext) => Promise<void>;

/** The function returned something that is no response; the message says what. */
export class BadResponseError extends Error {
  override readonly name = 'BadResponseError';
}
