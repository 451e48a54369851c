/**
 * Starts the parts of a process in order, stops them in reverse, and logs each with its time. A part may use those before it: they
 * start earlier and stop later.
 */
import { setTimeout as sleep } from 'node:timers/promises';

export interface Part {
  readonly name: string;
  readonly start?: () => Promise<unknown> | void;
  /**
   * Takes no more work, and settles when the work under way is done, or after `graceMs`. All parts drain at the same time, and
   * none stops before all have drained.
   */
  readonly drain?: (graceMs: number) => Promise<unknown> | void;
  readonly stop?: () => Promise<unknown> | void;
}

export interface PartsLog {
  info(facts: object, message: string): void;
  error(facts: object, message: string): void;
}

/** Time limit of a part for its stop, and for its drain beyond the grace. A part that hangs must not keep the others from stopping. */
const STOP_MS = 5_000;

export class Parts {
  readonly #parts: readonly Part[];
  readonly #log: PartsLog;
  readonly #stopMs: number;
  /** Parts whose start has begun, in that order. */
  readonly #begun: Part[] = [];
  readonly #failures: string[] = [];
  #stopping: Promise<void> | undefined;

  /** `stopMs`: time limit of each stop, for tests. */
  constructor(parts: readonly Part[], log: PartsLog, stopMs = STOP_MS) {
    this.#parts = parts;
    this.#log = log;
    this.#stopMs = stopMs;
  }

  /**
   * Starts all parts in order. When one fails, stops those before it and rejects with an error that names it. After stop(), no
   * further part starts, and this resolves.
   */
  async start(): Promise<void> {
    for (const part of this.#parts) {
      if (this.#stopping) return;
      this.#begun.push(part);
      try {
        if (part.start) await this.#timed(part.name, 'started', part.start);
      } catch (error) {
        if (this.#stopping) return;
        this.#begun.pop();
        // The first failure is the one to report; stop() has logged its own.
        await this.stop(0).catch(() => undefined);
        throw new Error(`the part "${part.name}" did not start: ${textOf(error)}`, { cause: error });
      }
    }
  }

  /**
   * Drains the started parts within `graceMs`, then stops them in reverse. A part that fails or takes too long is left, and the
   * others go on. Rejects in the end with an error that names such parts.
   */
  stop(graceMs: number): Promise<void> {
    return (this.#stopping ??= this.#stop(graceMs));
  }

  async #stop(graceMs: number): Promise<void> {
    const parts = this.#begun.toReversed();
    await Promise.all(
      parts.map(async ({ name, drain }) => {
        if (drain) await this.#ended(name, 'drained', () => drain(graceMs), graceMs + this.#stopMs);
      }),
    );
    for (const { name, stop } of parts) if (stop) await this.#ended(name, 'stopped', stop, this.#stopMs);
    if (this.#failures.length > 0)
      throw new Error(`these parts did not stop in order: ${this.#failures.join(', ')}`);
  }

  async #ended(name: string, verb: string, act: NonNullable<Part['stop']>, limitMs: number): Promise<void> {
    const late = new AbortController();
    const limit = sleep(limitMs, undefined, { signal: late.signal }).then(() => {
      throw new Error(`it was not ${verb} within ${limitMs} ms`);
    });
    // Aborted in the usual case.
    limit.catch(() => undefined);
    try {
      await Promise.race([this.#timed(name, verb, act), limit]);
    } catch (error) {
      this.#failures.push(`${name} (${textOf(error)})`);
      this.#log.error({ part: name, err: error }, `part not ${verb}`);
    } finally {
      late.abort();
    }
  }

  async #timed(name: string, verb: string, act: () => Promise<unknown> | void): Promise<void> {
    const begun = performance.now();
    await act();
    this.#log.info({ part: name, ms: Math.round((performance.now() - begun) * 10) / 10 }, `part ${verb}`);
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
