/**
 * Turns output of `console`, process.stdout, process.stderr and of `fs` on descriptors 1 and 2 into log frames on the channel.
 * The frames stay in order with the response, and each carries the handle of its invocation. Output of native code, worker
 * threads and child processes goes through pipes to the worker instead.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { Writable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import type { Log } from '#contract/wire/channel.ts';
import { captureConsole, LEVELS, type Level } from './capture-console.ts';
import { captureOutputCalls } from './output-calls.ts';
import { levelOfChunk } from './thread-output.ts';
import { showPositions } from '../runtime/source-positions.ts';

/** Upper bound on the characters of one frame; longer output is cut into several. */
const MAX_TEXT_CHARACTERS = 48 * 1024;

/** Handle of the invocation that the running code belongs to. */
export const currentHandle = new AsyncLocalStorage<number>();

/** Returns the id of the function's own span in which the code runs; tracing.ts sets this. */
export const logSpan: { current: () => string | undefined } = { current: () => undefined };

/** Level of a line as its index in LEVELS, and id of the function's own span that has written it. */
export type LogOrigin = Pick<Log, 'level' | 'span'>;

/** Redirects all output to `send`. To be called once. */
export function captureLogs(send: (handle: number, origin: LogOrigin, text: string) => void): void {
  const emit = (level: Level, text: string): void => {
    const mapped = showPositions(text);
    const origin = { level: LEVELS.indexOf(level), span: logSpan.current() };
    for (let at = 0, end = 0; at === 0 || at < mapped.length; at = end) {
      end = at + MAX_TEXT_CHARACTERS;
      // Do not cut a character of two code units in half.
      if ((mapped.codePointAt(end - 1) ?? 0) > 0xffff) end--;
      send(currentHandle.getStore() ?? 0, origin, mapped.slice(at, end));
    }
  };
  captureConsole(emit);
  const stdout = new OutputStream('stdout', 1, emit);
  const stderr = new OutputStream('stderr', 2, emit);
  streams.push(stdout, stderr);
  captureOutputCalls({ 1: (bytes) => stdout.write(bytes), 2: (bytes) => stderr.write(bytes) });
}

const streams: OutputStream[] = [];

/** Ends an invocation's output: an incomplete character at its end is shown as a replacement character. */
export function endOutput(handle: number): void {
  for (const stream of streams) stream.end(handle);
}

class OutputStream {
  readonly #name: 'stdout' | 'stderr';
  readonly #emit: (level: Level, text: string) => void;
  // Bytes, such as those of a child process, may end in the middle of a character. The decoder keeps them until the same
  // invocation writes again.
  #decoder = new StringDecoder('utf8');
  #writer: number | undefined;

  /** Replaces the process's stream of this name. */
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
    const level = levelOfChunk(chunk);
    // A whole text of a thread's console; its end of line is no line of its own.
    if (level) return this.#emit(level, chunk.toString().slice(0, -1));
    const text = typeof chunk === 'string' ? chunk : this.#decode(chunk);
    // The end of line stays: the worker joins pieces to lines.
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
