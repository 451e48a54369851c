/** Many short lives: afterwards the host has what it had before. */
import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Platform } from '../support/platform.ts';
import { deployAttack, hostFacts, residentMb, sandboxesOf } from './abuse/platform.ts';

/** Ten thousand of them take minutes on two cores; a nightly run may ask for that. */
const LIVES = Number(process.env['OFFSHOOT_CHURN'] ?? 1_000);
const AT_ONCE = 8;

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start();
  await platform.deploy('hello-fetch', { name: 'honest' });
  await deployAttack(platform, 'files', { timeout: 4 });
}, 90_000);
afterAll(() => platform.stop());

interface Facts {
  readonly descriptors: number;
  readonly mounts: number;
  readonly processes: number;
  readonly zombies: number;
  readonly cgroups: number;
}

/**
 * Of the worker and of all processes below it; the rest of the machine is somebody else's. Linux namespaces need no count
 * of their own: the kernel frees one when no process, descriptor or mount holds it.
 */
async function facts(): Promise<Facts> {
  const worker = platform.pid('worker');
  const family = descendants(worker);
  let zombies = 0;
  for (const pid of family) {
    if (/^State:\tZ/m.test(readOr(`/proc/${pid}/status`))) zombies++;
  }
  return {
    descriptors: readdirSync(`/proc/${worker}/fd`).length,
    mounts: (await hostFacts(platform.state)).mounts,
    processes: family.length,
    zombies,
    cgroups: sandboxesOf(platform).size,
  };
}

function descendants(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    const parent = Number(/^PPid:\t(\d+)/m.exec(readOr(`/proc/${name}/status`))?.[1] ?? 0);
    children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  const found: number[] = [];
  const open = [root];
  for (let pid = open.pop(); pid !== undefined; pid = open.pop()) {
    const own = children.get(pid) ?? [];
    found.push(...own);
    open.push(...own);
  }
  return found;
}

function readOr(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Sandboxes that were made and ended, each by a function that ends its own process. */
async function churn(lives: number): Promise<void> {
  let left = lives;
  const caller = async (): Promise<void> => {
    while (left-- > 0) {
      const response = await platform.call('files/exit');
      await response.text();
      expect(response.headers.get('x-offshoot-outcome')).toBe('exited');
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, caller));
}

test(`D13 churn: ${LIVES} sandboxes made and ended, then processes, mounts, cgroups, descriptors and memory as before`, async () => {
  await churn(100);
  await expect.poll(() => sandboxesOf(platform).size, { timeout: 5_000 }).toBeLessThan(10);
  const before = await facts();
  const memory = residentMb(platform.pid('worker'));
  await churn(LIVES);
  await expect
    .poll(async () => (await facts()).cgroups, { timeout: 5_000 })
    .toBeLessThanOrEqual(before.cgroups + 1);
  // The pool may prepare or give up a sandbox at any moment, which is a process and eight descriptors or so.
  await expect
    .poll(async () => Math.abs((await facts()).processes - before.processes), { timeout: 10_000 })
    .toBeLessThanOrEqual(1);
  const after = await facts();
  expect(after.mounts).toBe(before.mounts);
  expect(after.zombies).toBeLessThanOrEqual(before.zombies);
  // One prepared sandbox more or less is in the making at any moment.
  expect(Math.abs(after.processes - before.processes)).toBeLessThanOrEqual(3);
  expect(Math.abs(after.descriptors - before.descriptors)).toBeLessThanOrEqual(12);
  expect(residentMb(platform.pid('worker')) - memory).toBeLessThan(60);
  expect((await platform.call('honest')).status).toBe(200);
}, 600_000);
