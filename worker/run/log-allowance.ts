/**
 * Bounds the kept output of one attempt of an invocation. The items of a batch that run one by one in one attempt share the
 * bound.
 */
import { DEFAULT_LOG_BYTES, LEAST_LOG_LINE_BYTES } from '#contract/functions/limits.ts';

export class LogAllowance {
  maxBytes = DEFAULT_LOG_BYTES;
  #bytes = 0;
  #lines = 0;

  /** Upper bound on lines, however short they are. */
  get maxLines(): number {
    return Math.ceil(this.maxBytes / LEAST_LOG_LINE_BYTES);
  }

  get used(): boolean {
    return this.#bytes >= this.maxBytes || this.#lines >= this.maxLines;
  }

  /** Number of bytes left. */
  get left(): number {
    return Math.max(0, this.maxBytes - this.#bytes);
  }

  /** Counts a kept line of this many bytes. */
  take(bytes: number): void {
    this.#bytes += bytes;
    this.#lines++;
  }
}
