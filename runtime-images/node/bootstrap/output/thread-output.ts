/**
 * Gives the lines of `console` in worker threads their level. A thread sends its output to the main thread as chunks of its stdout
 * and stderr. A script that is loaded first in each thread marks those of `console`.
 */
import { syncBuiltinESMExports } from 'node:module';
import type { Readable } from 'node:stream';
import threads, { type WorkerOptions } from 'node:worker_threads';
import type { Level } from './capture-console.ts';

/** The script, beside the bootstrap in the image. */
const PRELOAD = '/opt/offshoot/thread-console.cjs';
// oxlint-disable-next-line no-control-regex -- a mark that no text begins with
const MARK = /^\0(debug|info|log|warn|error)\0/;

const levels = new WeakMap<object, Level>();

/** Level of a chunk that a thread's console has written; undefined for all others. */
export function levelOfChunk(chunk: unknown): Level | undefined {
  return typeof chunk === 'object' && chunk !== null ? levels.get(chunk) : undefined;
}

/** Replaces the class of worker threads. Threads whose output the function reads itself stay as they are. */
export function captureThreads(): void {
  const { Worker } = threads;
  threads.Worker = class extends Worker {
    static override readonly name = 'Worker';

    constructor(filename: string | URL, options: WorkerOptions = {}) {
      const { stdout = false, stderr = false, execArgv = [] } = options;
      const isOwn = !stdout && !stderr;
      // Node refuses arguments that are no list. Without a list, Node passes on those of the zygote.
      const given = Array.isArray(execArgv)
        ? { execArgv: isOwn ? [...execArgv, '--require', PRELOAD] : execArgv }
        : {};
      super(filename, { ...options, ...given });
      if (isOwn) for (const stream of [this.stdout, this.stderr]) takeMarks(stream);
    }
  };
  // Named imports see the replacement too.
  syncBuiltinESMExports();
}

/** Takes the mark off each chunk, and keeps its level for the chunk that comes out of the stream. */
function takeMarks(stream: Readable): void {
  const push = stream.push.bind(stream);
  stream.push = (chunk: unknown, encoding?: BufferEncoding) => {
    const [mark = '', level] = (typeof chunk === 'string' && MARK.exec(chunk)) || [];
    if (mark === '') return push(chunk, encoding);
    const bytes = Buffer.from((chunk as string).slice(mark.length), encoding);
    levels.set(bytes, level as Level);
    return push(bytes);
  };
}
