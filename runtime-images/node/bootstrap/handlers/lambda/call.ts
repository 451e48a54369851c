/**
 * Calls a Lambda-style function and waits for its result, in each way in which such a function may give it: a promise, a value,
 * `callback(error, result)`, and `succeed`, `fail` and `done` of the context. The first one counts, as on AWS.
 */
import { BadResponseError } from '../invocation.ts';
import { emptyLoop, openResources } from './event-loop.ts';

export type LambdaHandler = (event: unknown, context: object, callback: Callback) => unknown;

type Callback = (error?: unknown, result?: unknown) => void;

export interface CallbackContext {
  callbackWaitsForEmptyEventLoop: boolean;
}

/** The end of a call. `leftover` is work that belongs to the invocation, until the event loop is empty. */
export interface LambdaEnd {
  readonly result: unknown;
  /** Set where the function answered by a callback. */
  readonly leftover?: Promise<void>;
}

/**
 * Resolves to the result. Rejects as the function does, and with a BadResponseError when nothing is left in the event loop that
 * could still call the callback. `context` gets the three methods.
 */
export async function callLambda(
  handler: LambdaHandler,
  event: unknown,
  context: CallbackContext,
): Promise<LambdaEnd> {
  const before = openResources();
  const given = Promise.withResolvers<unknown>();
  let isAnswered = false;
  const settle = (how: () => void): void => {
    isAnswered = true;
    how();
  };
  const callback: Callback = (error, result) => {
    if (error === undefined || error === null) settle(() => given.resolve(result));
    else settle(() => given.reject(error));
  };
  const methods = {
    succeed: (result?: unknown) => callback(null, result),
    fail: (error?: unknown) => callback(error ?? new Error('handled')),
    done: callback,
  };
  for (const [name, value] of Object.entries(methods)) {
    // Not enumerable: the context is often printed.
    Object.defineProperty(context, name, { value, writable: true, configurable: true });
  }
  const returned = handler(event, context, callback);
  if (isThenable(returned)) {
    // Both may come; the first one counts.
    const answered = given.promise.then((result) => ({ result, isCallback: true }));
    const resolved = Promise.resolve(returned).then((result) => ({ result, isCallback: false }));
    const first = await Promise.race([answered, resolved]);
    resolved.catch(() => undefined);
    return { result: first.result };
  }
  if (!isAnswered && isValue(returned)) return { result: returned };
  const abandoned = new AbortController();
  const idle = emptyLoop(before, abandoned.signal);
  const end = await Promise.race([
    given.promise.then((result) => ({ result })),
    idle.then(() => undefined),
  ]).catch((error: unknown) => {
    abandoned.abort();
    throw error;
  });
  if (!end) {
    if (handler.length < 3) return { result: undefined };
    throw new BadResponseError(
      'handler(event, context, callback) has returned without a promise, has not called its callback, and nothing is left that could call it',
    );
  }
  if (context.callbackWaitsForEmptyEventLoop) return { result: end.result, leftover: idle };
  abandoned.abort();
  return { result: end.result };
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
  );
}

/**
 * Is this the result of a function that is not async? An object of a class may be the value of any last expression, such as the
 * server of aws-serverless-express. The callback is then still to come.
 */
function isValue(value: unknown): boolean {
  if (value === undefined || typeof value === 'function' || typeof value === 'symbol') return false;
  if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Response)
    return true;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
