/**
 * An object of S3 as a stream that outlives its connections. A function may read its body as slowly as it likes, while a server
 * cuts connections on which nothing is taken: what is missing is then asked for again, from the byte where it broke off.
 */
import { Readable } from 'node:stream';

export interface Opened {
  readonly body: Readable;
  /** Changes when the object does. */
  readonly etag: string | undefined;
  /** Size of the whole object. */
  readonly size: number;
}

/** Asks for an object from one byte on; with `etag`, for that very object only. */
export type Ask = (from: number, etag: string | undefined, signal: AbortSignal) => Promise<Opened>;

/** A server that has nothing to say for so long, while somebody waits for it, is given up. */
const SILENCE_MS = 15_000;
/** Connections one after another that bring nothing. */
const MAX_BARREN = 3;

/** `first` has been asked for already, so that whoever opens an object knows whether it is there. */
export function resumable(first: Opened, ask: Ask, silenceMs = SILENCE_MS): Readable {
  const giveUp = new AbortController();
  const chunks = read(first, ask, silenceMs, giveUp.signal);
  // Not Readable.from(): that waits for the chunk under way before it lets go, which may be never.
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

/** What the body yields. Its silence counts only while a chunk is asked for, not while the last one is being used. */
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
