/** Cost of starting a sandbox, from nothing and from a prepared one. Real sandboxes, no Redis, no pool. */
import type { Runtime } from '#contract/functions/manifest.ts';
import { NODE_RUNTIMES } from '../../test/support/runtime/node-runtimes.ts';
import { SandboxBench } from '../../test/support/sandbox/sandbox-bench.ts';
import { figureOf, interleave, type Contestant, type Standing } from '../measure/interleave.ts';
import { containerEngines } from '../peers/containers.ts';
import { bubblewrap, helloDirectory, nodeAlone } from '../peers/processes.ts';
import type { Run } from '../measure/run.ts';
import { compared, figure, type Figure, type Section } from '../measure/stats.ts';

export const HELLO = `export default { fetch: () => Response.json({ greeting: 'Hello' }) };`;
/** Number of discarded forks: the first forks of a zygote fault in pages that the later ones share. */
const WARM_UP = 5;

/** Time from the order to make a sandbox, in milliseconds. */
interface ColdRun {
  readonly loaded: number;
  readonly answered: number;
}

/** New sandboxes, each called once and ended, in turns with new processes of the peers. */
export async function coldSection({ counts, image, temporary, stopping }: Run): Promise<Section> {
  const directory = await helloDirectory(temporary);
  const engines = await containerEngines({ image, directory, temporary, turns: counts.processes });
  try {
    return await withBenches(async (benches) => {
      const ours = benches.map(({ runtime, bench, code }): Contestant<ColdRun> => {
        const turn = async (): Promise<ColdRun> => {
          const start = performance.now();
          const one = await bench.start(code);
          const loaded = performance.now() - start;
          await one.call();
          const answered = performance.now() - start;
          await one.end();
          return { loaded, answered };
        };
        return { row: runtime, turns: counts.sandboxes, warmUp: WARM_UP, turn };
      });
      const peers = [
        nodeAlone(directory, counts.processes),
        bubblewrap(image, directory, counts.processes),
        ...engines.contestants,
      ].map(asColdRun);
      const standings = await interleave([...ours, ...peers], stopping);
      const own = standings.slice(0, ours.length);
      return {
        name: 'cold',
        title: 'Cold start: seven namespaces, cgroup, seccomp, function loaded',
        figures: compared([
          ...rowsOf(own, (run) => run.answered, 'new sandbox, first call answered'),
          ...rowsOf(own, (run) => run.loaded, 'new sandbox, function loaded'),
          ...rowsOf(standings.slice(ours.length), (run) => run.answered),
        ]),
        notes: ['a peer is timed to its first line of output'],
      };
    });
  } finally {
    await engines.stop();
  }
}

/** Time from SPECIALISE to ready, in sandboxes that were prepared before. */
export async function preparedSection({ counts, image, temporary, stopping }: Run): Promise<Section> {
  const directory = await helloDirectory(temporary);
  return await withBenches(async (benches) => {
    const ours = benches.map(({ runtime, bench, code }): Contestant<number> => {
      const turn = async (): Promise<number> => {
        const one = await bench.start(code, true);
        await one.end();
        return one.timings.isolate + one.timings.load;
      };
      const row = `prepared sandbox given its function (${runtime})`;
      return { row, turns: counts.sandboxes, warmUp: WARM_UP, turn };
    });
    const peers = [nodeAlone(directory, counts.processes), bubblewrap(image, directory, counts.processes)];
    const standings = await interleave([...ours, ...peers], stopping);
    return {
      name: 'prepared',
      title: 'Prepared sandbox: from learning its function to having loaded it',
      figures: compared(rowsOf(standings, (ms) => ms)),
    };
  });
}

interface OpenBench {
  readonly runtime: Runtime;
  readonly bench: SandboxBench;
  readonly code: string;
}

/** A zygote of each runtime, open at the same time, so that they can take turns. */
async function withBenches<T>(measure: (benches: OpenBench[]) => Promise<T>): Promise<T> {
  const benches: OpenBench[] = [];
  try {
    for (const runtime of NODE_RUNTIMES) {
      const bench = await SandboxBench.open(runtime);
      benches.push({ runtime, bench, code: await bench.addCode(HELLO) });
    }
    return await measure(benches);
  } finally {
    for (const { bench } of benches) await bench.close();
  }
}

function asColdRun(contestant: Contestant<number>): Contestant<ColdRun> {
  const turn = async (): Promise<ColdRun> => {
    const ms = await contestant.turn();
    return { loaded: ms, answered: ms };
  };
  return { ...contestant, turn };
}

/** `title` comes before the row's own name, which is then a detail. */
function rowsOf<T>(standings: readonly Standing<T>[], what: (result: T) => number, title?: string): Figure[] {
  return standings.map((standing) => {
    const row = title === undefined ? standing.row : `${title} (${standing.row})`;
    return figureOf({ ...standing, row }, 'ms', (results) => figure(row, 'ms', results.map(what)));
  });
}
