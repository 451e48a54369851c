/** The spans that a function has ended during one run, as its sandbox tells them: capped, and checked before they are kept. */
import { FunctionSpan } from '#contract/invocation.ts';

/** What is kept of one run. They travel in the record, which Redis keeps for as long as the invocation is known. */
const MAX_SPANS = 128;
const MAX_BYTES = 48 * 1024;
/** Longer ones are not parsed. */
const MAX_SPAN_BYTES = 8 * 1024;

export class FunctionSpans {
  readonly #kept: FunctionSpan[] = [];
  #bytes = 0;
  /** Those that were too many, too large, or none. */
  dropped = 0;

  /** False when it is not kept. */
  add(payload: Buffer): boolean {
    const span =
      payload.length <= MAX_SPAN_BYTES &&
      this.#bytes + payload.length <= MAX_BYTES &&
      this.#kept.length < MAX_SPANS &&
      parse(payload);
    if (!span) {
      this.dropped++;
      return false;
    }
    this.#bytes += payload.length;
    this.#kept.push(span);
    return true;
  }

  get kept(): FunctionSpan[] | undefined {
    return this.#kept.length > 0 ? this.#kept : undefined;
  }
}

function parse(payload: Buffer): FunctionSpan | undefined {
  try {
    return FunctionSpan.safeParse(JSON.parse(payload.toString('utf8'))).data;
  } catch {
    return undefined;
  }
}
