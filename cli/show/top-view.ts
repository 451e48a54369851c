/** The screen of `offshoot top`, as pure functions of the answers of the gateway. */
import type { WorkerStatus } from '#contract/api/api.ts';
import type { AnyInvocation } from '#contract/invocations/invocation.ts';
import { isFailure } from '#contract/invocations/outcome.ts';
import { table } from '../terminal/terminal.ts';
import { ago, milliseconds } from '../terminal/text.ts';

export interface FunctionRow {
  readonly function: string;
  readonly perSecond: number;
  /** Of those that have ended: share that failed, and that were cold. */
  readonly failed: number;
  readonly cold: number;
  readonly p50: number;
  readonly p99: number;
  readonly running: number;
  readonly queued: number;
}

/** One row for each function that was called within the window, the busiest first. */
export function functionRows(
  records: readonly AnyInvocation[],
  windowMs: number,
  now: number,
): FunctionRow[] {
  const recent = records.filter(({ startedAt, state }) => state !== 'done' || startedAt > now - windowMs);
  const byFunction = Map.groupBy(recent, ({ namespace, name }) => `${namespace}/${name}`);
  return [...byFunction]
    .map(([name, all]) => {
      const ended = all.filter((one) => one.state === 'done');
      const times = ended.map(({ duration }) => duration).toSorted((a, b) => a - b);
      const share = (count: number): number => (ended.length === 0 ? 0 : count / ended.length);
      return {
        function: name,
        perSecond: all.filter(({ startedAt }) => startedAt > now - windowMs).length / (windowMs / 1_000),
        failed: share(ended.filter(({ outcome }) => isFailure(outcome)).length),
        cold: share(
          ended.filter(({ report }) => report?.acquired !== undefined && report.acquired !== 'idle').length,
        ),
        p50: quantile(times, 0.5),
        p99: quantile(times, 0.99),
        running: all.filter(({ state }) => state === 'running').length,
        queued: all.filter(({ state }) => state === 'queued').length,
      };
    })
    .toSorted((a, b) => b.perSecond - a.perSecond || a.function.localeCompare(b.function));
}

function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

const percent = (share: number): string => `${(share * 100).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;

/** The lines of a screen; `height` at most. */
export function topLines(
  workers: readonly WorkerStatus[],
  rows: readonly FunctionRow[],
  height: number,
): string[] {
  const sandboxes = table(
    ['WORKER', 'UP', 'RUNNING', 'BUSY', 'IDLE', 'PREPARED'],
    workers.map((one) => [
      one.id,
      ago(one.startedAt).replace(' ago', ''),
      `${one.running}/${one.capacity}`,
      String(one.busy),
      String(one.idle),
      String(one.prepared),
    ]),
  );
  const functions = table(
    ['FUNCTION', 'CALLS/S', 'FAILED', 'COLD', 'P50', 'P99', 'RUNNING', 'QUEUED'],
    rows.map((row) => [
      row.function,
      row.perSecond.toFixed(1),
      percent(row.failed),
      percent(row.cold),
      milliseconds(row.p50),
      milliseconds(row.p99),
      String(row.running),
      String(row.queued),
    ]),
  );
  const lines = [...(workers.length > 0 ? sandboxes : ['no worker is alive: npm start']), '', ...functions];
  return lines.length <= height
    ? lines
    : [...lines.slice(0, height - 1), `… ${lines.length - height + 1} more`];
}
