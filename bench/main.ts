/**
 * npm run bench: what this machine does, ours and peers in the same run.
 *
 *   --quick   small counts: does it run at all
 *   --json    the report on standard output instead of the tables
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { processRows } from './peers/processes.ts';
import { coldRows, memoryRows } from './sandbox-rows.ts';
import { render, type Section } from './stats.ts';
import { warmSections } from './warm-rows.ts';

const { values: flags } = parseArgs({ options: { quick: { type: 'boolean' }, json: { type: 'boolean' } } });
const counts = flags.quick
  ? { cold: 20, processes: 5, memory: 20, calls: 200, seconds: 1, runs: 1 }
  : { cold: 500, processes: 30, memory: 200, calls: 3_000, seconds: 8, runs: 3 };

const machine = {
  cpu: cpus()[0]?.model ?? 'unknown',
  cores: availableParallelism(),
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  kernel: release(),
  node: process.version,
  time: new Date().toISOString(),
};
const sections: Section[] = [];
const add = (...more: Section[]): void => {
  sections.push(...more);
  if (!flags.json) for (const section of more) console.log(`\n${render(section)}`);
};
if (!flags.json)
  console.log(
    `${machine.cores} cores, ${machine.memoryGiB} GiB, Linux ${machine.kernel}, Node ${machine.node}`,
  );

const cold26 = await coldRows('node26', counts.cold);
const cold24 = await coldRows('node24', counts.cold);
add({ title: 'Cold start', figures: [cold26.cold, cold24.cold, ...(await processRows(counts.processes))] });
add({ title: 'Prepared sandbox', figures: [cold26.given, cold24.given] });
add({ title: 'Parts of a cold start (node26)', figures: cold26.parts, parts: true });
add({ title: 'Memory', figures: await memoryRows(counts.memory) });
add(...(await warmSections(counts)));

const directory = join(process.env['OFFSHOOT_STATE'] ?? '.', 'bench');
await mkdir(directory, { recursive: true });
const file = join(directory, `${machine.time.replaceAll(':', '-')}.json`);
const report = JSON.stringify({ machine, sections }, null, 2);
await writeFile(file, `${report}\n`);
if (flags.json) console.log(report);
else console.log(`\nkept in ${file}`);
process.exit(0);
