/** A sandbox may stop itself, but never the worker, whose one thread serves all tenants. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Platform } from '../../support/platform/platform.ts';
import { packed } from '../abuse/archives.ts';
import { deployArchive, nativeProgram } from '../abuse/platform.ts';

const attacks = fileURLToPath(new URL('../abuse/attacks/', import.meta.url));
/** Time for which a neighbour is called once an attack is in place. */
const WATCH_MS = 3_000;
/** Wait of a neighbour's call that shows a worker standing still, on a machine that is busy with other tests. */
const STALL_MS = 1_500;

// A stalled worker would affect the next scenario, so each has a platform of its own.
let platform: Platform;
beforeEach(async () => {
  platform = await Platform.start();
  await platform.deploy('hello-fetch', { name: 'neighbour' });
}, 120_000);
afterEach(async () => {
  await platform.kill('worker');
  await platform.stop();
});

async function deploy(name: string, timeout = 20): Promise<void> {
  const archive = await packed([
    [{ name: 'index.mjs' }, await readFile(join(attacks, 'stall.mjs'))],
    [{ name: 'stall', mode: 0o755 }, await nativeProgram('stall')],
    [{ name: 'turns.node' }, await nativeProgram('turns.node')],
  ]);
  const refused = await deployArchive(platform, name, archive, { name, timeout }, 'attacker');
  expect(refused).toBeUndefined();
}

const call = async (path: string, signal?: AbortSignal): Promise<string> => {
  const response = await fetch(`${platform.url}/fn/${path}`, signal ? { signal } : {});
  return `${response.status} ${await response.text()}`;
};

/** Calls the paths 64 at a time, so that a function counts as quick and calls are handed to its sandboxes ahead. */
async function callAll(paths: readonly string[]): Promise<string[]> {
  const answers: string[] = [];
  const waiting = paths.entries();
  const caller = async (): Promise<void> => {
    for (const [index, path] of waiting) answers[index] = await call(path);
  };
  await Promise.all(Array.from({ length: 64 }, caller));
  return answers;
}

const quick = (name: string, calls: number): string[] =>
  Array.from({ length: calls }, () => `attacker/${name}/quick`);

/** The longest that a neighbour waited for its answer, in ms. */
async function longestWait(): Promise<number> {
  const until = performance.now() + WATCH_MS;
  let longest = 0;
  while (performance.now() < until) {
    const start = performance.now();
    const answer = await call('default/neighbour', AbortSignal.timeout(WATCH_MS)).catch(String);
    longest = Math.max(longest, performance.now() - start);
    if (!answer.startsWith('200')) return Infinity;
  }
  return longest;
}

test('X1 the counter of calls handed ahead, filled and made to block, delays no neighbour', async () => {
  await deploy('counter');
  await callAll(quick('counter', 2_000));
  await call('attacker/counter/counter');
  const loaded = callAll(quick('counter', 300)).catch(() => undefined);
  expect(await longestWait()).toBeLessThan(STALL_MS);
  await loaded;
}, 60_000);

test.each([
  ['X2 splice', 'splice'],
  ['X3 sendfile', 'sendfile'],
  ['X4 rights', 'rights'],
])(
  '%s %s of a native program delays no neighbour',
  async (id, attack) => {
    await deploy(attack);
    const attacked = call(`attacker/${attack}/${attack}`, AbortSignal.timeout(WATCH_MS)).catch(String);
    console.log(id, await attacked);
    expect(await longestWait()).toBeLessThan(STALL_MS);
  },
  60_000,
);

test('X6 native code that takes the turns of its other calls is stopped at its timeout, and every call is answered', async () => {
  const TIMEOUT_S = 1;
  await deploy('greedy', TIMEOUT_S);
  await callAll(quick('greedy', 500));
  const paths = quick('greedy', 400);
  for (const index of [100, 200]) paths[index] = 'attacker/greedy/hoard';
  const answers = await callAll(paths);
  for (const index of [100, 200]) expect(answers[index]).toMatch(/^504 .*timeout/);
  // A call behind it has lost its turn, and ends with the sandbox.
  expect(answers.filter((answer) => !answer.startsWith('200')).length).toBeLessThan(2 * 64);
  expect(await callAll(quick('greedy', 3))).toEqual(['200 ok', '200 ok', '200 ok']);
}, 60_000);

test('X7 native code that counts its turns up harms its own calls only, and each of those ends', async () => {
  await deploy('inflated', 1);
  await callAll(quick('inflated', 500));
  const paths = quick('inflated', 400);
  for (const index of [100, 200, 300]) paths[index] = 'attacker/inflated/inflate';
  const [answers, longest] = await Promise.all([callAll(paths), longestWait()]);
  expect(answers.filter((answer) => !/^(200|502|504) /.test(answer))).toEqual([]);
  expect(longest).toBeLessThan(STALL_MS);
}, 60_000);
