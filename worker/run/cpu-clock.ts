/**
 * Limits the processor time of runs. The kernel has no alarm for it, so the clock polls. A sandbox cannot use more time than its
 * processors give, so each poll knows the earliest useful time for the next one. Runs without a limit cost nothing.
 */
import { availableParallelism } from 'node:os';
import { CPU_PERIOD_US } from '../cgroup/driver.ts';

export interface CpuWatch {
  /** Processor time until now, in milliseconds. */
  cpuMs(): number;
  readonly limitMs: number;
  /** Processor limit of the sandbox, in cores. */
  readonly cores: number;
  /** Called once, when the limit is reached. */
  onLimit(): void;
}

const PERIOD_MS = CPU_PERIOD_US / 1000;
/** Lower bound on the time between two polls of one run, so that the last milliseconds do not become a busy loop. */
const MIN_PAUSE_MS = 10;

/**
 * Returns a time in milliseconds within which `leftMs` of processor time cannot be used up. Two rates are possible: all
 * processors of the host at once, or the quota, which may be used one period ahead.
 */
export function pauseMs(leftMs: number, cores: number, processors: number): number {
  return Math.max(MIN_PAUSE_MS, leftMs / processors, leftMs / cores - PERIOD_MS);
}

interface Entry {
  readonly watch: CpuWatch;
  readonly endMs: number;
  dueAt: number;
}

export class CpuClock {
  readonly #entries = new Set<Entry>();
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;

  /** Watches a run from now on; returns a function that ends the watch. */
  watch(watch: CpuWatch): () => void {
    const used = watch.cpuMs();
    const entry = { watch, endMs: used + watch.limitMs, dueAt: nextLook(watch, watch.limitMs) };
    this.#entries.add(entry);
    this.#arm();
    return () => {
      this.#entries.delete(entry);
    };
  }

  #look(): void {
    this.#timer = undefined;
    this.#timerAt = Number.POSITIVE_INFINITY;
    const now = performance.now();
    for (const entry of this.#entries) {
      if (entry.dueAt > now) continue;
      const leftMs = entry.endMs - entry.watch.cpuMs();
      if (leftMs > 0) {
        entry.dueAt = nextLook(entry.watch, leftMs);
        continue;
      }
      this.#entries.delete(entry);
      entry.watch.onLimit();
    }
    this.#arm();
  }

  /** Sets one timer for all runs; its run may have ended when it fires. */
  #arm(): void {
    let earliest = Number.POSITIVE_INFINITY;
    for (const { dueAt } of this.#entries) earliest = Math.min(earliest, dueAt);
    if (earliest >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = earliest;
    this.#timer = setTimeout(() => this.#look(), Math.max(0, earliest - performance.now()));
  }
}

function nextLook({ cores }: CpuWatch, leftMs: number): number {
  return performance.now() + pauseMs(leftMs, cores, availableParallelism());
}
