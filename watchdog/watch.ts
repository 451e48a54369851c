/**
 * Watches a process from outside: one whose event loop is silent for too long is asked where it stands, and ended. Only another
 * process can do that for one that is stopped as a whole.
 */
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { killDescendants } from './family.ts';
import { Silence, START_MS } from './silence.ts';
import { standingOf } from './standing.ts';

/** Beats within the limit. */
const BEATS = 20;
/** How long the witness has to say where JavaScript stands. */
const WITNESS_MS = 1_000;
/** How long the kernel has to end a process: one that waits for a disk may take some time. */
const GONE_MS = 10_000;
const GONE_LOOK_MS = 100;
/** Time after SIGKILL at which the descendants are ended as well: one of them may hold the lock that the process sleeps for. */
const FAMILY_MS = 1_000;
const Frames = z.array(z.string());

export interface Watched {
  readonly pid: number;
  /** Where its beats arrive. */
  readonly beats: Duplex;
  /** Where its witness is asked. */
  readonly witness: Duplex;
  /** Ends it by SIGKILL, unless it has ended. */
  readonly kill: () => void;
  readonly onLine: (line: string) => void;
}

/** How often a process with this limit has to beat. */
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

  /** Watches from now on. Before its first beat it has `startMs`, or the limit where that is longer. */
  constructor(watched: Watched, limitMs: number, startMs = START_MS) {
    this.#watched = watched;
    const everyMs = beatMs(limitMs);
    this.#silence = new Silence(
      { limitMs, beatMs: everyMs, startMs: Math.max(startMs, limitMs) },
      performance.now(),
    );
    watched.beats.on('data', () => this.#silence.heard());
    // It has ended, which its exit says as well.
    for (const pipe of [watched.beats, watched.witness]) pipe.on('error', () => undefined);
    // Not before what has arrived was read, which timers would come ahead of.
    this.#timer = setInterval(() => setImmediate(() => this.#look()), everyMs);
  }

  /** Why it was ended, such as `stood still for 5.4 s, stopped by a signal`; undefined unless by this. */
  get stillness(): string | undefined {
    return this.#stillness;
  }

  /** Settles when it was ended and no word of that comes; else it stays pending. */
  get lost(): Promise<void> {
    return this.#lost.promise;
  }

  /** It has ended, or is asked to: from now on its silence is none. */
  stop(): void {
    clearInterval(this.#timer);
    this.#over.abort();
    // Nobody would read the last one to its end.
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
    // It was asked to stop meanwhile, which has its own end.
    if (this.#over.signal.aborted) return;
    const seconds = (silentMs / 1_000).toFixed(1);
    const what = begun ? `stood still for ${seconds} s` : `has not begun within ${seconds} s`;
    // Frames of Node's own say little; they are in the log.
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
      // All that it had is given back. Its parent hears of it when its debugger has, wait(2), which may be never.
      if ((await standingOf(pid)).ended) return this.#lost.resolve();
      if (performance.now() < familyAt) continue;
      familyAt = Infinity;
      onLine('SIGKILL has not ended it: ending what it has started');
      await killDescendants(pid);
    }
    const { text } = await standingOf(pid);
    onLine(`SIGKILL has not ended it for ${GONE_MS / 1_000} s: the kernel holds it, ${text}`);
    this.#lost.resolve();
  }

  /** Frames of JavaScript, the innermost first; none when the main thread does not get to say. */
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
