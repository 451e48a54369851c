/**
 * The channel between a worker and one of its sandboxes: a stream socket that carries frames.
 *
 *   bytes 0-3   length of all that follows, unsigned, little endian
 *   byte 4      kind (ChannelKind)
 *   bytes 5-8   handle: which of the invocations of this sandbox is meant, 0 for the sandbox itself
 *   rest        payload, as the kind says
 *
 * A sandbox that runs one invocation at a time may be handed the next ones ahead, and starts each when the one before has
 * settled. A count in a page that both sides map (worker/native/turns.h) decides who has an invocation that has not started:
 * the sandbox takes one off before it starts one, the worker takes off all that it wants back. Either takes by one atomic
 * operation, so an invocation behind a slow one runs elsewhere at once, and never twice. The two hold no open file together:
 * its flags would be the sandbox's to change, and the worker would sleep in it.
 *
 * The numbers are also generated into a C header, because the first frames are read and written before JavaScript runs.
 */
export const ChannelKind = {
  /** worker → sandbox, read in C: SPECIALISE_BYTES of fixed layout (directory of the code, host name, limits). */
  SPECIALISE: 1,
  /** worker → sandbox: JSON SandboxInit. */
  INIT: 2,
  /** worker → sandbox: u32 length, JSON InvokeContext, request payload. */
  INVOKE: 3,
  /** worker → sandbox: the next bytes of a request body whose length the context has announced. */
  BODY: 4,

  /** sandbox → worker, from C: u32 microseconds of each phase of the preparation. */
  PREPARED: 16,
  /** sandbox → worker, from C: u32 of each phase and fact, see ISOLATED_PHASES; the self-audit has passed. */
  ISOLATED: 17,
  /** sandbox → worker, from C: text; the sandbox could not be built and is ending. */
  SETUP_FAILED: 18,
  /** sandbox → worker: JSON ReadyReport; the function is loaded. */
  READY: 19,
  /** sandbox → worker: JSON FunctionError; the module could not be loaded. */
  LOAD_FAILED: 20,
  /** sandbox → worker: response payload; complete. */
  RESULT: 21,
  /** sandbox → worker: response payload with the first bytes; CHUNKs follow, then END. */
  HEAD: 22,
  /** sandbox → worker: the next bytes of the response. */
  CHUNK: 23,
  /** sandbox → worker: the streamed response is complete. */
  END: 24,
  /** sandbox → worker: JSON FailedReport; no response, or one that broke off. */
  FAILED: 25,
  /** sandbox → worker: byte level (index in LogLevel; with LOG_HAS_SPAN, 8 bytes with the id of a span follow), UTF-8 text. */
  LOG: 26,
  /** sandbox → worker: answered, and no waitUntil promise is left; the sandbox can take another invocation. */
  SETTLED: 27,
  /** sandbox → worker: byte signal; to be ended as if by it, because the kernel keeps it from PID 1. It waits for its end. */
  SIGNALLED: 28,
  /** sandbox → worker: u32, so many bytes of the request body have been taken by the function. */
  BODY_CREDIT: 29,
  /** sandbox → worker: JSON FunctionSpan; a span that has ended, or had not when its run had. */
  SPAN: 30,
  /** sandbox → worker: 8 bytes with the id of a span, JSON of what is known of it; one of the function's own has begun. */
  SPAN_BEGUN: 31,
  /** sandbox → worker: u32, so many more spans there were than are told. */
  SPANS_DROPPED: 32,
  /**
   * sandbox → worker: byte of OTHERS_ bits, what is left in it that can print past the runtime; in front of READY, SETTLED or the
   * first frame of an invocation, when it is not what was told last.
   */
  OTHERS: 33,
} as const;
export type ChannelKind = (typeof ChannelKind)[keyof typeof ChannelKind];

export const CHANNEL_PREFIX_BYTES = 9;

/** Bit of the level of a LOG: it was written within a span of the function's own. */
export const LOG_HAS_SPAN = 0x80;

