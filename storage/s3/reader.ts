/**
 * Reads an object of S3 as a stream that outlives its connections. A function may read its body as slowly as it likes, while a
 * server closes stalled connections. The rest is then requested again, from the byte where the connection broke off.
 */
import { Readable } from 'node:stream';

export interface Opened {
  readonly body: Readable;
  /** Changes with the object. */
  readonly etag: string | undefined;
  /** Size of the whole object. */
  readonly size: number;
}

/** Requests an object from one byte on; with `etag`, only if the object is unchanged. */
export type Ask = (from: number, etag: string | undefined, signal: AbortSignal) => Promise<Opened>;

/** Silence of a server after which its connection is closed, counted only while a chunk is awaited. */
const SILENCE_MS = 15_000;
/** Upper bound on successive connections that bring no byte. */
const MAX_BARREN = 3;

/** `first` was requested before, so that the caller knows whether the object exists. */
export function resumable(first: Opened, ask: Ask, silenceMs = SILENCE_MS): Readable {
  const giveUp = new AbortController();
  const chunks = read(first, ask, silenceMs, giveUp.signal);
  // Not Readable.from(): it waits for the pending chunk before it closes, which may be for ever.
  return new Readable({
    highWaterMark: 64 * 1024,
    read() {
      chunks.next().then(
        ({ value, done }) => this.push(done ? null : value),
        (error: unknown) => this.destroy(error instanceof Error ? error : new Error(String(error))),
      );
    },
    destroy(error, callback) {
      giveUp.abort();
      first.body.destroy();
      callback(error);
    },
  });
}

async function* read(
  first: Opened,
  ask: Ask,
  silenceMs: number,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void> {
  const { etag, size } = first;
  let { body } = first;
  let at = 0;
  for (let barren = 0; ;) {
    const begun = at;
    let failure: unknown;
    try {
      for await (const chunk of heard(body, silenceMs, signal)) {
        at += chunk.length;
        yield chunk;
      }
    } catch (error) {
      failure = error;
    }
    if (signal.aborted || at >= size) return;
    barren = at > begun ? 0 : barren + 1;
    if (barren >= MAX_BARREN) throw failure ?? new Error(`the object ended after ${at} of ${size} bytes`);
    ({ body } = await ask(at, etag, signal));
  }
}

/** Yields the chunks of the body. Silence counts only while a chunk is awaited, not while the last one is in use. */
async function* heard(body: Readable, silenceMs: number, signal: AbortSignal): AsyncGenerator<Buffer, void> {
  const letGo = (): unknown => body.destroy();
  signal.addEventListener('abort', letGo, { once: true });
  const iterator = (body as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  try {
    for (;;) {
      const silent = setTimeout(
        () =>
          body.destroy(
            Object.assign(new Error(`nothing came for ${silenceMs} ms`), { name: 'TimeoutError' }),
          ),
        silenceMs,
      );
      const { value, done } = await iterator.next().finally(() => clearTimeout(silent));
      if (done) return;
      yield value;
    }
  } finally {
    signal.removeEventListener('abort', letGo);
    body.destroy();
  }
}
