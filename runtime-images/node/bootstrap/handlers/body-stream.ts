/** A request body that arrives in pieces while the function reads it, so that a large body need not fit into memory. */
import { collectYoung } from '../runtime/collect-garbage.ts';

/** Number of body bytes after which buffers are freed: each byte is in three buffers for a moment. */
const COLLECT_BYTES = 2 * 1024 * 1024;
let sinceCollected = 0;

export class BodyStream {
  readonly #taken: (bytes: number) => void;
  /** Pieces that have arrived and are unread; the worker sends no more than its window. */
  readonly #pieces: Buffer[] = [];
  /** Bytes that the function has not read yet. */
  #left: number;
  #wanted: (() => void) | undefined;
  #dropped = false;

  /** `taken` receives the number of bytes of each piece that the function reads. */
  constructor(bytes: number, taken: (bytes: number) => void) {
    this.#left = bytes;
    this.#taken = taken;
  }

  /** Takes the next piece from the worker. */
  push(piece: Buffer): void {
    if (this.#dropped) return;
    this.#pieces.push(piece);
    this.#wanted?.();
  }

  /** Discards the rest of the body, which has no reader any more. */
  drop(): void {
    this.#dropped = true;
    this.#pieces.length = 0;
  }

  /** Returns the body as a byte stream, like the body of a Request from the network. To be called once. */
  stream(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return new ReadableStream({
      type: 'bytes',
      pull: async (controller) => {
        if (this.#pieces.length === 0) {
          await new Promise<void>((resolve) => {
            this.#wanted = resolve;
          });
          this.#wanted = undefined;
        }
        const piece = this.#pieces.shift();
        if (!piece) return;
        this.#left -= piece.length;
        this.#taken(piece.length);
        sinceCollected += piece.length;
        if (sinceCollected > COLLECT_BYTES) {
          sinceCollected = 0;
          collectYoung();
        }
        // A copy, because the stream takes ownership of the memory, and the piece shares its memory with other frames.
        controller.enqueue(new Uint8Array(piece));
        if (this.#left > 0) return;
        controller.close();
        controller.byobRequest?.respond(0);
      },
      cancel: () => this.drop(),
    });
  }

  /** Returns the whole body, for functions that take their input in one piece. */
  async whole(): Promise<Buffer<ArrayBuffer>> {
    const whole = Buffer.allocUnsafeSlow(this.#left);
    let at = 0;
    for await (const piece of this.stream()) {
      whole.set(piece, at);
      at += piece.length;
    }
    return whole;
  }
}

/** Returns the request's whole body: from its stream, or from the payload when there is no stream. */
export async function wholeBody(
  stream: BodyStream | undefined,
  inPayload: Buffer<ArrayBuffer>,
): Promise<Buffer<ArrayBuffer>> {
  return stream ? await stream.whole() : inPayload;
}
