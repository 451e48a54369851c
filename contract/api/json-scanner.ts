/**
 * Finds out whether bytes are JSON (https://www.rfc-editor.org/rfc/rfc8259), and where the value ends. It makes no values. So
 * it needs no memory, can stop and go on at any byte, and costs about the same for all bytes. A parser that makes values needs
 * up to half a second for a megabyte that was crafted for that. It does not check UTF-8; isUtf8() is quicker for that.
 */

/** The reason why bytes are not JSON. */
export class NotJson extends Error {
  override readonly name = 'NotJson';
}

/** Nested deeper than the caller allows. */
export class TooDeep extends NotJson {}

export interface ScannerOptions {
  /** Upper bound on the nesting of arrays and objects. */
  readonly maxDepth: number;
  /** Refuses a line feed as white space, since it ends the line. */
  readonly oneLine?: boolean;
}

/** The expected token, outside of strings, numbers and words. */
const Next = {
  VALUE: 0,
  VALUE_OR_END: 1,
  KEY: 2,
  KEY_OR_END: 3,
  COLON: 4,
  COMMA_OR_END: 5,
  NOTHING: 6,
} as const;
type Next = (typeof Next)[keyof typeof Next];

/** The token of the last byte. For a number: the kind of its last byte. */
const Token = {
  NONE: 0,
  STRING: 1,
  ESCAPE: 2,
  HEX: 3,
  WORD: 4,
  MINUS: 5,
  ZERO: 6,
  INTEGER: 7,
  POINT: 8,
  FRACTION: 9,
  E: 10,
  E_SIGN: 11,
  EXPONENT: 12,
} as const;
type Token = (typeof Token)[keyof typeof Token];

const TAB = 0x09;
const LINE_FEED = 0x0a;
const RETURN = 0x0d;
const SPACE = 0x20;
const QUOTE = 0x22;
const PLUS = 0x2b;
const COMMA = 0x2c;
const DASH = 0x2d;
const DOT = 0x2e;
const DIGIT_0 = 0x30;
const DIGIT_9 = 0x39;
const COLON = 0x3a;
const OPEN_ARRAY = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
/** Turns an ASCII letter into lower case. */
const SMALL = 0x20;
const LETTER_A = 0x61;
const LETTER_E = 0x65;
const LETTER_F = 0x66;
const LETTER_U = 0x75;
const ESCAPED: ReadonlySet<number> = new Set(Buffer.from('"\\/bfnrt'));
const HEX_DIGITS = 4;
const WORDS: ReadonlyMap<number, Buffer> = new Map(
  ['true', 'false', 'null'].map((word) => [word.charCodeAt(0), Buffer.from(word)]),
);
const TOO_SHORT = 'it ends too early';

export class JsonScanner {
  readonly #maxDepth: number;
  readonly #oneLine: boolean;
  /** The open brackets, in the first `#depth` bytes. */
  #open = Buffer.alloc(64);
  #depth = 0;
  #next: Next = Next.VALUE;
  #token: Token = Token.NONE;
  #isKey = false;
  #hexLeft = 0;
  #word: Buffer = Buffer.alloc(0);
  #wordAt = 0;

  constructor({ maxDepth, oneLine = false }: ScannerOptions) {
    this.#maxDepth = maxDepth;
    this.#oneLine = oneLine;
  }

  /** Resets the scanner for the next value. */
  begin(): void {
    this.#depth = 0;
    this.#next = Next.VALUE;
    this.#token = Token.NONE;
  }

  /** True if the value is complete. A number by itself is complete only at the next byte that is not part of it, or at end(). */
  get isWhole(): boolean {
    return this.#next === Next.NOTHING && this.#token === Token.NONE;
  }

