/** Types that all forms of a handler share: the invocation, the context that the function sees, and the answer. */
import type { ChannelKind, InvokeContext } from '#contract/wire/channel.ts';
import type { BodyStream } from './body-stream.ts';
import type { StopHooks } from './stop-hooks.ts';

/** A running invocation, as seen by the code that answers it. */
export interface Invocation {
  readonly handle: number;
  readonly context: InvokeContext;
  /** The request's body, when it is too large for the payload. */
  readonly body?: BodyStream;
  /** Tells the function's code that the invocation is to end. */
  readonly hooks?: StopHooks;
  /** Writes a frame of this invocation. */
  send(kind: ChannelKind, ...payload: Uint8Array[]): void;
  /** Writes a frame and waits while the worker is behind with reading. */
  sendAndWait(kind: ChannelKind, ...payload: Uint8Array[]): Promise<void>;
}

/** Third argument of a fetch-style function. */
export interface FunctionContext {
  readonly invocationId: string;
  readonly traceparent: string;
  /** Milliseconds until this invocation is killed. */
  remainingMs(): number;
  /** Keeps the sandbox running after the response until the promise has settled, within the time limit. */
  waitUntil(promise: Promise<unknown>): void;
}

/** Answers one invocation: takes the request payload and sends the response itself. */
export type Answer = (invocation: Invocation, payload: Buffer, context: FunctionContext) => Promise<void>;

/** Thrown when the function returned a value that is no response; the message names that value. */
export class BadResponseError extends Error {
  override readonly name = 'BadResponseError';
  readonly outcome = 'bad_response';
}

/** Thrown for a kind of call that the module has no handler for; the message names the handlers that it has. */
export class NoHandlerError extends Error {
  override readonly name = 'NoHandlerError';
  readonly outcome = 'no_handler';
}
