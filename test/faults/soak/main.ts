/**
 * npm run soak -- [--minutes N] [--seed S]: runs a platform of two workers and a gateway under load for N minutes, with
 * faults at random, then leaves it alone. Every acknowledged invocation must then reach one end, with a cause on record
 * for each attempt.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { Batch, ItemResult } from '#contract/invocations/batch.ts';
import { checkedEnd } from '../history.ts';
import { Platform } from '../../support/platform/platform.ts';
import { FAULTS } from './faults.ts';
import { callOne, fillBatch, newLedger, queueOne, type Ledger } from './load.ts';
import { Random } from './random.ts';

const JOBS_PER_SECOND = 25;
const CALLS_PER_SECOND = 10;
const FAULT_EVERY_MS: readonly [number, number] = [1_500, 6_000];
const REPORT_MS = 10_000;
/** Time after the last fault: locks and timeouts expire, jobs of lost workers restart, retries wait. */
const SETTLE_MS = 120_000;

const { values: flags } = parseArgs({
  options: { minutes: { type: 'string', default: '10' }, seed: { type: 'string' } },
});
const minutes = Number(flags.minutes);
const seed = Number(flags.seed ?? Math.floor(Math.random() * 2 ** 31));
console.log(
  `soak: ${minutes} minutes, seed ${seed} (again: npm run soak -- --minutes ${minutes} --seed ${seed})`,
);

const platform = await Platform.start(
  { OFFSHOOT_CAPACITY: '32', OFFSHOOT_PREPARED: '1', OFFSHOOT_LOG_LEVEL: 'error' },
  // Every acknowledged write must be on disk: with everysec, a killed Redis may lose writes of the last second.
  ['--appendfsync', 'always'],
);
let failed = false;
try {
  await platform.deploy('retries');
  await platform.deploy('orders');
  platform.run('worker-2');
  const ledger = newLedger();
  const faults = await workAndHurt(ledger);
  console.log(`left alone after ${[...faults].map(([name, times]) => `${times} x ${name}`).join(', ')}`);
  failed = !(await holds(ledger));
} finally {
  await platform.stop();
}
process.exitCode = failed ? 1 : 0;

async function workAndHurt(ledger: Ledger): Promise<Map<string, number>> {
  const random = new Random(seed);
  const loadRandom = new Random(seed + 1);
  const stopping = new AbortController();
  const end = performance.now() + minutes * 60_000;
  const under = new Set<Promise<void>>();
  const follow = (promise: Promise<void>): void => {
    under.add(promise);
    void promise.finally(() => under.delete(promise));
  };
  const timers = [
    setInterval(() => follow(queueOne(platform, loadRandom, ledger)), 1_000 / JOBS_PER_SECOND),
    setInterval(() => follow(callOne(platform, loadRandom, ledger)), 1_000 / CALLS_PER_SECOND),
    setInterval(() => console.log(progress(ledger, faults)), REPORT_MS),
  ];
  const filling = (async () => {
    while (!stopping.signal.aborted) {
      await fillBatch(platform, ledger, stopping.signal);
      await sleep(1_000);
    }
  })();
  const faults = new Map<string, number>();
  while (performance.now() < end) {
    await sleep(random.between(...FAULT_EVERY_MS));
    const fault = random.one(FAULTS);
    await fault.act(platform, random);
    faults.set(fault.name, (faults.get(fault.name) ?? 0) + 1);
  }
  await platform.ready();
  stopping.abort();
  for (const timer of timers) clearInterval(timer);
  await filling;
  await Promise.all(under);
  return faults;
}

function progress(ledger: Ledger, faults: ReadonlyMap<string, number>): string {
  const hurt = [...faults.values()].reduce((sum, times) => sum + times, 0);
  const { acknowledged, answered, calls, batches } = ledger;
  return `  ${hurt} faults; ${acknowledged.length} jobs acknowledged, ${answered} of ${calls} calls answered, ${batches.length} batches sealed`;
}

/** Checks every promise of the ledger. */
async function holds(ledger: Ledger): Promise<boolean> {
  const problems: string[] = [...ledger.mixedUp];
  const giveUp = performance.now() + SETTLE_MS;
  const outcomes = new Map<string, number>();
  for (const id of ledger.acknowledged) {
    try {
      const record = await checkedEnd(platform, id, Math.max(1_000, giveUp - performance.now()));
      const end = record.dead === undefined ? record.outcome : `${record.outcome} (${record.dead})`;
      outcomes.set(end, (outcomes.get(end) ?? 0) + 1);
    } catch (error) {
      problems.push(`${id}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  let items = 0;
  for (const { id, items: count } of ledger.batches) {
    items += count;
    const problem = await batchProblem(id, count, Math.max(1_000, giveUp - performance.now()));
    if (problem !== undefined) problems.push(`batch ${id}: ${problem}`);
  }
  console.log(`calls: ${ledger.answered} of ${ledger.calls} answered, each with its own answer`);
  console.log(`refused or broken off: ${JSON.stringify(Object.fromEntries(ledger.refused))}`);
  console.log(
    `jobs: ${ledger.acknowledged.length} acknowledged, ends ${JSON.stringify(Object.fromEntries(outcomes))}`,
  );
  console.log(`batches: ${ledger.batches.length} with ${items} items, each item with one result`);
  for (const problem of problems.slice(0, 50)) console.log(`BROKEN ${problem}`);
  console.log(problems.length === 0 ? 'nothing was lost' : `${problems.length} promises were broken`);
  return problems.length === 0 && ledger.acknowledged.length > 0 && ledger.batches.length > 0;
}

async function batchProblem(id: string, items: number, patienceMs: number): Promise<string | undefined> {
  const giveUp = performance.now() + patienceMs;
  let batch: Batch;
  do {
    await sleep(100);
    batch = (await (await platform.api(`/batches/${id}`)).json()) as Batch;
    if (performance.now() > giveUp) return `has not ended: ${JSON.stringify(batch)}`;
  } while (batch.endedAt === undefined);
  const text = await (await platform.api(`/batches/${id}/results`)).text();
  const results = text.split('\n').filter(Boolean);
  const indexes = results.map((line) => (JSON.parse(line) as ItemResult).index);
  const expected = Array.from({ length: items }, (_, index) => index);
  if (JSON.stringify(indexes) !== JSON.stringify(expected))
    return `${results.length} results for ${items} items`;
  return batch.succeeded + batch.failed === items ? undefined : `counts ${JSON.stringify(batch)}`;
}
