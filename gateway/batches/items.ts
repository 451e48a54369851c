/**
 * Cuts a request body into the items of a batch as it arrives: lines of JSON, or one JSON array of any length. Holds one item
 * at a time, so the memory that it takes does not grow with the body.
 */
import { isUtf8 } from 'node:buffer';
import { JSONParser } from '@streamparser/json';
import { OffshootError } from '#contract/errors.ts';
import { MAX_ITEM_BYTES } from '#contract/limits.ts';

export type ItemForm = 'lines' | 'array';

const NEWLINE = 0x0a;
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

/** Takes pieces of a body; gives the items that are whole with them, each as JSON in one line. */
export interface ItemCutter {
  /** Throws `bad_item`, after what came before it has been given to `onItem`. */
  push(piece: Buffer): void;
  end(): void;
}

/** `onItem` gets the JSON of each item, without line breaks. */
export function itemCutter(form: ItemForm, onItem: (json: Buffer) => void): ItemCutter {
  return form === 'lines' ? new LineCutter(onItem) : new ArrayCutter(onItem);
}

class LineCutter implements ItemCutter {
  readonly #onItem: (json: Buffer) => void;
  #rest: Buffer[] = [];
  #held = 0;
  #line = 0;

  constructor(onItem: (json: Buffer) => void) {
    this.#onItem = onItem;
  }

  push(piece: Buffer): void {
    let at = 0;
    for (let end = piece.indexOf(NEWLINE); end !== -1; end = piece.indexOf(NEWLINE, at)) {
      const part = piece.subarray(at, end);
      const line = this.#held === 0 ? part : Buffer.concat([...this.#rest, part]);
      this.#rest = [];
      this.#held = 0;
      this.#take(line);
      at = end + 1;
    }
    if (at === piece.length) return;
    const left = piece.subarray(at);
    this.#rest.push(left);
    this.#held += left.length;
    if (this.#held > MAX_ITEM_BYTES) throw tooLarge(`line ${this.#line + 1}`);
  }

  end(): void {
    if (this.#held > 0) this.#take(Buffer.concat(this.#rest));
  }

  #take(line: Buffer): void {
    this.#line++;
    // What is no text would become another one: each wrong byte a U+FFFD.
    if (!isUtf8(line)) throw badItem(`line ${this.#line} is not UTF-8`);
    const text = line.toString('utf8').trim();
    if (text === '') return;
    if (line.length > MAX_ITEM_BYTES) throw tooLarge(`line ${this.#line}`);
    try {
      JSON.parse(text);
    } catch (error) {
      throw badItem(`line ${this.#line} is not JSON: ${messageOf(error)}`);
    }
    this.#onItem(Buffer.from(text));
  }
}

class ArrayCutter implements ItemCutter {
  readonly #parser = new JSONParser({ paths: ['$.*'], keepStack: false });
  #items = 0;
  /** Since the last item was whole. */
  #bytes = 0;
  #begun = false;

  constructor(onItem: (json: Buffer) => void) {
    this.#parser.onValue = ({ value }) => {
      this.#items++;
      this.#bytes = 0;
      const json = Buffer.from(JSON.stringify(value));
      if (json.length > MAX_ITEM_BYTES) throw tooLarge(`item ${this.#items}`);
      onItem(json);
    };
  }

  push(piece: Buffer): void {
    if (!this.#begun) {
      const first = piece.toString('latin1').trimStart()[0];
      if (first === undefined) return;
      if (first !== '[') throw badItem('the body is not a JSON array');
      this.#begun = true;
    }
    this.#parse(() => this.#parser.write(piece));
    this.#bytes += piece.length;
    // A piece may hold the ends of many items, so this bounds what is held and not exactly an item.
    if (this.#bytes > 2 * MAX_ITEM_BYTES) throw tooLarge(`item ${this.#items + 1}`);
  }

  end(): void {
    if (!this.#begun) return;
    if (!this.#parser.isEnded) this.#parse(() => this.#parser.end());
  }

  #parse(act: () => void): void {
    try {
      act();
    } catch (error) {
      if (error instanceof OffshootError) throw error;
      throw badItem(`after ${this.#items} items the array is not JSON: ${messageOf(error)}`);
    }
  }
}

function tooLarge(what: string): OffshootError {
  return badItem(`${what} is larger than ${MAX_ITEM_BYTES} bytes, the most that an item may have`);
}

function badItem(message: string): OffshootError {
  return new OffshootError('bad_item', message);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