  /**
   * Scans these bytes. Returns the place where it stopped: behind the last byte of a complete value, else at their end. Throws
   * NotJson for a byte that is not allowed there; after that the scanner is of no use until begin().
   */
  scan(bytes: Buffer, from: number): number {
    let at = from;
    while (at < bytes.length) {
      const token = this.#token;
      if (token === Token.NONE) {
        if (this.#next === Next.NOTHING) return at;
        at = this.#between(bytes, at);
      } else if (token === Token.STRING) at = this.#string(bytes, at);
      else if (token === Token.ESCAPE || token === Token.HEX) this.#escape(bytes[at++] ?? 0);
      else if (token === Token.WORD) this.#letter(bytes[at++] ?? 0);
      else at = this.#number(bytes, at);
    }
    return at;
  }

  /** Ends the input. Throws NotJson if the value is not complete. */
  end(): void {
    if (isNumber(this.#token)) this.#numberEnded();
    if (!this.isWhole) throw new NotJson(TOO_SHORT);
  }

  /** White space, brackets, commas and colons, up to the first byte of a string, number or word. */
  #between(bytes: Buffer, from: number): number {
    for (let at = from; at < bytes.length; at++) {
      const byte = bytes[at] ?? 0;
      if (byte === SPACE || byte === TAB || byte === RETURN || byte === LINE_FEED) {
        if (byte === LINE_FEED && this.#oneLine) throw new NotJson(TOO_SHORT);
        continue;
      }
      switch (this.#next) {
        case Next.COMMA_OR_END:
          if (byte !== COMMA) this.#close(byte);
          else this.#next = this.#open[this.#depth - 1] === OPEN_OBJECT ? Next.KEY : Next.VALUE;
          break;
        case Next.COLON:
          if (byte !== COLON) throw unexpected(byte);
          this.#next = Next.VALUE;
          break;
        case Next.KEY:
        case Next.KEY_OR_END:
          if (byte === QUOTE) {
            this.#isKey = true;
            this.#token = Token.STRING;
            return at + 1;
          }
          if (this.#next === Next.KEY) throw unexpected(byte);
          this.#close(byte);
          break;
        case Next.VALUE:
        case Next.VALUE_OR_END:
        case Next.NOTHING:
          if (byte === CLOSE_ARRAY && this.#next === Next.VALUE_OR_END) this.#close(byte);
          else if (byte === OPEN_ARRAY || byte === OPEN_OBJECT) this.#enter(byte);
          else {
            this.#beginToken(byte);
            return at + 1;
          }
      }
      if (this.#next === Next.NOTHING) return at + 1;
    }
    return bytes.length;
  }

  #enter(bracket: number): void {
    if (this.#depth >= this.#maxDepth) throw new TooDeep(`it is nested more than ${this.#maxDepth} deep`);
    if (this.#depth === this.#open.length) this.#open = Buffer.concat([this.#open], 2 * this.#open.length);
    this.#open[this.#depth++] = bracket;
    this.#next = bracket === OPEN_OBJECT ? Next.KEY_OR_END : Next.VALUE_OR_END;
  }

  #close(byte: number): void {
    const fitting = this.#open[this.#depth - 1] === OPEN_OBJECT ? CLOSE_OBJECT : CLOSE_ARRAY;
    if (byte !== fitting) throw unexpected(byte);
    this.#depth--;
    this.#valueEnded();
  }

  #valueEnded(): void {
    this.#token = Token.NONE;
    this.#next = this.#depth === 0 ? Next.NOTHING : Next.COMMA_OR_END;
  }

  #beginToken(byte: number): void {
    this.#isKey = false;
    const word = WORDS.get(byte);
    if (byte === QUOTE) this.#token = Token.STRING;
    else if (byte === DASH) this.#token = Token.MINUS;
    else if (byte === DIGIT_0) this.#token = Token.ZERO;
    else if (isDigit(byte)) this.#token = Token.INTEGER;
    else if (word) {
      this.#token = Token.WORD;
      this.#word = word;
      this.#wordAt = 1;
    } else throw unexpected(byte);
  }

  #string(bytes: Buffer, from: number): number {
    for (let at = from; at < bytes.length; at++) {
      const byte = bytes[at] ?? 0;
      if (byte === QUOTE) {
        if (this.#isKey) {
          this.#token = Token.NONE;
          this.#next = Next.COLON;
        } else this.#valueEnded();
        return at + 1;
      }
      if (byte === BACKSLASH) {
        this.#token = Token.ESCAPE;
        return at + 1;
      }
      if (byte < SPACE) throw new NotJson('a string has a control character that is not escaped');
    }
    return bytes.length;
  }

  #escape(byte: number): void {
    if (this.#token === Token.HEX) {
      const letter = byte | SMALL;
      if (!isDigit(byte) && (letter < LETTER_A || letter > LETTER_F)) throw unexpected(byte);
      if (--this.#hexLeft === 0) this.#token = Token.STRING;
    } else if (byte === LETTER_U) {
      this.#token = Token.HEX;
      this.#hexLeft = HEX_DIGITS;
    } else if (ESCAPED.has(byte)) this.#token = Token.STRING;
    else throw unexpected(byte);
  }

  #letter(byte: number): void {
    if (byte !== this.#word[this.#wordAt++]) throw unexpected(byte);
    if (this.#wordAt === this.#word.length) this.#valueEnded();
  }

  /** Stops before the first byte that is not part of the number. */
  #number(bytes: Buffer, from: number): number {
    for (let at = from; at < bytes.length; at++) {
      const byte = bytes[at] ?? 0;
      const token = afterInNumber(this.#token, byte);
      if (token === Token.NONE) {
        this.#numberEnded(byte);
        return at;
      }
      this.#token = token;
    }
    return bytes.length;
  }

  /** `byte`: the byte behind it. */
  #numberEnded(byte?: number): void {
    const { ZERO, INTEGER, FRACTION, EXPONENT } = Token;
    const token = this.#token;
    if (token !== ZERO && token !== INTEGER && token !== FRACTION && token !== EXPONENT)
      throw byte === undefined ? new NotJson(TOO_SHORT) : unexpected(byte);
    this.#valueEnded();
  }
}

/** The reason why these bytes are not exactly one JSON value, with or without white space around it. Undefined if they are. */
export function whyNotJson(bytes: Buffer): string | undefined {
  const scanner = new JsonScanner({ maxDepth: Infinity });
  try {
    const stop = scanner.scan(bytes, 0);
    scanner.end();
    for (let at = stop; at < bytes.length; at++) {
      const byte = bytes[at] ?? 0;
      if (byte !== SPACE && byte !== TAB && byte !== RETURN && byte !== LINE_FEED)
        return 'more comes behind the value';
    }
    return undefined;
  } catch (error) {
    if (error instanceof NotJson) return error.message;
    throw error;
  }
}

/** True for white space, a comma or a colon. Only for a byte between two values of bytes that are JSON. */
const isBetween = (byte: number): boolean => byte <= SPACE || byte === COMMA || byte === COLON;

/** Upper bound on the members of an object that is read member by member: the platform's own objects have a handful. */
const MAX_MEMBERS = 32;

/**
 * The members of a JSON object by name, each with its original JSON; the last one wins for a repeated name. Undefined if the
 * bytes are not one object with nothing around it, or if it has more members than the bound.
 */
export function membersOf(bytes: Buffer): Map<string, Buffer> | undefined {
  if (bytes[0] !== OPEN_OBJECT || whyNotJson(bytes) !== undefined) return undefined;
  const members = new Map<string, Buffer>();
  const scanner = new JsonScanner({ maxDepth: Infinity });
  const next = (from: number): [text: Buffer, end: number] => {
    let begin = from;
    while (isBetween(bytes[begin] ?? CLOSE_OBJECT)) begin++;
    scanner.begin();
    const end = bytes[begin] === CLOSE_OBJECT ? begin : scanner.scan(bytes, begin);
    return [bytes.subarray(begin, end), end];
  };
  for (let at = 1; ;) {
    const [name, nameEnd] = next(at);
    if (name.length === 0) return members;
    if (members.size >= MAX_MEMBERS) return undefined;
    const [value, valueEnd] = next(nameEnd);
    members.set(JSON.parse(name.toString('utf8')) as string, value);
    at = valueEnd;
  }
}

/** Kind of the number's last byte if this byte is part of it; NONE otherwise. */
function afterInNumber(token: Token, byte: number): Token {
  if (isDigit(byte)) {
    if (token === Token.MINUS) return byte === DIGIT_0 ? Token.ZERO : Token.INTEGER;
    if (token === Token.POINT) return Token.FRACTION;
    if (token === Token.E || token === Token.E_SIGN) return Token.EXPONENT;
    return token === Token.ZERO ? Token.NONE : token;
  }
  if (byte === DOT && (token === Token.ZERO || token === Token.INTEGER)) return Token.POINT;
  const mayHaveE = token === Token.ZERO || token === Token.INTEGER || token === Token.FRACTION;
  if ((byte | SMALL) === LETTER_E && mayHaveE) return Token.E;
  if ((byte === PLUS || byte === DASH) && token === Token.E) return Token.E_SIGN;
  return Token.NONE;
}

function isNumber(token: Token): boolean {
  return token >= Token.MINUS;
}

function isDigit(byte: number): boolean {
  return byte >= DIGIT_0 && byte <= DIGIT_9;
}

function unexpected(byte: number): NotJson {
  const isPlain = byte > SPACE && byte < 0x7f;
  return new NotJson(
    isPlain
      ? `${JSON.stringify(String.fromCharCode(byte))} cannot stand there`
      : `a byte 0x${byte.toString(16).padStart(2, '0')} cannot stand there`,
  );
}
