/**
 * Cuts a request body into the items of a batch as it arrives: lines of JSON, or one JSON array of any length. It parses no
 * values: an item keeps the bytes that were sent, so numbers, keys and their order do not change. It holds one item at a time,
 * so its memory does not grow with the body.
 */
import { isUtf8 } from 'node:buffer';
import { OffshootError } from '#contract/api/errors.ts';
import { JsonScanner, NotJson, TooDeep } from '#contract/api/json-scanner.ts';
import { MAX_ITEM_BYTES, MAX_ITEM_DEPTH } from '#contract/functions/limits.ts';

export type ItemForm = 'lines' | 'array';

const LINES = /^application\/(x-ndjson|ndjson|jsonl|x-jsonlines)\s*(;|$)/i;
const ARRAY = /^application\/json\s*(;|$)/i;

/** Throws `bad_request` for a body that is neither form. */
export function itemForm(contentType: string | undefined): ItemForm {
  if (contentType !== undefined && LINES.test(contentType)) return 'lines';
  if (contentType !== undefined && ARRAY.test(contentType)) return 'array';
  throw new OffshootError(
    'bad_request',
    'a batch is lines of JSON (content-type: application/x-ndjson) or a JSON array (application/json)',
  );
}

/** Takes pieces of a body and passes on each item that they complete, as JSON in one line. */
export interface ItemCutter {
  /** Throws `bad_item`, after `onItem` got the items before the invalid one. Its time is linear in the bytes of the piece. */
  push(piece: Buffer): void;
  end(): void;
}

/**
 * `onItem` gets each item as it was sent, without the white space around it. A line feed within an item becomes a space: JSON
 * allows a line feed only where it allows a space.
 */
export function itemCutter(form: ItemForm, onItem: (json: Buffer) => void): ItemCutter {
  return form === 'lines' ? new LineCutter(onItem) : new ArrayCutter(onItem);
}

const NOTHING = Buffer.alloc(0);
const LINE_FEED = 0x0a;
const SPACE = 0x20;
const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const CLOSE_OBJECT = 0x7d;
const WHITE: ReadonlySet<number> = new Set(Buffer.from(' \t\r\n'));
/** Mark that some programs write in front of UTF-8. It is skipped. */
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);

/** Base of both forms: finds where a value begins and ends, and refuses an invalid one. */
abstract class Cutter implements ItemCutter {
  readonly #onItem: (json: Buffer) => void;
  readonly #scanner: JsonScanner;
  /** The bytes of the current item that came in earlier pieces. */
  readonly #begun = new Pieces();
  #inItem = false;
  #markAt = 0;
  /** The last value. It counts as an item only when the bytes after it show that it was complete. */
  protected item: Buffer | undefined;

  constructor(onItem: (json: Buffer) => void, oneLine: boolean) {
    this.#onItem = onItem;
    this.#scanner = new JsonScanner({ maxDepth: MAX_ITEM_DEPTH, oneLine });
  }

