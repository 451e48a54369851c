/**
 * What one invocation prints: cut to lines, capped, stamped, and written to Redis twice: under the invocation's id, and
 * in the stream of the function that `offshoot logs -f` follows.
 */
import type { Redis } from 'ioredis';
import { LOG_HAS_SPAN } from '#contract/channel.ts';
import { LogLevel, type LogLine } from '#contract/invocation.ts';
import { keys, LOG_STREAM_LENGTH, RECORD_TTL_S } from '#contract/keys.ts';
import { DEFAULT_LOG_BYTES, MAX_LOG_LINE_BYTES } from '#contract/limits.ts';
import { sendTogether } from '#storage/redis.ts';

/** Output as it came, not yet cut into lines. */
export type LogText = LogLine;

/**
 * What a line costs of the limit at least, since each is an entry of its own in the worker and in Redis: a function that
 * prints nothing but line ends would never reach a limit of its bytes.
 */
const LEAST_LINE_BYTES = 32;

/** Lines are written together after this, or when the invocation ends. */
const FLUSH_MS = 50;
/** The levels that a sandbox may use: its own word must not look like the platform's. */
const LEVELS = LogLevel.options.filter((level) => level !== 'platform');

/** A LOG frame of the channel: byte level, text. Undefined when it is neither. */
export function readLogFrame(payload: Buffer): LogText | undefined {
  const first = payload[0] ?? 0;
  const level = LEVELS[first & ~LOG_HAS_SPAN];
  if (payload.length === 0 || !level) return undefined;
  if ((first & LOG_HAS_SPAN) === 0) return { time: Date.now(), level, text: payload.toString('utf8', 1) };
  if (payload.length < 9) return undefined;
  return { time: Date.now(), level, text: payload.toString('utf8', 9), span: payload.toString('hex', 1, 9) };
}

export interface LogTarget {
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
  /** The context that the function is handed. */
  readonly traceparent: string;
}

/** Gets the lines that are kept, beside Redis. */
export type LogSink = (target: LogTarget, lines: readonly LogLine[]) => void;

export class InvocationLog {
  readonly #redis: Redis;
  readonly #target: LogTarget;
  readonly #sink: LogSink | undefined;
  #lines: LogLine[] = [];
  #timer: NodeJS.Timeout | undefined;
  #lineCount = 0;
  /** Bytes kept, and bytes cut. */
  bytes = 0;
  dropped = 0;
  /** Bytes that are kept; the function's own limit, as soon as it is known. */
  maxBytes = DEFAULT_LOG_BYTES;

  /** `redis`: the connection that replies go out on, so that a log is there before the answer is. */
  constructor(redis: Redis, target: LogTarget, sink?: LogSink) {
    this.#redis = redis;
    this.#sink = sink;
    this.#target = target;
  }

  /** Nothing more is kept; whoever has output for it need not even decode that. */
  get full(): boolean {
    return this.bytes >= this.maxBytes || this.#lineCount * LEAST_LINE_BYTES >= this.maxBytes;
  }

  add({ text, ...rest }: LogText): void {
    const end = text.endsWith('\n') ? text.length - 1 : text.length;
    for (let at = 0; at <= end;) {
      if (this.full) {
        this.dropped += Buffer.byteLength(text.slice(at));
        return;
      }
      const newline = text.indexOf('\n', at);
      const stop = newline === -1 ? end : Math.min(newline, end);
      this.#addLine({ ...rest, text: text.slice(at, stop) });
      at = stop + 1;
    }
  }

  #addLine(line: LogLine): void {
    let { text } = line;
    const size = Buffer.byteLength(text);
    const room = Math.min(MAX_LOG_LINE_BYTES, this.maxBytes - this.bytes);
    if (size > room) {
      text = Buffer.from(text).subarray(0, Math.max(0, room)).toString('utf8');
      this.dropped += size - Math.max(0, room);
    }
    this.#lineCount++;
    this.bytes += Math.min(size, Math.max(0, room));
    if (room > 0) this.#lines.push({ ...line, text });
    this.#timer ??= setTimeout(() => this.flush(), FLUSH_MS);
  }

  /** Sends what is there. Redis keeps the order: what is pushed to a lane afterwards arrives after it. */
  flush(final = false): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (final && this.dropped > 0) {
      const text = `${this.dropped} bytes of output were cut: an invocation keeps ${this.maxBytes} ("logSize"), a line ${MAX_LOG_LINE_BYTES}`;
      this.#lines.push({ time: Date.now(), level: 'platform', text });
    }
    if (this.#lines.length === 0) return;
    const lines = this.#lines;
    this.#lines = [];
    const { id, namespace, name } = this.#target;
    this.#sink?.(this.#target, lines);
    const log = keys.logs(id);
    const stream = keys.logStream(namespace, name);
    const texts = lines.map((line) => JSON.stringify(line));
    const entry = ['i', id, 'l', JSON.stringify(lines)] as const;
    sendTogether(this.#redis, [
      [log, (pipeline) => pipeline.rpush(log, ...texts).expire(log, RECORD_TTL_S)],
      [
        stream,
        (pipeline) =>
          pipeline.xadd(stream, 'MAXLEN', '~', LOG_STREAM_LENGTH, '*', ...entry).expire(stream, RECORD_TTL_S),
      ],
    ])
      // Redis is away; the caller's answer cannot be delivered either, and that is what gets reported.
      .catch(() => undefined);
  }
}
