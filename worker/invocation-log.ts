/**
 * What one invocation prints: cut to lines, capped, stamped, and written to Redis twice: under the invocation's id, and
 * in the stream of the function that `offshoot logs -f` follows. All caps are in contract/limits.ts and contract/keys.ts.
 */
import type { Redis } from 'ioredis';
import { LOG_HAS_SPAN } from '#contract/channel.ts';
import { LogLevel, type LogLine } from '#contract/invocation.ts';
import { keys, LOG_STREAM_LENGTH, RECORD_TTL_S } from '#contract/keys.ts';
import { LOG_ENTRY_BYTES, MAX_LOG_LINE_BYTES } from '#contract/limits.ts';
import type { LogBudget } from '#storage/log-budget.ts';
import { sendTogether } from '#storage/redis.ts';
import { LogAllowance } from './log-allowance.ts';

/** Output as it came, not yet cut into lines. */
export type LogText = LogLine;

/** Lines are written together after this, or when the invocation ends. */
const FLUSH_MS = 50;
/** What was written to a stream without an end of line is waited for so long: it may be a piece of a line. */
const PIECE_MS = 1_000;
/** Room for the note at the end of a line that was cut. */
const NOTE_BYTES = 48;
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

/** What the log says of a refused call. */
export function refusedLine(call: string): string {
  return `seccomp: ${call} was refused`;
}

export interface LogTarget {
  /** Empty for the log of a function's own: what it prints is of no invocation that is known. */
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
  /** The context that the function is handed. */
  readonly traceparent: string;
  /** Of the queued lane: number of the try, and index of the item that runs by itself. */
  readonly attempt?: number | undefined;
  readonly item?: number | undefined;
  /** Of a function's own log. */
  readonly sandbox?: string | undefined;
}

/** Gets the lines that are kept, beside Redis. */
export type LogSink = (target: LogTarget, lines: readonly LogLine[]) => void;

export interface LogOptions {
  readonly sink?: LogSink | undefined;
  /** Where several logs share what is kept of them. */
  readonly allowance?: LogAllowance | undefined;
  /** Told of what Redis has taken, so that the logs of a function have an end. */
  readonly budget?: Pick<LogBudget, 'add'> | undefined;
  /** Told of lines that Redis did not take. */
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
  /** The line of each stream that has no end yet. */
  readonly #pieces = new Map<LogLevel, LogText>();
  #pieceTimer: NodeJS.Timeout | undefined;
  #droppedLines = 0;
  #told = 0;
  /** Bytes kept, and bytes cut. */
  bytes = 0;
  dropped = 0;

  /** `redis`: the connection that replies go out on, so that a log is there before the answer is. */
  constructor(redis: Redis, target: LogTarget, { sink, allowance, budget, onLost }: LogOptions = {}) {
    this.#redis = redis;
    this.#sink = sink;
    this.#target = target;
    this.#budget = budget;
    this.#onLost = onLost;
    this.#allowance = allowance ?? new LogAllowance();
  }

  /** Lines of which nothing was kept. */
  get droppedLines(): number {
    return this.#droppedLines;
  }

  /** Bytes that are kept; the function's own limit, as soon as it is known. */
  set maxBytes(bytes: number) {
    this.#allowance.maxBytes = bytes;
  }

  /** Nothing more is kept; whoever has output for it need not even decode that. */
  get full(): boolean {
    return this.#allowance.used;
  }

  /** Output that came when nothing more was kept: a piece of a stream, or a frame, at whose end a line ends. */
  discard(bytes: Buffer, isFrame: boolean): void {
    this.dropped += bytes.length;
    let lines = isFrame && bytes.at(-1) !== NEWLINE ? 1 : 0;
    // Not by indexOf(), because there may be as many ends of lines as there are bytes.
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

  /** Sends what is there. Redis keeps the order: what is pushed to a lane afterwards arrives after it. */
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
          ? // The bytes of the stream are looked at whenever something is added.
            this.#budget?.add({ namespace, name, id: NO_LOG }, 0, 0)
          : this.#budget?.add(this.#target, texts.length, sizeOf(texts)),
      // Redis is away; the caller's answer cannot be delivered either, and that is what gets reported.
      () => this.#onLost?.(lines.length),
    );
  }

  /** The last word of a log that was cut; once more when more is cut after it, by work that was left to waitUntil(). */
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
/** Stands in the budget for what is in the stream of a function only; no invocation has this id. */
const NO_LOG = '-';
/** What an element of a list takes beside its text. */
const ELEMENT_BYTES = 16;

function sizeOf(texts: readonly string[]): number {
  return texts.reduce((total, text) => total + Buffer.byteLength(text) + ELEMENT_BYTES, 0);
}

/** Of a text in UTF-8, so many bytes at most, and no half of a character. */
function beginning(text: string, bytes: number): string {
  const all = Buffer.from(text);
  let end = Math.min(bytes, all.length);
  while (end > 0 && ((all[end] ?? 0) & 0xc0) === 0x80) end--;
  return all.toString('utf8', 0, end);
}

/** JSON of lines, put together to entries of the function's stream: how many it keeps says then also how large it can be. */
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