  push(piece: Buffer): void {
    let at = this.#skipMark(piece);
    while (at < piece.length) {
      if (this.#inItem) at = this.#goOn(piece, at);
      else if (this.between(piece[at] ?? 0)) {
        this.#scanner.begin();
        this.#inItem = true;
      } else at++;
    }
  }

  end(): void {
    if (!this.#inItem) return;
    try {
      this.#scanner.end();
    } catch (error) {
      throw this.#refusal(error);
    }
    this.#whole(NOTHING);
  }

  /** Whether this byte, outside any item, begins one. Throws `bad_item` for a byte that is not allowed there. */
  protected abstract between(byte: number): boolean;
  /** Called with the last byte of an item. */
  protected abstract ended(byte: number): void;
  /** Passes on the last value, which the bytes after it have shown to be an item. */
  protected give(): void {
    if (this.item) this.#onItem(this.item);
    this.item = undefined;
  }

  /** Name of the current item in errors, such as `line 3`. */
  protected abstract get name(): string;

  #skipMark(piece: Buffer): number {
    let at = 0;
    for (; this.#markAt < BYTE_ORDER_MARK.length && at < piece.length; at++, this.#markAt++) {
      if (piece[at] === BYTE_ORDER_MARK[this.#markAt]) continue;
      if (this.#markAt > 0) throw badItem('the body does not begin with JSON');
      this.#markAt = BYTE_ORDER_MARK.length;
      break;
    }
    return at;
  }

  #goOn(piece: Buffer, from: number): number {
    let stop: number;
    try {
      stop = this.#scanner.scan(piece, from);
    } catch (error) {
      throw this.#refusal(error);
    }
    const part = piece.subarray(from, stop);
    if (this.#begun.bytes + part.length > MAX_ITEM_BYTES) throw this.#tooLarge();
    if (this.#scanner.isWhole) this.#whole(part);
    else this.#begun.add(part);
    return stop;
  }

  #whole(last: Buffer): void {
    // A copy, so that a small item does not keep a whole piece of the body in memory.
    const item = this.#begun.take(last);
    // Refused here, because decoding would turn each invalid byte into U+FFFD.
    if (!isUtf8(item)) throw badItem(`${this.name} is not UTF-8`);
    for (let at = item.indexOf(LINE_FEED); at !== -1; at = item.indexOf(LINE_FEED, at)) item[at] = SPACE;
    this.#inItem = false;
    this.item = item;
    this.ended(item.at(-1) ?? 0);
  }

  #tooLarge(): OffshootError {
    const message = `${this.name} is larger than ${MAX_ITEM_BYTES} bytes, the most that an item may have`;
    return badItem(message, { limit: MAX_ITEM_BYTES });
  }

  #refusal(error: unknown): unknown {
    if (!(error instanceof NotJson)) return error;
    if (error instanceof TooDeep)
      return badItem(
        `${this.name} has arrays and objects more than ${MAX_ITEM_DEPTH} deep in one another, the most that an item may have`,
        { limit: MAX_ITEM_DEPTH },
      );
    return badItem(`${this.name} is not JSON: ${error.message}`);
  }
}

class LineCutter extends Cutter {
  #line = 1;

  constructor(onItem: (json: Buffer) => void) {
    super(onItem, true);
  }

  override end(): void {
    super.end();
    this.give();
  }

  protected between(byte: number): boolean {
    if (byte === LINE_FEED) {
      this.give();
      this.#line++;
    }
    if (WHITE.has(byte)) return false;
    if (this.item) throw badItem(`${this.name} is not JSON: more text follows the value`);
    return true;
  }

  protected ended(): void {}

  protected get name(): string {
    return `line ${this.#line}`;
  }
}

/** Position of a byte between two items of the array. */
type Position = 'before' | 'first' | 'behind-item' | 'behind-comma' | 'behind';

class ArrayCutter extends Cutter {
  #items = 0;
  #position: Position = 'before';

  constructor(onItem: (json: Buffer) => void) {
    super(onItem, false);
  }

  override end(): void {
    super.end();
    // An empty body has no items and is no error.
    if (this.#position !== 'before' && this.#position !== 'behind') throw this.#notJson('it ends too early');
  }

  protected between(byte: number): boolean {
    if (WHITE.has(byte)) return false;
    switch (this.#position) {
      case 'before':
        if (byte !== OPEN_ARRAY) throw badItem('the body is not a JSON array');
        this.#position = 'first';
        return false;
      case 'behind-item':
        return this.#behindItem(byte);
      case 'behind':
        throw this.#notJson('more text follows its end');
      case 'first':
      case 'behind-comma':
    }
    if (byte !== CLOSE_ARRAY && byte !== COMMA) return true;
    if (byte === COMMA || this.#position === 'behind-comma')
      throw this.#notJson(`there is no item before a ${byte === COMMA ? 'comma' : 'bracket'}`);
    this.#position = 'behind';
    return false;
  }

  protected ended(byte: number): void {
    this.#position = 'behind-item';
    // A slow client sends the comma only with the next item, and this item should run soon. A number or word may continue.
    if (byte === CLOSE_ARRAY || byte === CLOSE_OBJECT || byte === QUOTE) this.#take();
  }

  #take(): void {
    this.#items++;
    this.give();
  }

  #behindItem(byte: number): boolean {
    if (byte !== COMMA && byte !== CLOSE_ARRAY)
      throw this.item
        ? badItem(`${this.name} is not JSON: more text follows it`)
        : this.#notJson('a comma is missing after them');
    if (this.item) this.#take();
    this.#position = byte === COMMA ? 'behind-comma' : 'behind';
    return false;
  }

  protected get name(): string {
    return `item ${this.#items + 1}`;
  }

  #notJson(why: string): OffshootError {
    return badItem(`after ${this.#items} items the array is not JSON: ${why}`);
  }
}

/** Collects bytes that come in parts. The buffer doubles, so that many small parts stay cheap. */
class Pieces {
  #buffer: Buffer = NOTHING;
  bytes = 0;

  add(part: Buffer): void {
    const bytes = this.bytes + part.length;
    if (bytes > this.#buffer.length)
      this.#buffer = Buffer.concat([this.#buffer.subarray(0, this.bytes)], 2 * bytes);
    part.copy(this.#buffer, this.bytes);
    this.bytes = bytes;
  }

  /** Returns all bytes, with `last`, in a new buffer, and forgets them. */
  take(last: Buffer): Buffer {
    const all = Buffer.concat([this.#buffer.subarray(0, this.bytes), last]);
    this.#buffer = NOTHING;
    this.bytes = 0;
    return all;
  }
}

function badItem(message: string, details?: Record<string, unknown>): OffshootError {
  return new OffshootError('bad_item', message, details && { details });
}
