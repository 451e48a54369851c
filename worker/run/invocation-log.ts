/**
 * Keeps the output of one invocation: cut into lines, capped and stamped. It writes the lines to Redis twice, under the
 * invocation's id and to the function's stream, which `offshoot logs -f` follows. The caps are in contract/functions/limits.ts
 * and contract/platform/keys.ts.
 */
import type { Redis } from 'ioredis';
import { readLog } from '#contract/wire/channel.ts';
import { LogLevel, type LogLine } from '#contract/invocations/invocation.ts';
import { keys, LOG_STREAM_LENGTH, RECORD_TTL_S } from '#contract/platform/keys.ts';
import { LOG_ENTRY_BYTES, MAX_LOG_LINE_BYTES } from '#contract/functions/limits.ts';
import type { LogBudget } from '#storage/limits/log-budget.ts';
import { sendTogether } from '#storage/redis/redis.ts';
import { LogAllowance } from './log-allowance.ts';

/** Output as received, not yet cut into lines. */
export type LogText = LogLine;

/** Delay after which lines are written together, unless the invocation ends before. */
const FLUSH_MS = 50;
/** Time limit for the rest of a line: output without an end of line may be a part of one. */
const PIECE_MS = 1_000;
/** Room for the note at the end of a line that was cut. */
const NOTE_BYTES = 48;
/** Levels that a sandbox may use: its output must not look like the platform's. */
const LEVELS = LogLevel.options.filter((level) => level !== 'platform');

/** Reads a LOG frame of the channel. Returns undefined when it is invalid. */
export function readLogFrame(payload: Buffer): LogText | undefined {
  const log = readLog(payload);
  const level = log && LEVELS[log.level];
  if (!level) return undefined;
  const { span, text } = log;
  return { time: Date.now(), level, text: text.toString('utf8'), ...(span !== undefined && { span }) };
}

/** Log line for a refused call. */
export function refusedLine(call: string): string {
  return `seccomp: ${call} was refused`;
}

export interface LogTarget {
  /** Empty for the function's own log, whose output belongs to no known invocation. */
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
  /** The trace context that the function receives. */
  readonly traceparent: string;
  /** For the queued lane: number of the attempt, and index of an item that runs by itself. */
  readonly attempt?: number | undefined;
  readonly item?: number | undefined;
  /** Id of the sandbox, for a function's own log. */
  readonly sandbox?: string | undefined;
}

/** Receives the kept lines, beside Redis. */
export type LogSink = (target: LogTarget, lines: readonly LogLine[]) => void;

export interface LogOptions {
  readonly sink?: LogSink | undefined;
  /** Set when several logs share one bound on what they keep. */
  readonly allowance?: LogAllowance | undefined;
  /** Counts what Redis has stored, so that the logs of a function stay bounded. */
  readonly budget?: Pick<LogBudget, 'add'> | undefined;
  /** Called with the number of lines that Redis did not take. */
  readonly onLost?: ((lines: number) => void) | undefined;
}

export class InvocationLog {
  readonly #redis: Redis;
  readonly #target: LogTarget;
  readonly #sink: LogSink | undefined;
  readonly #budget: LogOptions['budget'];
  readonly #onLost: LogOptions['onLost'];
  readonly #allowance: LogAllowance;
  #lines: LogLine[] = [];
  #timer: NodeJS.Timeout | undefined;
  /** Of each stream, the line that has no end yet. */
  readonly #pieces = new Map<LogLevel, LogText>();
  #pieceTimer: NodeJS.Timeout | undefined;
  #droppedLines = 0;
  #told = 0;
  /** Number of bytes kept, and of bytes cut. */
  bytes = 0;
  dropped = 0;

  /** `redis`: the connection of the replies, so that a log arrives before the answer. */
  constructor(redis: Redis, target: LogTarget, { sink, allowance, budget, onLost }: LogOptions = {}) {
    this.#redis = redis;
    this.#sink = sink;
    this.#target = target;
    this.#budget = budget;
    this.#onLost = onLost;
    this.#allowance = allowance ?? new LogAllowance();
  }

  /** Number of lines of which nothing was kept. */
  get droppedLines(): number {
    return this.#droppedLines;
  }

  /** Upper bound on kept bytes: the function's own limit, once it is known. */
  set maxBytes(bytes: number) {
    this.#allowance.maxBytes = bytes;
  }

  /** True when no more is kept; then callers need not even decode their output. */
  get full(): boolean {
    return this.#allowance.used;
  }

  /** Counts output that came after the limit: a piece of a stream, or a frame, at whose end a line ends. */
  discard(bytes: Buffer, isFrame: boolean): void {
    this.dropped += bytes.length;
    let lines = isFrame && bytes.at(-1) !== NEWLINE ? 1 : 0;
    // A loop, since indexOf() would be called once for each line, and each byte may be one.
    for (let at = 0; at < bytes.length; at++) if (bytes[at] === NEWLINE) lines++;
    this.#droppedLines += lines;
  }

  add(given: LogText): void {
    const { level } = given;
    if (level === 'platform') return this.#push(given);
    if (level !== 'stdout' && level !== 'stderr') return this.#addLines(given);
    const before = this.#pieces.get(level);
    this.#pieces.delete(level);
    const text = before ? before.text + given.text : given.text;
    const whole = text.lastIndexOf('\n') + 1;
    const from = before ?? given;
    if (whole > 0) this.#addLines({ ...from, text: text.slice(0, whole) });
    const piece = text.slice(whole);
    if (piece.length > MAX_LOG_LINE_BYTES) this.#addLines({ ...given, text: piece });
    else if (piece !== '') {
      this.#pieces.set(level, { ...(whole > 0 ? given : from), text: piece });
      this.#pieceTimer ??= setTimeout(() => this.#addPieces(), PIECE_MS);
    }
  }

