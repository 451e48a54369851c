/** A wall clock for a native program, such as Redis, that a test sets while it runs. */
import { execFile } from 'node:child_process';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

export class SteppedClock {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async make(): Promise<SteppedClock> {
    const clock = new SteppedClock(await mkdtemp(join(tmpdir(), 'offshoot-stepped-')));
    await writeFile(clock.#file, Buffer.alloc(8));
    const source = join(import.meta.dirname, 'stepped-clock.c');
    await promisify(execFile)('gcc', ['-std=gnu17', '-O1', '-shared', '-fPIC', '-o', clock.#library, source]);
    return clock;
  }

  /** Environment with which the program must be started. */
  get environment(): Readonly<Record<string, string>> {
    return { LD_PRELOAD: this.#library, OFFSHOOT_TEST_CLOCK: this.#file };
  }

  /** Sets the clock `shiftMs` milliseconds ahead of the host's. Whole seconds. */
  async set(shiftMs: number): Promise<void> {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(shiftMs));
    // Written in place, because the program has mapped the file.
    const file = await open(this.#file, 'r+');
    await file.write(bytes, 0, 8, 0);
    await file.close();
  }

  async remove(): Promise<void> {
    await rm(this.#folder, { recursive: true });
  }

  get #file(): string {
    return join(this.#folder, 'clock');
  }

  get #library(): string {
    return join(this.#folder, 'clock.so');
  }
}
