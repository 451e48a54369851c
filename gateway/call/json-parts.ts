/**
 * Writes the JSON of a large answer in parts. Lists of records and log lines have some megabytes, and writing one in a single
 * step would delay all other requests.
 */
import { Readable } from 'node:stream';
import { nextSlice, SLICE_BYTES } from '#contract/platform/slices.ts';

type Write = (value: unknown) => string;

/** Yields the text of `write(value)` in parts. Arrays directly in an object are written element by element, all else at once. */
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

/** Joins parts to texts of one slice each; a single part may be longer. */
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

/** Short JSON as a text, longer JSON as a stream. The stream writes one slice in each turn of the event loop, as it is read. */
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
    await nextSlice();
  }
}

/** JSON of any length as one text, of which one slice is written in each turn of the event loop. */
export async function jsonText(value: unknown, write: Write): Promise<string> {
  const texts: string[] = [];
  for (const slice of slicesOf(jsonParts(value, write))) {
    if (texts.length > 0) await nextSlice();
    texts.push(slice);
  }
  return texts.join('');
}
