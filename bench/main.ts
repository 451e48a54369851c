/**
 * npm run bench: measures this machine, with the platform and its peers in the same run. See `npm run bench -- --help`.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { batchSection } from './rows/batch-rows.ts';
import { forkSection } from './rows/fork-rows.ts';
import { listSection } from './rows/list-rows.ts';
import { messageOf } from './measure/interleave.ts';
import { makeTemporary, sweepCgroups } from './measure/leftovers.ts';
import { describeMachine, machineLine } from './measure/machine.ts';
import { memorySection } from './rows/memory-rows.ts';
import { queuedSection } from './rows/queued-rows.ts';
import { FULL, QUICK, type Run } from './measure/run.ts';
import { coldSection, preparedSection } from './rows/sandbox-rows.ts';
import { render, type Section } from './measure/stats.ts';
import { tracingSections } from './rows/tracing-rows.ts';
import { loadSections, warmSection } from './rows/warm-rows.ts';

const ROWS: Readonly<Record<string, (run: Run) => Promise<Section | Section[]>>> = {
  cold: coldSection,
  prepared: preparedSection,
  fork: forkSection,
  memory: memorySection,
  warm: warmSection,
  load: loadSections,
  tracing: tracingSections,
  queued: queuedSection,
  batch: batchSection,
  list: listSection,
};

const HELP = `npm run bench -- [--quick] [--json] [--only NAME]...

  --quick      small counts: does it run at all
  --json       the report on standard output instead of the tables
  --only NAME  one of ${Object.keys(ROWS).join(', ')}; may be given more than once
`;

const { values: flags } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true, default: [] },
    help: { type: 'boolean', default: false },
  },
});

/** Settles when everything has been measured and no process or file of the run is left. */
async function main(state: string, names: readonly string[], stopping: AbortSignal): Promise<boolean> {
  const machine = describeMachine();
  const say = (text: string): void => {
    if (!flags.json) console.log(text);
  };
  const temporary = await makeTemporary();
  // Every temporary file lies in it, so all of them are removed at the end.
  process.env['TMPDIR'] = temporary;
  const run: Run = {
    counts: flags.quick ? QUICK : FULL,
    image: join(state, 'images/node26'),
    state,
    temporary,
    stopping,
  };
  const sections: Section[] = [];
  const failures: string[] = [];
  try {
    say(machineLine(machine));
    for (const name of names) {
      try {
        const own = await mkdtemp(join(temporary, `${name}-`));
        const made = [(await ROWS[name]?.({ ...run, temporary: own })) ?? []].flat();
        sections.push(...made);
        for (const section of made) say(`\n${render(section)}`);
      } catch (error) {
        stopping.throwIfAborted();
        failures.push(`${name}: ${messageOf(error)}`);
        console.error(
          `\n${name} could not be measured: ${error instanceof Error ? error.message : String(error)}`,
        );
      }
    }
  } finally {
    sweepCgroups();
    await rm(temporary, { recursive: true, force: true });
  }
  const file = join(state, 'bench', `${machine.time.replaceAll(':', '-')}.json`);
  const report = JSON.stringify({ machine, quick: flags.quick, sections, failures }, null, 2);
  await mkdir(join(state, 'bench'), { recursive: true });
  await writeFile(file, `${report}\n`);
  if (flags.json) console.log(report);
  console.error(`\nkept in ${file}`);
  return failures.length === 0;
}

/** The mistake in the arguments or the environment, if there is one. */
function complaint(state: string | undefined, names: readonly string[]): string | undefined {
  const unknown = names.find((name) => !Object.hasOwn(ROWS, name));
  if (unknown !== undefined) return `there is no row "${unknown}".\n\n${HELP}`;
  if (!state || process.getuid?.() === 0) {
    return 'the bench runs as the service user, with OFFSHOOT_STATE set: npm run bench';
  }
  return undefined;
}

const names = flags.only.length > 0 ? flags.only : Object.keys(ROWS);
const state = process.env['OFFSHOOT_STATE'];
const wrong = complaint(state, names);
if (flags.help) {
  console.log(HELP);
} else if (wrong !== undefined) {
  console.error(wrong);
  process.exitCode = 2;
} else {
  const stopping = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      // At the second signal the bench exits at once: the kernel ends its children.
      if (stopping.signal.aborted) process.exit(130);
      console.error('\nstopping; once more to stop at once');
      stopping.abort();
    });
  }
  try {
    process.exitCode = (await main(state ?? '', names, stopping.signal)) ? 0 : 1;
  } catch (error) {
    if (!stopping.signal.aborted) throw error;
    process.exitCode = 130;
  }
}
