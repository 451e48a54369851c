/** Makes a LoadResult of the times of calls, in the process that has made them. */
import type { Effort, LoadResult } from './http-load.ts';
import { quantile } from './stats.ts';

export function loadResult(times: readonly number[], elapsedMs: number, effort: Effort): LoadResult {
  return {
    calls: times.length,
    perSecond: (times.length / elapsedMs) * 1_000,
    p50: quantile(times, 0.5),
    p99: quantile(times, 0.99),
    // Thousands of a busy run would cost more to hand over than they are worth.
    times: 'calls' in effort ? times : [],
  };
}
