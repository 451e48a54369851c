/**
 * When a zygote is replaced. What forks of one zygote share (address layout, hash seed) is worth more to an attacker the
 * longer it stays the same, and a sandbox that crashes is how a guess at it looks from outside. Pure but for the list.
 */
import type { Exit } from '../sandbox/zygote.ts';

export interface ZygoteWear {
  readonly forks: number;
  readonly ageMs: number;
  /** Sandboxes of it that have crashed within the window. */
  readonly crashes: number;
}

export interface WearLimits {
  readonly forks: number;
  readonly ageMs: number;
  readonly crashes: number;
  readonly crashWindowMs: number;
  /**
   * A younger zygote is not replaced for crashes: a function that crashes at every call must not keep the processors busy
   * with warming zygotes.
   */
  readonly minAgeMs: number;
}

/** Why it is to be replaced now, or undefined when it is not. */
export function wornBy(wear: ZygoteWear, limits: WearLimits): 'forks' | 'age' | 'crashes' | undefined {
  if (wear.forks >= limits.forks) return 'forks';
  if (wear.ageMs >= limits.ageMs) return 'age';
  return wear.crashes >= limits.crashes && wear.ageMs >= limits.minAgeMs ? 'crashes' : undefined;
}

/** Signals of a process that did what it may not or cannot; the others are sent on purpose. */
const CRASH_SIGNALS: ReadonlySet<string> = new Set([
  'SIGSEGV',
  'SIGABRT',
  'SIGBUS',
  'SIGILL',
  'SIGFPE',
  'SIGTRAP',
  'SIGSYS',
]);

export function isCrash({ signal }: Pick<Exit, 'signal'>): boolean {
  return signal !== undefined && CRASH_SIGNALS.has(signal);
}

/** The latest moments of something, of which never more than `kept` are of interest. */
export class Burst {
  readonly #kept: number;
  readonly #times: number[] = [];

  constructor(kept: number) {
    this.#kept = kept;
  }

  add(now: number): void {
    this.#times.push(now);
    if (this.#times.length > this.#kept) this.#times.shift();
  }

  /** How many of them lie within the last `windowMs`. */
  within(windowMs: number, now: number): number {
    return this.#times.filter((time) => now - time < windowMs).length;
  }
}
