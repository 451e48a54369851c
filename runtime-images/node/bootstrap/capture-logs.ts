/**
 * `console` and process.stdout/stderr become log frames on the channel, in order with the response, each with the handle
 * of the invocation that wrote it; so does what `fs` writes to descriptors 1 and 2. What native code, worker threads or child
 * processes write there goes the other way: through the pipes that the worker holds.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { Writable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { formatWithOptions } from 'node:util';
import { LOG_HAS_SPAN } from '#contract/channel.ts';
import { mapPositions } from './describe-error.ts';
import { captureOutputCalls } from './output-calls.ts';

/** Index in LogLevel of the contract. */
const LEVELS = ['debug', 'info', 'log', 'warn', 'error', 'stdout', 'stderr'] as const;
type Level = (typeof LEVELS)[number];

/** Text of one frame; longer output is cut into several. */
const MAX_TEXT_CHARACTERS = 48 * 1024;

/** The invocation that the code running now belongs to. */
export const currentHandle = new AsyncLocalStorage<number>();

/** Id of the span of the function's own that the code running now belongs to; tracing.ts knows. */
export const logSpan: { current: () => string | undefined } = { current: () => undefined };

/** To be called once; `send` is where the frames go at the time. */
export function captureLogs(send: (handle: number, level: Uint8Array, text: string) => void): void {
  const emit = (level: Level, text: string): void => {
    const mapped = mapPositions(text);
    const span = logSpan.current();
    const index = LEVELS.indexOf(level);
    const levelByte =
      span === undefined
        ? Buffer.from([index])
        : Buffer.concat([Buffer.from([index | LOG_HAS_SPAN]), Buffer.from(span, 'hex')]);
    for (let at = 0, end = 0; at === 0 || at < mapped.length; at = end) {
      end = at + MAX_TEXT_CHARACTERS;
      // A character of two code units goes as a whole.
      if ((mapped.codePointAt(end - 1) ?? 0) > 0xffff) end--;
      send(currentHandle.getStore() ?? 0, levelByte, mapped.slice(at, end));
    }
  };
  for (const level of ['debug', 'info', 'log', 'warn', 'error'] as const) {
    console[level] = (...values: unknown[]) => emit(level, formatWithOptions({}, ...values));
  }
  console.trace = (...values: unknown[]) => {
    const trace = { name: 'Trace', message: formatWithOptions({}, ...values), stack: '' };
    Error.captureStackTrace(trace, console.trace);
    emit('error', trace.stack);
  };
  const stdout = new OutputStream('stdout', 1, emit);
  const stderr = new OutputStream('stderr', 2, emit);
  streams.push(stdout, stderr);
  captureOutputCalls({ 1: (bytes) => stdout.write(bytes), 2: (bytes) => stderr.write(bytes) });
}

const streams: OutputStream[] = [];

/** An invocation settles: half of a character, of which nothing more comes, is shown as what it is. */
export function endOutput(handle: number): void {
  for (const stream of streams) stream.end(handle);
}

class OutputStream {
  readonly #name: 'stdout' | 'stderr';
  readonly #emit: (level: Level, text: string) => void;
  // Bytes may end in the middle of a character, when they are those of a child process. They go on in what the same
  // invocation writes next.
  #decoder = new StringDecoder('utf8');
  #writer: number | undefined;

  /** Takes the place of the stream of the process. */
  constructor(name: 'stdout' | 'stderr', fd: number, emit: (level: Level, text: string) => void) {
    this.#name = name;
    this.#emit = emit;
    const stream = new Writable({
      decodeStrings: false,
      write: (chunk: string | Buffer, _encoding, done): void => {
        this.write(chunk);
        done();
      },
    });
    Object.defineProperty(stream, 'fd', { value: fd });
    Object.defineProperty(process, name, { value: stream, configurable: true, enumerable: true });
  }

  write(chunk: string | Buffer): void {
    const text = typeof chunk === 'string' ? chunk : this.#decode(chunk);
    // With its end of line: the worker puts pieces of a line together.
    if (text !== '') this.#emit(this.#name, text);
  }

  end(handle: number): void {
    if (handle !== this.#writer) return;
    this.#writer = undefined;
    const text = this.#decoder.end();
    if (text !== '') this.#emit(this.#name, text);
  }

  #decode(bytes: Buffer): string {
    const handle = currentHandle.getStore();
    if (handle !== this.#writer) this.#decoder = new StringDecoder('utf8');
    this.#writer = handle;
    return this.#decoder.write(bytes);
  }
}
