/**
 * Watches a process from outside. When its event loop is silent for too long, the watchdog asks its witness where it stands, then
 * kills it. A process that is stopped as a whole cannot do that for itself.
 */
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { killDescendants } from './family.ts';
import { Silence, START_MS } from './silence.ts';
import { standingOf } from './standing.ts';

/** Number of beats within the limit. */
const BEATS = 20;
/** Time limit for the witness's answer. */
const WITNESS_MS = 1_000;
/** Time limit for the kernel to end a killed process: a process that waits for a disk may take some time. */
const GONE_MS = 10_000;
const GONE_LOOK_MS = 100;
/** Time after SIGKILL at which the descendants are killed too: one of them may hold the lock that the process sleeps for. */
const FAMILY_MS = 1_000;
const Frames = z.array(z.string());

export interface Watched {
  readonly pid: number;
  /** Stream on which the process's beats arrive. */
  readonly beats: Duplex;
  /** Stream on which the witness is asked and answers. */
  readonly witness: Duplex;
  /** Ends the process by SIGKILL, unless it has ended. */
  readonly kill: () => void;
  readonly onLine: (line: string) => void;
}

/** Interval between the beats of a process with this limit, in milliseconds. */
export function beatMs(limitMs: number): number {
  return limitMs / BEATS;
}

export class Watchdog {
  readonly #watched: Watched;
  readonly #timer: NodeJS.Timeout;
  readonly #over = new AbortController();
  readonly #silence: Silence;
  readonly #lost = Promise.withResolvers<void>();
  #stillness: string | undefined;

  /** Starts watching. The first beat may take `startMs`, or the limit where that is longer. */
  constructor(watched: Watched, limitMs: number, startMs = START_MS) {
    this.#watched = watched;
    const everyMs = beatMs(limitMs);
    this.#silence = new Silence(
      { limitMs, beatMs: everyMs, startMs: Math.max(startMs, limitMs) },
      performance.now(),
    );
    watched.beats.on('data', () => this.#silence.heard());
    // The process has ended; its exit reports that as well.
    for (const pipe of [watched.beats, watched.witness]) pipe.on('error', () => undefined);
    // Timers run before pending input is read; setImmediate lets the beats that have arrived be counted first.
    this.#timer = setInterval(() => setImmediate(() => this.#look()), everyMs);
  }

  /**
   * The reason for the kill, such as `stood still for 5.4 s, stopped by a signal`; undefined unless the watchdog killed the
   * process.
   */
  get stillness(): string | undefined {
    return this.#stillness;
  }

  /**
   * Settles when a killed process has ended, or is held by the kernel, without its parent hearing of it; else it stays pending.
   */
  get lost(): Promise<void> {
    return this.#lost.promise;
  }

  /** Stops watching, because the process has ended or was asked to end: its silence no longer counts. */
  stop(): void {
    clearInterval(this.#timer);
    this.#over.abort();
    // The witness's pipe is read only after a question, so it would never end by itself.
    for (const pipe of [this.#watched.beats, this.#watched.witness]) pipe.destroy();
  }

  #look(): void {
    if (this.#over.signal.aborted || !this.#silence.look(performance.now())) return;
    clearInterval(this.#timer);
    void this.#end();
  }

  async #end(): Promise<void> {
    const { pid, kill, onLine } = this.#watched;
    const { begun, silentMs } = this.#silence;
    const standing = await standingOf(pid);
    const frames = standing.stopped ? [] : await this.#askWitness();
    // The process was asked to stop meanwhile; that stop has its own time limit.
    if (this.#over.signal.aborted) return;
    const seconds = (silentMs / 1_000).toFixed(1);
    const what = begun ? `stood still for ${seconds} s` : `has not begun within ${seconds} s`;
    // Node's own frames say little; the log has them.
    const frame = frames.find((one) => !one.includes('(node:')) ?? frames[0];
    const script = frame === undefined ? '' : `${standing.running ? ' ' : ', '}JavaScript at ${frame}`;
    this.#stillness = `${what}, ${standing.text}${script}`;
    for (const one of frames) onLine(`    at ${one}`);
    kill();
    await this.#untilGone();
  }

  async #untilGone(): Promise<void> {
    const { pid, onLine } = this.#watched;
    const giveUp = performance.now() + GONE_MS;
    let familyAt = performance.now() + FAMILY_MS;
    while (performance.now() < giveUp) {
      await sleep(GONE_LOOK_MS);
      if (this.#over.signal.aborted) return;
      // The process has released all that it held. With a debugger attached its parent hears of that only after the debugger has
      // collected it, wait(2), which may be never.
      if ((await standingOf(pid)).ended) return this.#lost.resolve();
      if (performance.now() < familyAt) continue;
      familyAt = Infinity;
      onLine('SIGKILL has not ended it: killing its descendants');
      await killDescendants(pid);
    }
    const { text } = await standingOf(pid);
    onLine(`SIGKILL has not ended it within ${GONE_MS / 1_000} s: the kernel holds it, ${text}`);
    this.#lost.resolve();
  }

  /** Frames of JavaScript, innermost first; none when the main thread does not reach a point where it can answer. */
  async #askWitness(): Promise<readonly string[]> {
    const { witness } = this.#watched;
    const patience = AbortSignal.any([this.#over.signal, AbortSignal.timeout(WITNESS_MS)]);
    const lines = createInterface({ input: witness });
    try {
      witness.write('?');
      const [line] = (await once(lines, 'line', { signal: patience })) as [string];
      return Frames.parse(JSON.parse(line));
    } catch {
      return [];
    } finally {
      lines.close();
    }
  }
}
