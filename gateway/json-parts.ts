/**
 * JSON of a large answer, written in parts: lists of records and log lines are some megabytes, and to write one in one go would hold
 * everybody else up.
 */
import { Readable } from 'node:stream';
import { nextTurn, SLICE_BYTES } from '#contract/turns.ts';

type Write = (value: unknown) => string;

/** The same text as `write(value)`. The arrays that an object holds are written element by element, all else at once. */
export function* jsonParts(value: unknown, write: Write): Generator<string, void> {
  if (!isPlain(value)) {
    yield write(value);
    return;
  }
  let before = '{';
  for (const [key, member] of Object.entries(value)) {
    if (member === undefined) continue;
    yield `${before}${write(key)}:`;
    before = ',';
    if (Array.isArray(member)) yield* arrayParts(member, write);
    else yield write(member);
  }
  yield before === ',' ? '}' : '{}';
}

function* arrayParts(elements: readonly unknown[], write: Write): Generator<string, void> {
  yield '[';
  let before = '';
  for (const element of elements) {
    yield before + (element === undefined ? 'null' : write(element));
    before = ',';
  }
  yield ']';
}

function isPlain(value: unknown): value is object {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

/** Parts put together to texts of a slice each; a part alone may be longer. */
function* slicesOf(parts: Iterable<string>): Generator<string, void> {
  let text = '';
  for (const part of parts) {
    text += part;
    if (text.length < SLICE_BYTES) continue;
    yield text;
    text = '';
  }
  if (text !== '') yield text;
}

/** The JSON as a text when it is short, else as a stream that is written as it is read, a slice in a turn of the loop. */
export function jsonBody(value: unknown, write: Write): string | Readable {
  const slices = slicesOf(jsonParts(value, write));
  const first = slices.next().value ?? '';
  const second = slices.next();
  if (second.done === true) return first;
  return Readable.from(streamed([first, second.value], slices), { objectMode: false });
}

async function* streamed(begun: readonly string[], slices: Generator<string, void>): AsyncGenerator<Buffer> {
  for (const slice of begun) yield Buffer.from(slice);
  for (let next = slices.next(); next.done !== true; next = slices.next()) {
    yield Buffer.from(next.value);
    await nextTurn();
  }
}

/** The JSON as a text, however long, written a slice in a turn of the loop. */
export async function jsonText(value: unknown, write: Write): Promise<string> {
  const texts: string[] = [];
  for (const slice of slicesOf(jsonParts(value, write))) {
    if (texts.length > 0) await nextTurn();
    texts.push(slice);
  }
  return texts.join('');
}
