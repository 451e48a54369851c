/**
 * The channel between a worker and one of its sandboxes: a stream socket that carries frames.
 *
 *   bytes 0-3   length of all that follows, unsigned, little endian
 *   byte 4      kind (ChannelKind)
 *   bytes 5-8   handle: number of an invocation of this sandbox, 0 for the sandbox itself
 *   rest        payload of that kind
 *
 * A sandbox that runs one invocation at a time may be handed the next ones ahead, and starts each when the one before has
 * settled. A count in a page that both sides map (worker/native/runtime/turns.h) decides which side owns an invocation that has not
 * started. The sandbox takes one off before it starts one; the worker takes all off to get them back. Either side takes by one
 * atomic operation, so an invocation behind a slow one runs elsewhere at once, and never twice. They share no open file:
 * the sandbox could change its flags, and the worker would then sleep in it.
 *
 * The kinds and their layouts are a table, contract/wire/layouts.ts. From it follow encoders and readers for TypeScript (wire.gen.ts)
 * and C, because the first frames are read and written before any language runs. docs/runtime-protocol.md says when each is sent.
 */
import { CHANNEL_PREFIX_BYTES, type ChannelKind } from './wire.gen.ts';

export * from './wire.gen.ts';
export {
  BODY_PIECE_BYTES,
  BODY_WINDOW_BYTES,
  LOG_HAS_SPAN,
  MAX_PIECE_BYTES,
  MAX_SANDBOX_FRAME_BYTES,
  MAX_WORKER_FRAME_BYTES,
  OTHERS_LISTEN,
  OTHERS_NATIVE,
  OTHERS_RUN,
} from './numbers.ts';

/** Sent to a sandbox when it has been isolated, before it loads the function. */
export interface SandboxInit {
  readonly namespace: string;
  readonly name: string;
  readonly version: number;
  /** File to load, relative to /var/task. */
  readonly entry: string;
  readonly env: Readonly<Record<string, string>>;
  readonly memory: number;
  readonly timeout: number;
  /** Seconds in which the module must have loaded. */
  readonly initTimeout: number;
  /** Payload format of the events that a Lambda-style function gets for HTTP requests. */
  readonly payloadFormat: '1.0' | '2.0';
  /** Invocations that may run at the same time. */
  readonly concurrency: number;
  /** False: the platform records no spans in the sandbox. */
  readonly tracing?: boolean;
}

/** Sent with each invocation. */
export interface InvokeContext {
  readonly id: string;
  /** Milliseconds that the run may take from now on. */
  readonly remainingMs: number;
  readonly traceparent: string;
  readonly tracestate?: string;
  /** The invocation was handed ahead, and may start only by taking a turn. */
  readonly ahead?: true;
  /** Length of the request body that comes in BODYs and not in the payload. */
  readonly bodyBytes?: number;
}

export interface ReadyReport {
  /** Milliseconds that the module took to load, by the sandbox's own clock. */
  readonly init: number;
  /** Handlers that the module has. */
  readonly handlers: readonly HandlerName[];
}

/**
 * Handlers of a module, as the platform calls them: `fetch` for requests and events, in any of its shapes; `handler` for all
 * kinds of calls, in the style of Lambda.
 */
export const HANDLER_NAMES = ['fetch', 'scheduled', 'queue', 'handler'] as const;
export type HandlerName = (typeof HANDLER_NAMES)[number];

export interface FailedReport {
  /** One that outcome.ts marks as `told`. The worker checks, since the function may have sent the frame. */
  readonly outcome: string;
  readonly error: { name: string; message: string; stack?: string };
}

/** A frame out of the parts of its payload, which wire.gen.ts gives: `encodeChannelFrame(ChannelKind.LOG, handle, ...putLog(log))`. */
export function encodeChannelFrame(kind: ChannelKind, handle: number, ...payload: Uint8Array[]): Buffer {
  let length = CHANNEL_PREFIX_BYTES - 4;
  for (const part of payload) length += part.length;
  const frame = Buffer.allocUnsafe(length + 4);
  frame.writeUInt32LE(length, 0);
  frame[4] = kind;
  frame.writeUInt32LE(handle, 5);
  let at = CHANNEL_PREFIX_BYTES;
  for (const part of payload) {
    frame.set(part, at);
    at += part.length;
  }
  return frame;
}

/**
 * Upper bound on the pieces of an incomplete frame that are kept apart. A peer that sends one byte at a time would otherwise
 * cost a hundred times the memory of its bytes.
 */
const MAX_PARTS = 1_024;

/**
 * Cuts a byte stream into frames. Holds at most one incomplete frame, never more than `maxFrameBytes`. It refuses a longer
 * frame by its length alone, before a byte of it is kept, because the sender may be hostile.
 */
export class ChannelReader {
  readonly #maxFrameBytes: number;
  readonly #onFrame: (kind: number, handle: number, payload: Buffer) => void;
  #parts: Buffer[] = [];
  #held = 0;
  /** Bytes needed for the next step: a length prefix, or a whole frame. */
  #needed = 4;

  constructor(maxFrameBytes: number, onFrame: (kind: number, handle: number, payload: Buffer) => void) {
    this.#maxFrameBytes = maxFrameBytes;
    this.#onFrame = onFrame;
  }

  /** Throws when the peer breaks the protocol; the connection is then of no more use. */
  push(chunk: Buffer): void {
    this.#parts.push(chunk);
    this.#held += chunk.length;
    if (this.#held < this.#needed) {
      if (this.#parts.length >= MAX_PARTS) this.#parts = [Buffer.concat(this.#parts, this.#held)];
      return;
    }
    let bytes = this.#parts.length === 1 ? chunk : Buffer.concat(this.#parts, this.#held);
    for (;;) {
      if (bytes.length < 4) {
        this.#needed = 4;
        break;
      }
      const length = bytes.readUInt32LE(0);
      if (length < CHANNEL_PREFIX_BYTES - 4 || length > this.#maxFrameBytes) {
        throw new Error(`channel frame of ${length} bytes; at most ${this.#maxFrameBytes} are accepted`);
      }
      if (bytes.length < length + 4) {
        this.#needed = length + 4;
        break;
      }
      this.#onFrame(bytes[4] ?? 0, bytes.readUInt32LE(5), bytes.subarray(CHANNEL_PREFIX_BYTES, length + 4));
      bytes = bytes.subarray(length + 4);
    }
    this.#parts = bytes.length > 0 ? [bytes] : [];
    this.#held = bytes.length;
  }
}
