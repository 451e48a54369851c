/**
 * Passes a request body from the artifact store to a sandbox, piece by piece, so that the worker never holds all of it. Two
 * things limit the pace: the window, which opens when the function takes bytes, and the socket. The window is under the sandbox's
 * control and may lie; the socket is the kernel's. So a sandbox that gives credit without reading costs the worker one piece of
 * memory at most.
 */
import type { Readable } from 'node:stream';
import { BODY_PIECE_BYTES, BODY_WINDOW_BYTES, readBodyCredit } from '#contract/wire/channel.ts';

export interface RequestBody {
  readonly bytes: number;
  /** Opens the body; undefined when it is no longer in the store. */
  open(): Promise<Readable | undefined>;
}

export interface BodyFeedOptions {
  readonly body: RequestBody;
  /** Resolves when there is room for another piece. */
  readonly send: (piece: Buffer) => Promise<void>;
  /** Called when the body has another length than announced, or cannot be read. */
  readonly failed: (reason: string) => void;
}

export class BodyFeed {
  readonly #options: BodyFeedOptions;
  /** Bytes sent to the sandbox that the function has not taken. */
  #inFlight = 0;
  #started = false;
  #stopped = false;
  #stream: Readable | undefined;
  #wake: (() => void) | undefined;

  constructor(options: BodyFeedOptions) {
    this.#options = options;
  }

  /** Starts the feed. Nothing is sent before the caller has returned to the event loop. */
  start(): void {
    if (this.#started) return;
    this.#started = true;
    this.#run().catch((error: unknown) => {
      if (!this.#stopped) this.#options.failed(`its request body could not be read: ${String(error)}`);
    });
  }

  /** Takes the sandbox's report of bytes that its function took; returns false when the report cannot be true. */
  credit(payload: Buffer): boolean {
    const bytes = readBodyCredit(payload)?.bytes ?? 0;
    if (bytes === 0 || bytes > this.#inFlight) return false;
    this.#inFlight -= bytes;
    this.#wake?.();
    return true;
  }

  /** Stops the feed and closes the blob. */
  stop(): void {
    this.#stopped = true;
    this.#stream?.destroy();
    this.#wake?.();
  }

  async #run(): Promise<void> {
    const { body, failed } = this.#options;
    const stream = await body.open();
    if (!stream) return failed('its request body is not in the artifact store any more');
    // Without a listener, an error between two reads would be uncaught and end the worker.
    stream.on('error', () => undefined);
    if (this.#stopped) {
      stream.destroy();
      return;
    }
    this.#stream = stream;
    let left = body.bytes;
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      left -= chunk.length;
      if (left < 0) break;
      for (let at = 0; at < chunk.length; at += BODY_PIECE_BYTES) {
        await this.#send(chunk.subarray(at, at + BODY_PIECE_BYTES));
        if (this.#stopped) return;
      }
    }
    // The sandbox relies on the announced length: neither less nor more may arrive.
    if (left !== 0) failed('its request body has another length than was announced');
  }

  async #send(piece: Buffer): Promise<void> {
    while (this.#inFlight + piece.length > BODY_WINDOW_BYTES && !this.#stopped) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    if (this.#stopped) return;
    this.#inFlight += piece.length;
    await this.#options.send(piece);
  }
}
