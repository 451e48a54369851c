/**
 * Decides when a zygote is replaced. Its forks share an address layout and a hash seed, which help an attacker more the longer
 * they stay the same. A crash of a sandbox may be a failed guess at them. Pure except for the list of crashes.
 */
import type { Exit } from '../sandbox/zygote/zygote.ts';

export interface ZygoteWear {
  readonly forks: number;
  readonly ageMs: number;
  /** Number of its sandboxes that crashed within the window. */
  readonly crashes: number;
}

export interface WearLimits {
  readonly forks: number;
  readonly ageMs: number;
  readonly crashes: number;
  readonly crashWindowMs: number;
  /**
   * Lower bound on the age at which crashes replace a zygote: a function that crashes at every call must not keep the processors
   * busy with warming zygotes.
   */
  readonly minAgeMs: number;
}

/** Returns why the zygote should be replaced now, or undefined. */
export function wornBy(wear: ZygoteWear, limits: WearLimits): 'forks' | 'age' | 'crashes' | undefined {
  if (wear.forks >= limits.forks) return 'forks';
  if (wear.ageMs >= limits.ageMs) return 'age';
  return wear.crashes >= limits.crashes && wear.ageMs >= limits.minAgeMs ? 'crashes' : undefined;
}

/** Signals for a process that did something illegal or impossible; other signals are sent on purpose. */
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

/** Remembers the latest times of an event, no more than `kept`. */
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

  /** Returns how many of the remembered times lie within the last `windowMs`. */
  within(windowMs: number, now: number): number {
    return this.#times.filter((time) => now - time < windowMs).length;
  }
}
