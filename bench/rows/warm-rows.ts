/** Warm calls through the whole path: HTTP, gateway, Redis, worker, sandbox and back; peers beside them in turns. */
import type { LoadResult } from '../measure/http-load.ts';
import { figureOf, interleave } from '../measure/interleave.ts';
import type { Run } from '../measure/run.ts';
import { compared, figure, quantile, type Figure, type Section } from '../measure/stats.ts';
import { withContestants } from './warm-contestants.ts';

const AT_ONCE = 64;

/** One call after the other. */
export async function warmSection(run: Run): Promise<Section> {
  const { calls, callTurns: turns } = run.counts;
  const effort = { calls: Math.max(1, Math.round(calls / turns)) };
  return await withContestants(run, effort, turns, async (contestants) => {
    const standings = await interleave(contestants, run.stopping);
    return {
      name: 'warm',
      title: 'Warm calls over HTTP through Redis, one at a time',
      figures: compared(standings.map((standing) => figureOf(standing, 'ms', timesOf))),
    };
  });
}

/** Many calls at a time: calls a second, and the time of each. */
export async function loadSections(run: Run): Promise<Section[]> {
  const { seconds, loadTurns: turns } = run.counts;
  return await withContestants(run, { atOnce: AT_ONCE, seconds }, turns, async (contestants) => {
    const standings = await interleave(contestants, run.stopping);
    const named = { name: 'load', notes: [`medians of ${turns} runs of ${seconds} s`] };
    return [
      {
        ...named,
        title: `Warm calls over HTTP through Redis, ${AT_ONCE} at a time: calls a second`,
        figures: compared(standings.map((standing) => figureOf(standing, 'per second', ratesOf))),
      },
      {
        ...named,
        title: `The same calls, ${AT_ONCE} at a time: how long each takes`,
        figures: compared(standings.map((standing) => figureOf(standing, 'ms', latenciesOf))),
      },
    ];
  });
}

function timesOf(results: readonly LoadResult[], row: string): Figure {
  const times = results.flatMap((result) => result.times);
  return figure(row, 'ms', times);
}

function ratesOf(results: readonly LoadResult[], row: string): Figure {
  const rates = results.map((result) => result.perSecond);
  return figure(row, 'per second', rates);
}

/** Each run has its own quantiles; the figures are their medians. */
function latenciesOf(results: readonly LoadResult[], row: string): Figure {
  const medians = results.map((result) => result.p50);
  const slowest = results.map((result) => result.p99);
  const made = figure(row, 'ms', medians);
  if (made.median === null) return made;
  return { ...made, p99: quantile(slowest, 0.5), count: results.reduce((sum, { calls }) => sum + calls, 0) };
}
