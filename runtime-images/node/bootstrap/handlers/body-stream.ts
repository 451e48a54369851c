/** A request body that comes in pieces while the function reads it. */
import { collectYoung } from '../runtime/collect-garbage.ts';
import type { Invocation } from './invocation.ts';

/** Each byte of a body is in three buffers for a moment; they are freed when so much of it has come. */
const COLLECT_BYTES = 2 * 1024 * 1024;
let sinceCollected = 0;

export class BodyStream {
  readonly #taken: (bytes: number) => void;
  /** What has come and not been asked for; the worker sends no more than its window. */
  readonly #pieces: Buffer[] = [];
  /** Bytes that the function has not had yet. */
  #left: number;
  #wanted: (() => void) | undefined;
  #dropped = false;

  /** `taken`: told of the bytes that the function has asked for and got. */
  constructor(bytes: number, taken: (bytes: number) => void) {
    this.#left = bytes;
    this.#taken = taken;
  }

  /** The next piece from the worker. */
  push(piece: Buffer): void {
    if (this.#dropped) return;
    this.#pieces.push(piece);
    this.#wanted?.();
  }

  /** Nobody reads it any more. */
  drop(): void {
    this.#dropped = true;
    this.#pieces.length = 0;
  }

  /** To be called once. A byte stream, as the body of a Request from the network is. */
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
        // A copy: the stream takes the memory over, and this one's is shared with other frames.
        controller.enqueue(new Uint8Array(piece));
        if (this.#left > 0) return;
        controller.close();
        controller.byobRequest?.respond(0);
      },
      cancel: () => this.drop(),
    });
  }

  /** All of it, for functions that are given their input in one piece. */
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

/** The body of the request, whichever way it comes. */
export async function wholeBody(
  invocation: Invocation,
  inPayload: Buffer<ArrayBuffer>,
): Promise<Buffer<ArrayBuffer>> {
  return invocation.body ? await invocation.body.whole() : inPayload;
}
