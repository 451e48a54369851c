/**
 * Describes what a function has thrown, as Node shows it: causes, members of an AggregateError, codes and own fields. Log, record,
 * errors of the load, items of a batch, dead letters and spans all have this description.
 */
import { inspect, types } from 'node:util';
import { showPositions } from './source-positions.ts';

/** Upper bound on the characters of each text, as the worker keeps them. */
const MAX_CHARACTERS = 16 * 1024;
/** Upper bound on the characters of a description that is made again, because it has left out a cause. */
const SMALL_CHARACTERS = 4 * 1024;
const DEPTH = 2;
const DEPTH_OF_CAUSES = 12;

export interface DescribedError {
  name: string;
  message: string;
  /** The whole description, with the stack; absent for a value that is not an error. */
  stack?: string;
}

export function describeError(thrown: unknown): DescribedError {
  if (!isError(thrown)) return { name: 'Error', message: bounded(describeOther(thrown)) };
  const error = thrown as Error;
  const name = read(() => error.name) ?? 'Error';
  const message = read(() => error.message) ?? '';
  const text = inspected(error) ?? '(the rest of the error cannot be read)';
  // Node leaves the message out when a getter throws.
  const whole = text.includes(message) ? text : `${name}: ${message}\n${text}`;
  return { name: bounded(name), message: bounded(message), stack: bounded(showPositions(whole)) };
}

/** Answers also for errors of another realm, such as that of `node:vm`, and for a DOMException. Calls no trap of a proxy. */
export function isError(value: unknown): boolean {
  return !types.isProxy(value) && (types.isNativeError(value) || value instanceof Error);
}

function describeOther(thrown: unknown): string {
  if (!types.isProxy(thrown) && thrown instanceof Response)
    return `a Response (status ${thrown.status}) was thrown; return it instead`;
  const text = typeof thrown === 'string' ? thrown : inspected(thrown);
  return `a value that is not an Error was thrown: ${text ?? typeof thrown}`;
}

/** Text as of console.error(); undefined if code of the function, such as a getter, throws meanwhile. */
function inspected(value: unknown): string | undefined {
  const at = (depth: number): string =>
    inspect(value, { depth, maxArrayLength: 20, maxStringLength: MAX_CHARACTERS });
  return read(() => {
    const text = at(DEPTH);
    // Beyond the depth, only the name of a cause is shown.
    const isCut = text.length < SMALL_CHARACTERS && /\[\w*(?:Error|Exception)\w*\]/.test(text);
    return isCut ? at(DEPTH_OF_CAUSES) : text;
  });
}

/** Reads a part of a value of the function's, whose getters may throw. */
function read(get: () => string): string | undefined {
  try {
    const text: unknown = get();
    return typeof text === 'string' ? text : undefined;
  } catch {
    return undefined;
  }
}

function bounded(text: string): string {
  return text.length > MAX_CHARACTERS ? `${text.slice(0, MAX_CHARACTERS - 1)}…` : text;
}