  #addPieces(): void {
    clearTimeout(this.#pieceTimer);
    this.#pieceTimer = undefined;
    for (const piece of this.#pieces.values()) this.#addLines(piece);
    this.#pieces.clear();
  }

  #addLines({ text, ...rest }: LogText): void {
    const end = text.endsWith('\n') ? text.length - 1 : text.length;
    for (let at = 0; at <= end;) {
      if (this.full) return this.discard(Buffer.from(text.slice(at)), true);
      const newline = text.indexOf('\n', at);
      const stop = newline === -1 ? end : Math.min(newline, end);
      const line = text.slice(at, stop);
      this.#addLine({ ...rest, text: line.endsWith('\r') ? line.slice(0, -1) : line });
      at = stop + 1;
    }
  }

  #addLine(line: LogLine): void {
    const size = Buffer.byteLength(line.text);
    const room = this.#allowance.left;
    const fits = size <= Math.min(room, MAX_LOG_LINE_BYTES);
    const text = fits ? line.text : beginning(line.text, Math.min(room, MAX_LOG_LINE_BYTES - NOTE_BYTES));
    const kept = fits ? size : Buffer.byteLength(text);
    this.#allowance.take(kept);
    this.bytes += kept;
    this.dropped += size - kept;
    this.#push({ ...line, text: fits ? text : `${text} … (${size - kept} bytes cut)` });
  }

  #push(line: LogLine): void {
    const { attempt, item, sandbox } = this.#target;
    const of = {
      ...(attempt !== undefined && { attempt }),
      ...(item !== undefined && { item }),
      ...(sandbox !== undefined && { sandbox }),
    };
    this.#lines.push({ ...line, ...of });
    this.#timer ??= setTimeout(() => this.flush(), FLUSH_MS);
  }

  /** Sends the pending lines. Redis keeps the order: a frame pushed to a lane afterwards arrives after them. */
  flush(final = false): void {
    if (final) {
      this.#addPieces();
      this.#tellCut();
    }
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#lines.length === 0) return;
    const lines = this.#lines;
    this.#lines = [];
    const { id, namespace, name } = this.#target;
    this.#sink?.(this.#target, lines);
    const log = keys.logs(id);
    const stream = keys.logStream(namespace, name);
    const texts = lines.map((line) => JSON.stringify(line));
    const toStream: Command = [
      stream,
      (pipeline) => {
        for (const entry of entriesOf(texts))
          pipeline.xadd(stream, 'MAXLEN', '~', LOG_STREAM_LENGTH, '*', 'i', id, 'l', entry);
        return pipeline.expire(stream, RECORD_TTL_S);
      },
    ];
    const toLog: Command = [log, (pipeline) => pipeline.rpush(log, ...texts).expire(log, RECORD_TTL_S)];
    sendTogether(this.#redis, id === '' ? [toStream] : [toLog, toStream]).then(
      () =>
        id === ''
          ? // The budget checks the stream's bytes at every addition.
            this.#budget?.add({ namespace, name, id: NO_LOG }, 0, 0)
          : this.#budget?.add(this.#target, texts.length, sizeOf(texts)),
      // Redis is away, so the caller's answer cannot be delivered either; that failure is reported.
      () => this.#onLost?.(lines.length),
    );
  }

  /** Adds a last line that says how much was cut; again when work left to waitUntil() is cut after it. */
  #tellCut(): void {
    if (this.dropped === this.#told) return;
    this.#told = this.dropped;
    const { maxBytes, maxLines } = this.#allowance;
    const whole = this.#droppedLines > 0 ? `, ${this.#droppedLines} lines of them whole` : '';
    const keeper = this.#target.id === '' ? 'of what no invocation can claim, a minute' : 'an invocation';
    const text = `${this.dropped} bytes of output were cut${whole}: ${keeper} keeps ${maxBytes} bytes ("logSize") and ${maxLines} lines, a line ${MAX_LOG_LINE_BYTES} bytes`;
    this.#push({ time: Date.now(), level: 'platform', text });
  }
}

type Command = Parameters<typeof sendTogether>[1][number];

const NEWLINE = 10;
/** Entry in the budget for lines that are in the function's stream only; no invocation has this id. */
const NO_LOG = '-';
/** Size of a list element beside its text. */
const ELEMENT_BYTES = 16;

function sizeOf(texts: readonly string[]): number {
  return texts.reduce((total, text) => total + Buffer.byteLength(text) + ELEMENT_BYTES, 0);
}

/** Returns the beginning of a text, at most `bytes` of UTF-8, without half of a character. */
function beginning(text: string, bytes: number): string {
  const all = Buffer.from(text);
  let end = Math.min(bytes, all.length);
  while (end > 0 && ((all[end] ?? 0) & 0xc0) === 0x80) end--;
  return all.toString('utf8', 0, end);
}

/**
 * Joins lines into entries of the function's stream. With large entries, the number of kept entries also bounds the stream's
 * size.
 */
function* entriesOf(lines: readonly string[]): Generator<string> {
  let from = 0;
  let bytes = 0;
  for (const [at, line] of lines.entries()) {
    if (at > from && bytes + line.length > LOG_ENTRY_BYTES) {
      yield `[${lines.slice(from, at).join(',')}]`;
      from = at;
      bytes = 0;
    }
    bytes += line.length;
  }
  yield `[${lines.slice(from).join(',')}]`;
}
