/** Makes a LoadResult from the times of calls, in the process that made the calls. */
import type { Effort, LoadResult } from './http-load.ts';
import { quantile } from './stats.ts';

export function loadResult(times: readonly number[], elapsedMs: number, effort: Effort): LoadResult {
  return {
    calls: times.length,
    perSecond: (times.length / elapsedMs) * 1_000,
    p50: quantile(times, 0.5),
    p99: quantile(times, 0.99),
    // Thousands of times from a busy run would cost more to pass on than they are worth.
    times: 'calls' in effort ? times : [],
  };
}
