/** Many short lives: afterwards the host has what it had before. */
import { mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Platform } from '../../support/platform/platform.ts';
import { cgroupOf, difference, hasOnly, heldBy, type Held } from './left-behind.ts';
import { attackArchive, deployArchive, residentMb } from './platform.ts';

/** Ten thousand of them take minutes on two cores; a nightly run may ask for that. */
const LIVES = Number(process.env['OFFSHOOT_CHURN'] ?? 1_000);
const AT_ONCE = 8;
const PREPARED = 4;
/** Of the functions that stay: one sandbox each, in which they were loaded when they were deployed. */
const IDLE = 2;
const SETTLED_MS = 30_000;

let platform: Platform;
let archive: Buffer;
beforeAll(async () => {
  platform = await Platform.start({
    OFFSHOOT_PREPARED: String(PREPARED),
    // What ends sandboxes or makes them for other reasons would move what is compared: age, want of memory, a worn zygote.
    OFFSHOOT_KEEP_ALIVE_S: '3600',
    OFFSHOOT_MEMORY_RESERVE_MB: '0',
    OFFSHOOT_ZYGOTE_FORKS: '1000000',
    NODE_OPTIONS: `--import=${join(import.meta.dirname, '../../support/faults/leak-on-signal.mjs')}`,
  });
  await platform.deploy('hello-fetch', { name: 'honest' });
  // The same code as that of those that come and go: a worker lets go of code that nobody uses at a time of its own.
  archive = await attackArchive('files');
  expect(await deployArchive(platform, 'stays', archive)).toBeUndefined();
}, 90_000);
afterAll(() => platform.stop());

/** Sandboxes that were made and ended, each by a function that ends its own process, which is then removed. */
async function churn(lives: number): Promise<void> {
  expect(await deployArchive(platform, 'files', archive, { timeout: 4 })).toBeUndefined();
  let left = lives;
  const caller = async (): Promise<void> => {
    while (left-- > 0) {
      const response = await platform.call('files/exit');
      await response.text();
      expect(response.headers.get('x-offshoot-outcome')).toBe('exited');
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, caller));
  // Ends those that had been started for calls that others were quicker to take, of which there may be any number.
  expect((await platform.api('/functions/default/files', { method: 'DELETE' })).ok).toBe(true);
}

/** What is held when the worker has the prepared sandboxes that it wants, and the idle ones of the functions that stay. */
async function settled(): Promise<Held> {
  await expect.poll(() => hasOnly(platform, PREPARED, IDLE), { timeout: SETTLED_MS }).toBe(true);
  for (const giveUp = performance.now() + SETTLED_MS; performance.now() < giveUp;) {
    const held = heldBy(platform);
    await sleep(500);
    // A prepared sandbox is counted when it is ready, and one that has ended until its cgroup can be removed.
    if (
      held.get('cgroup of a sandbox') === PREPARED + IDLE &&
      difference(held, heldBy(platform)).length === 0
    )
      return held;
  }
  throw new Error(`there is more than what is settled: ${JSON.stringify([...heldBy(platform)])}`);
}

/** What there is more or less of than before, once there is nothing, or after a while. */
async function leftBehind(before: Held, patienceMs = SETTLED_MS): Promise<string[]> {
  const giveUp = performance.now() + patienceMs;
  let left = difference(before, heldBy(platform));
  while (left.length > 0 && performance.now() < giveUp) {
    await sleep(200);
    left = difference(before, heldBy(platform));
  }
  return left;
}

test(`D13 churn: ${LIVES} sandboxes made and ended, then processes, mounts, cgroups, descriptors and memory as before [LM11]`, async () => {
  await churn(100);
  const before = await settled();
  const memory = residentMb(platform.pid('worker'));
  await churn(LIVES);
  expect(await leftBehind(before)).toEqual([]);
  // By its own word as well, which is some tenths of a second old.
  await expect.poll(() => hasOnly(platform, PREPARED, IDLE), { timeout: SETTLED_MS }).toBe(true);
  expect(residentMb(platform.pid('worker')) - memory).toBeLessThan(60);
  expect((await platform.call('honest')).status).toBe(200);
}, 600_000);

test('D13 churn: control: a single descriptor or cgroup that is left behind is seen, and named', async () => {
  const before = await settled();
  process.kill(platform.pid('worker'), 'SIGUSR2');
  mkdirSync(cgroupOf(platform, 'left'));
  const left = await leftBehind(before, 2_000);
  process.kill(platform.pid('worker'), 'SIGUSR2');
  rmdirSync(cgroupOf(platform, 'left'));
  expect(left.toSorted()).toEqual([
    'descriptor of the worker: /dev/full: 0 before, 1 now',
    'the cgroup left, without a process: 0 before, 1 now',
  ]);
  expect(await leftBehind(before)).toEqual([]);
}, 60_000);