/** Bit of OTHERS: other processes, or worker threads. */
export const OTHERS_RUN = 1;
/** Bit of OTHERS: native code has been loaded, of which nobody knows what it does for whom. */
export const OTHERS_NATIVE = 2;

/**
 * A response body up to this size goes in one RESULT; a larger one goes as HEAD and CHUNKs of at most this size. So a
 * worker never holds more than a frame of a sandbox, whatever the response's length.
 */
export const MAX_PIECE_BYTES = 256 * 1024;
/**
 * A large request body comes in BODYs of at most this much, and so much of it may be on its way, or lie in the sandbox,
 * before the function has asked for it: one that reads slowly holds up whoever reads the blob, and fills nobody's memory.
 */
export const BODY_PIECE_BYTES = 64 * 1024;
export const BODY_WINDOW_BYTES = 4 * BODY_PIECE_BYTES;
/** Longest frame that a worker accepts of a sandbox: a piece, and the meta part of a response. */
export const MAX_SANDBOX_FRAME_BYTES = MAX_PIECE_BYTES + 256 * 1024;

/**
 * SPECIALISE: directory of the code in the store (NUL-padded), then the host name (NUL-padded), then u32 each: MB of
 * /tmp, inodes of /tmp, open files of a process, pending signals of the sandbox.
 */
export const SPECIALISE_CODE_BYTES = 80;
export const SPECIALISE_HOSTNAME_BYTES = 64;
export const SPECIALISE_LIMITS = 4;
export const SPECIALISE_BYTES = SPECIALISE_CODE_BYTES + SPECIALISE_HOSTNAME_BYTES + 4 * SPECIALISE_LIMITS;

/**
 * ISOLATED: microseconds of so many phases of the isolation, then so many facts of what is in force: the ABI of
 * Landlock, 0 where the kernel has none that is of use; the number of its own session keyring, 0 where the kernel has no
 * keys; the state of speculation about indirect branches, PR_GET_SPECULATION_CTRL of prctl(2).
 */
export const ISOLATED_PHASES = 7;
export const ISOLATED_FACTS = 3;
/** Then the inode number of each of its Linux namespaces, in the order of LINUX_NAMESPACES (isolation.ts). */
export const ISOLATED_NAMESPACES = 7;

/** What a sandbox is told after it has been isolated, before it loads the function. */
export interface SandboxInit {
  readonly namespace: string;
  readonly name: string;
  readonly version: number;
  /** File to load, relative to /var/task. */
  readonly entry: string;
  readonly env: Readonly<Record<string, string>>;
  readonly memory: number;
  readonly timeout: number;
  /** Invocations that may run at the same time. */
  readonly concurrency: number;
}

/** Goes with each invocation. */
export interface InvokeContext {
  readonly id: string;
  /** Milliseconds that the run may take from now. */
  readonly remainingMs: number;
  readonly traceparent: string;
  readonly tracestate?: string;
  /** Handed ahead: it may start only by taking a turn. */
  readonly ahead?: true;
  /** The request has a body of so many bytes, which comes in BODYs and not in the payload. */
  readonly bodyBytes?: number;
}

export interface ReadyReport {
  /** Milliseconds that the module took to load, by the sandbox's own clock. */
  readonly init: number;
  /** Which form of the function contract the module has. */
  readonly form: 'fetch' | 'handler';
}

export interface FailedReport {
  readonly outcome: 'error' | 'bad_response';
  readonly error: { name: string; message: string; stack?: string };
}

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

/** Pieces of an incomplete frame that are kept apart. A peer that sends one byte at a time would cost a hundred times what it sends. */
const MAX_PARTS = 1_024;

/**
 * Cuts a byte stream into frames. Holds at most one incomplete frame, never more than `maxFrameBytes`: a longer one is
 * refused by its length alone, before a byte of it is kept, because whoever writes it may be hostile.
 */
export class ChannelReader {
  readonly #maxFrameBytes: number;
  readonly #onFrame: (kind: number, handle: number, payload: Buffer) => void;
  #parts: Buffer[] = [];
  #held = 0;
  /** Bytes needed before anything can be done: a length prefix, or a whole frame. */
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
