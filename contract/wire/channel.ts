/**
 * The channel between a worker and one of its sandboxes: a stream socket that carries frames.
 *
 *   bytes 0-3   length of all that follows, unsigned, little endian
 *   byte 4      kind (ChannelKind)
 *   bytes 5-8   handle: number of an invocation of this sandbox, 0 for the sandbox itself
 *   rest        payload of that kind
 *
 * A sandbox that runs one invocation at a time may be handed the next ones ahead, and starts each when the one before has
 * settled. A count in a page that both sides map (worker/native/sandbox/turns.h) decides which side owns an invocation that has not
 * started. The sandbox takes one off before it starts one; the worker takes all off to get them back. Either side takes by one
 * atomic operation, so an invocation behind a slow one runs elsewhere at once, and never twice. They share no open file:
 * the sandbox could change its flags, and the worker would then sleep in it.
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
  /** sandbox → worker: JSON FailedReport; there is no response, or it broke off. */
  FAILED: 25,
  /** sandbox → worker: byte level (index in LogLevel; with LOG_HAS_SPAN, 8 bytes with the id of a span follow), UTF-8 text. */
  LOG: 26,
  /** sandbox → worker: the answer is sent and no waitUntil promise is left; the sandbox can take another invocation. */
  SETTLED: 27,
  /** sandbox → worker: byte signal; the sandbox waits to be ended as if by it, because the kernel keeps signals from PID 1. */
  SIGNALLED: 28,
  /** sandbox → worker: u32, number of bytes of the request body that the function has taken. */
  BODY_CREDIT: 29,
  /** sandbox → worker: JSON FunctionSpan; a span that has ended, or was still open at the end of its run. */
  SPAN: 30,
  /** sandbox → worker: 8 bytes with the id of a span, JSON of its facts; a span of the function's own has begun. */
  SPAN_BEGUN: 31,
  /** sandbox → worker: u32, number of spans that were not sent. */
  SPANS_DROPPED: 32,
  /**
   * sandbox → worker: byte of OTHERS_ bits, for code in the sandbox that can print without the runtime. Sent in front of READY,
   * SETTLED or the first frame of an invocation, if it has changed since the last report.
   */
  OTHERS: 33,
} as const;
export type ChannelKind = (typeof ChannelKind)[keyof typeof ChannelKind];

export const CHANNEL_PREFIX_BYTES = 9;

/** Bit of the level of a LOG: the line was written within a span of the function's own. */
export const LOG_HAS_SPAN = 0x80;

/** Bit of OTHERS: other processes, or worker threads. */
export const OTHERS_RUN = 1;
/** Bit of OTHERS: native code has been loaded, and its output may belong to any invocation. */
export const OTHERS_NATIVE = 2;

/**
 * Size up to which a response body goes in one RESULT; a larger one goes as HEAD and CHUNKs of at most this size. So a worker
 * never holds more than one frame of a sandbox, whatever the response's length.
 */
export const MAX_PIECE_BYTES = 256 * 1024;
/**
 * Largest piece of a large request body, and upper bound on its bytes that are on their way or unread in the sandbox. A
 * function that reads slowly slows down the reader of the blob, and fills no memory.
 */
export const BODY_PIECE_BYTES = 64 * 1024;
export const BODY_WINDOW_BYTES = 4 * BODY_PIECE_BYTES;
/** Upper bound on a frame from a sandbox: a piece, and the meta part of a response. */
export const MAX_SANDBOX_FRAME_BYTES = MAX_PIECE_BYTES + 256 * 1024;

/**
 * SPECIALISE: directory of the code in the store (NUL-padded), then the host name (NUL-padded), then four u32: MB of /tmp,
 * inodes of /tmp, open files of a process, pending signals of the sandbox.
 */
export const SPECIALISE_CODE_BYTES = 80;
export const SPECIALISE_HOSTNAME_BYTES = 64;
export const SPECIALISE_LIMITS = 4;
export const SPECIALISE_BYTES = SPECIALISE_CODE_BYTES + SPECIALISE_HOSTNAME_BYTES + 4 * SPECIALISE_LIMITS;

/**
 * ISOLATED: the microseconds of each phase of the isolation (root, identity, descriptors, privileges, landlock, audit, filter),
 * then facts. The facts are: the ABI of Landlock, 0 if the kernel has none of use; the number of the sandbox's session keyring,
 * 0 if the kernel has no keys; and the state of speculation about indirect branches, PR_GET_SPECULATION_CTRL of prctl(2).
 */
export const ISOLATED_PHASES = 7;
export const ISOLATED_FACTS = 3;
/**
 * Number of inode numbers at the end of ISOLATED: one for each Linux namespace, in the order of LINUX_NAMESPACES
 * (isolation.ts).
 */
export const ISOLATED_NAMESPACES = 7;

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
  readonly outcome: 'error' | 'bad_response' | 'no_handler';
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
