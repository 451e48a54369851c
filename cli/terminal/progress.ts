/** A line on stderr that is redrawn while something goes on. On anything but a terminal it is silent. */
import type { Terminal } from './terminal.ts';
import { bytes } from './text.ts';

const BAR_COLUMNS = 24;
/** Redrawing more often than this cannot be seen, only felt. */
const REDRAW_MS = 50;

export class Progress {
  readonly #terminal: Terminal;
  #drawnAt = 0;
  #shown = false;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  /** Shows a text in place of the one before. */
  step(text: string): void {
    if (this.#terminal.interactive) this.#draw(text);
  }

  /** Shows a bar. */
  bar(label: string, done: number, total: number): void {
    if (!this.#terminal.interactive) return;
    const now = Date.now();
    if (done < total && now - this.#drawnAt < REDRAW_MS) return;
    this.#drawnAt = now;
    this.#draw(`${label} ${renderBar(done, total)} ${bytes(done)} of ${bytes(total)}`);
  }

  /** Takes the line away, so that the next output starts at its beginning. */
  clear(): void {
    if (this.#shown) process.stderr.write('\r\u001b[K');
    this.#shown = false;
  }

  #draw(text: string): void {
    process.stderr.write(`\r\u001b[K${text}`);
    this.#shown = true;
  }
}

/** `█████░░░░░  50 %`. */
export function renderBar(done: number, total: number, columns = BAR_COLUMNS): string {
  const share = total === 0 ? 1 : Math.min(1, done / total);
  const full = Math.round(share * columns);
  return `${'█'.repeat(full)}${'░'.repeat(columns - full)} ${String(Math.floor(share * 100)).padStart(3)} %`;
}
