/**
 * The clock of processor time. The kernel has no alarm for it, so it is looked at; but a sandbox cannot use more than its
 * processors give, so each look says when the next one makes sense at the earliest. Runs without a limit cost nothing.
 */
import { availableParallelism } from 'node:os';
import { CPU_PERIOD_US } from '../cgroup/driver.ts';

export interface CpuWatch {
  /** Processor time so far, in milliseconds. */
  cpuMs(): number;
  readonly limitMs: number;
  /** Processor limit of the sandbox, in cores. */
  readonly cores: number;
  /** Called once. */
  onLimit(): void;
}

const PERIOD_MS = CPU_PERIOD_US / 1000;
/** Looks of one run are no closer than this, so that the last milliseconds do not become a busy loop. */
const MIN_PAUSE_MS = 10;

/**
 * Milliseconds in which `leftMs` of processor time cannot be used up: by all processors of the host at once, or by the
 * quota, which is given out for a period at a time and may so be used a period ahead.
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

  /** Watches a run from now on; returns what ends the watch. */
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

  /** One timer for all runs; it may find nothing to do, when its run has ended meanwhile. */
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
