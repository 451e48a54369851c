/**
 * Each entry of the filter is removed in turn, to see which step needs it. An entry without need is attack surface for
 * nothing: it is deleted, or marked KEPT in worker/native/seccomp/policy.h with a reason that names other users.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openTrialBench, type TrialBench } from './bench.ts';
import { allowedEntries, type Entry } from './policy.ts';
import { firstDifference } from './trial.ts';

/** Entry, tab, the step that needed it when this file was last committed. Only a hint at where to look first. */
const KNOWN = new URL('needed.tsv', import.meta.url);
const HOUR = 3_600_000;

let bench: TrialBench;
let kept: Entry[];
let needed: Entry[];

beforeAll(async () => {
  const entries = await allowedEntries();
  kept = entries.filter((entry) => entry.kept);
  needed = entries.filter((entry) => !entry.kept);
  bench = await openTrialBench();
}, HOUR);
afterAll(() => bench.close());

test('the steps of the basket give the expected results under the product’s filter', () => {
  for (const { runtime, expected } of bench.tracks)
    for (const [step, got] of expected)
      if (step.startsWith('basket ')) expect(got, `${runtime} ${step}`).toMatch(/^\{"ok":true/);
});

test('no step needs an entry that is marked KEPT', { timeout: HOUR }, async () => {
  const culprits: string[] = [];
  let without = kept;
  for (;;) {
    const difference = await firstDifference(bench.tracks, without);
    if (difference === undefined) break;
    const culprit = await culpritOf(without, difference);
    culprits.push(`${culprit.name}: needed by ${difference}`);
    without = without.filter((entry) => entry !== culprit);
  }
  expect(culprits).toEqual([]);
});

test('some step needs each entry that is not marked KEPT', { timeout: 4 * HOUR }, async () => {
  const known = await knownNeeds();
  const unneeded: string[] = [];
  const found: string[] = [];
  for (const entry of needed) {
    const by = await firstDifference(bench.tracks, [...kept, entry], known.get(entry.name));
    found.push(`${entry.name}\t${by ?? 'nobody'}`);
    if (by === undefined) unneeded.push(entry.name);
  }
  for (const entry of kept) found.push(`${entry.name}\tnobody, kept`);
  await writeFile(join(process.env['OFFSHOOT_STATE'] ?? '', 'seccomp/needed.tsv'), `${found.join('\n')}\n`);
  expect(unneeded).toEqual([]);
});

/** The entry whose lack causes this difference: the first that does when they are removed in order. */
async function culpritOf(entries: readonly Entry[], hint: string): Promise<Entry> {
  let [works, fails] = [0, entries.length];
  while (fails - works > 1) {
    const middle = (works + fails) >> 1;
    if ((await firstDifference(bench.tracks, entries.slice(0, middle), hint)) === undefined) works = middle;
    else fails = middle;
  }
  const culprit = entries[works];
  if (!culprit) throw new Error(`${hint} comes out differently although nothing is taken away`);
  return culprit;
}

async function knownNeeds(): Promise<Map<string, string>> {
  const lines = (await readFile(KNOWN, 'utf8')).split('\n').filter((line) => line !== '');
  return new Map(lines.map((line) => line.split('\t', 2) as [string, string]));
}
