/**
 * Finds positions in a source map (ECMA-426). It decodes the lines up to the wanted one and keeps none of them: the module of Node
 * keeps all, which took 190 MB and half a second for a map of 5 MB. That would end a function that only looks at a stack.
 */

/** Number of lines between two places at which a search can begin. */
const LINES_BETWEEN = 512;
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const SEMICOLON = 59;
const COMMA = 44;
/** Bit of a digit that another one follows, and number of the bits below it. */
const CONTINUES = 32;
const DIGIT_BITS = 5;

const DIGITS = new Uint8Array(128);
for (let at = 0; at < ALPHABET.length; at++) DIGITS[ALPHABET.charCodeAt(at)] = at;

/** Place in the mappings, with the fields to which the next ones are relative. Lines and columns count from 0. */
interface State {
  at: number;
  line: number;
  source: number;
  sourceLine: number;
  sourceColumn: number;
}

export interface SourcePosition {
  readonly source: string;
  /** From 0, as the column. */
  readonly line: number;
  readonly column: number;
}

export class SourceMapReader {
  readonly #mappings: string;
  readonly #sources: readonly string[];
  readonly #places: State[] = [{ at: 0, line: 0, source: 0, sourceLine: 0, sourceColumn: 0 }];
  /** Place behind the digits of the field that was read last. */
  #at = 0;

  /** Throws if `json` is no source map of version 3. */
  constructor(json: string) {
    const { mappings, sources } = JSON.parse(json) as { mappings: unknown; sources: unknown };
    if (typeof mappings !== 'string' || !Array.isArray(sources)) throw new Error('no source map');
    this.#mappings = mappings;
    this.#sources = sources.map(String);
  }

  /** Returns the source of a position of the generated file, both from 0; undefined if it has none. */
  find(line: number, column: number): SourcePosition | undefined {
    const place = this.#places[Math.min(Math.floor(line / LINES_BETWEEN), this.#places.length - 1)];
    const state: State = { ...(place as State) };
    const mappings = this.#mappings;
    let generated = 0;
    let found: SourcePosition | undefined;
    while (state.at < mappings.length && state.line <= line) {
      const code = mappings.charCodeAt(state.at);
      if (code === SEMICOLON) {
        state.at++;
        state.line++;
        generated = 0;
        if (state.line === this.#places.length * LINES_BETWEEN) this.#places.push({ ...state });
        continue;
      }
      if (code === COMMA) {
        state.at++;
        continue;
      }
      this.#at = state.at;
      generated += this.#field();
      const hasSource = this.#isField();
      if (hasSource) {
        state.source += this.#field();
        state.sourceLine += this.#field();
        state.sourceColumn += this.#field();
        // The index of a name.
        if (this.#isField()) this.#field();
      }
      state.at = this.#at;
      if (state.line < line) continue;
      if (generated > column) break;
      const source = this.#sources[state.source];
      found =
        hasSource && source !== undefined
          ? { source, line: state.sourceLine, column: state.sourceColumn }
          : undefined;
    }
    return found;
  }

  #isField(): boolean {
    const code = this.#mappings.charCodeAt(this.#at);
    return code !== COMMA && code !== SEMICOLON && !Number.isNaN(code);
  }

  /** Reads a number: digits of five bits, the lowest first, with the sign in the lowest bit of all. */
  #field(): number {
    let value = 0;
    for (let shift = 0; ; shift += DIGIT_BITS) {
      const digit = DIGITS[this.#mappings.charCodeAt(this.#at++)] ?? 0;
      value += (digit & (CONTINUES - 1)) << shift;
      if ((digit & CONTINUES) === 0) return value & 1 ? -(value >>> 1) : value >>> 1;
    }
  }
}
