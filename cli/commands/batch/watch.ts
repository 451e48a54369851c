/** Draws how far a batch has come while it is sent and run. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Batch } from '#contract/invocations/batch.ts';
import type { Client } from '../../api/client.ts';
import { Progress, renderBar } from '../../terminal/progress.ts';
import type { Terminal } from '../../terminal/terminal.ts';
import { bytes } from '../../terminal/text.ts';
import type { ItemSource } from './items.ts';

/** Interval between two looks at the batch. */
const LOOK_MS = 200;

export class Watch {
  readonly #client: Client;
  readonly #id: string;
  readonly #progress: Progress;
  readonly #source: ItemSource;
  readonly #watching: Promise<void>;
  #stopped = false;

  constructor(client: Client, id: string, terminal: Terminal, source: ItemSource) {
    this.#client = client;
    this.#id = id;
    this.#progress = new Progress(terminal);
    this.#source = source;
    this.#watching = this.#watch();
  }

  /** Resolves when the batch has ended. */
  ended(): Promise<void> {
    return this.#watching;
  }

  stop(): void {
    this.#stopped = true;
    this.#progress.clear();
  }

  async #watch(): Promise<void> {
    while (!this.#stopped) {
      await sleep(LOOK_MS);
      // A look that fails is one that is not drawn; the sending and the last look end the command.
      const now = await this.#client.batch(this.#id).catch(() => undefined);
      if (!now || this.#stopped) continue;
      if (now.endedAt !== undefined) return;
      this.#draw(now);
    }
  }

  #draw({ items, succeeded, failed }: Batch): void {
    const { sent, size, whole } = this.#source;
    const counts = `${succeeded + failed} of ${items} items${failed > 0 ? `, ${failed} failed` : ''}`;
    if (whole) this.#progress.step(`running ${renderBar(succeeded + failed, items)} ${counts}`);
    else if (size === undefined) this.#progress.step(`sending ${bytes(sent)}, ${counts}`);
    else this.#progress.step(`sending ${renderBar(sent, size)} of ${bytes(size)}, ${counts}`);
  }
}
