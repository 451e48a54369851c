/** The items of a batch as they are read: of a file, a pipe or stdin, lines or an array. */
import { open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { CliError, messageOf } from '../../terminal/errors.ts';

const ARRAY = 'application/json';
const LINES = 'application/x-ndjson';
/** Upper bound on the first line of a file that is tried as a whole value: a line may be an array too. */
const PEEK_BYTES = 64 * 1_024;

export interface ItemSource {
  /** Content type of the body. */
  readonly type: string;
  /** Undefined where it is not known. */
  readonly size: number | undefined;
  /** Bytes that have been read of the body. */
  sent: number;
  whole: boolean;
  body(): ReadableStream<Uint8Array>;
  /** Reads no further: stdin, where more may come, would keep the command from ending. */
  close(): void;
}

/** Opens a file or a pipe by its path, or stdin for `-`, and reads as much of it as shows what it holds. */
export async function openItems(file: string): Promise<ItemSource> {
  try {
    const { stream, size } = file === '-' ? { stream: process.stdin, size: undefined } : await openFile(file);
    const pieces = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    // A line may be an array too, so a file that is named for lines is one of lines.
    const named = /\.(ndjson|jsonl)$/i.test(file);
    const { start, isArray } = named ? { start: [], isArray: false } : await peek(pieces);
    const source: ItemSource = {
      type: isArray ? ARRAY : LINES,
      size,
      sent: 0,
      whole: false,
      body: () =>
        Readable.toWeb(
          Readable.from(counted(source, start, pieces), { objectMode: false, highWaterMark: PEEK_BYTES }),
        ) as ReadableStream<Uint8Array>,
      close: () => void stream.destroy(),
    };
    return source;
  } catch (error) {
    throw new CliError('usage', `${file} cannot be read: ${messageOf(error)}`, {
      code: 'bad_usage',
      next: 'offshoot batch run FILE (one JSON value a line, or one JSON array)',
    });
  }
}

/** Only a regular file has a known size; the pipe of `<(command)` has none. */
async function openFile(file: string): Promise<{ stream: Readable; size: number | undefined }> {
  const handle = await open(file);
  const facts = await handle.stat();
  return { stream: handle.createReadStream(), size: facts.isFile() ? facts.size : undefined };
}

async function* counted(
  source: ItemSource,
  start: readonly Buffer[],
  rest: AsyncIterator<Buffer>,
): AsyncGenerator<Buffer> {
  const pieces = { [Symbol.asyncIterator]: () => rest };
  for (const piece of start) {
    source.sent += piece.length;
    yield piece;
  }
  for await (const piece of pieces) {
    source.sent += piece.length;
    yield piece;
  }
}

/** Reads until it is plain what the items are. */
async function peek(pieces: AsyncIterator<Buffer>): Promise<{ start: Buffer[]; isArray: boolean }> {
  const start: Buffer[] = [];
  let length = 0;
  for (;;) {
    const next = await pieces.next();
    if (next.done !== true) {
      start.push(next.value);
      length += next.value.length;
    }
    const text = Buffer.concat(start).toString('latin1').trimStart();
    const isArray = looksLikeArray(text, next.done === true || length >= PEEK_BYTES);
    if (isArray !== undefined) return { start, isArray };
  }
}

/** Undefined while it depends on what comes next. */
function looksLikeArray(text: string, isEnd: boolean): boolean | undefined {
  if (text === '') return isEnd ? false : undefined;
  if (!text.startsWith('[')) return false;
  const end = text.indexOf('\n');
  if (end < 0) return isEnd ? true : undefined;
  if (!isJson(text.slice(0, end))) return true;
  // A whole array in the first line: the only one, or one of many?
  if (text.slice(end).trim() !== '') return false;
  return isEnd ? true : undefined;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
