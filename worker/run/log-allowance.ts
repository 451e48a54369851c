/** How much output of one try of an invocation is kept. The items of a batch that run one by one in one try share it. */
import { DEFAULT_LOG_BYTES, LEAST_LOG_LINE_BYTES } from '#contract/functions/limits.ts';

export class LogAllowance {
  maxBytes = DEFAULT_LOG_BYTES;
  #bytes = 0;
  #lines = 0;

  /** Lines, however short they are. */
  get maxLines(): number {
    return Math.ceil(this.maxBytes / LEAST_LOG_LINE_BYTES);
  }

  get used(): boolean {
    return this.#bytes >= this.maxBytes || this.#lines >= this.maxLines;
  }

  /** Bytes. */
  get left(): number {
    return Math.max(0, this.maxBytes - this.#bytes);
  }

  /** A line of so many bytes is kept. */
  take(bytes: number): void {
    this.#bytes += bytes;
    this.#lines++;
  }
}
