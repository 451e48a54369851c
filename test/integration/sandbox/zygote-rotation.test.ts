/**
 * Worn zygotes, with real zygotes and sandboxes: the next one takes over, and the old one ends with its last sandbox.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DirectoryArtifactStore } from '#storage/artifacts/artifacts.ts';
import { detectCgroups } from '../../../worker/cgroup/detect.ts';
import { CodeStore } from '../../../worker/code/code-store.ts';
import { Networks } from '../../../worker/network/networks.ts';
import { Pool } from '../../../worker/pool/pool.ts';
import { SandboxFactory } from '../../../worker/pool/sandbox-factory.ts';
import { Receipts } from '../../../worker/pool/receipts.ts';
import { ownRanges } from '../../../worker/sandbox/zygote/subids.ts';
import type { Zygote } from '../../../worker/sandbox/zygote/zygote.ts';
import type { WearLimits } from '../../../worker/pool/zygote-wear.ts';
import { Zygotes } from '../../../worker/pool/zygotes.ts';

const NEVER: WearLimits = {
  forks: 1_000,
  ageMs: 3_600_000,
  crashes: 1_000,
  crashWindowMs: 60_000,
  minAgeMs: 0,
};
const init = {
  namespace: 'test',
  name: 'test',
  version: 1,
  entry: 'index.mjs',
  env: {},
  memory: 128,
  timeout: 30,
  initTimeout: 10,
  payloadFormat: '2.0' as const,
  concurrency: 1,
};

/** A failed check of V8: native code that ends itself by an illegal instruction. */
const CRASHES = `import { setFlagsFromString } from 'node:v8';
setFlagsFromString('--allow-natives-syntax');
new Function('%AbortJS("on purpose")')();`;
/** Time during which nothing must happen. */
const QUIET_MS = 1_500;
const CRASH = /^SIG(ABRT|SEGV|ILL|TRAP)$/;

let codeDirectory: string;
let zygotes: Zygotes;
const cgroups = detectCgroups();
const factory = new SandboxFactory({ cgroups, maxPids: 128, maxTmpMb: 64, pendingSignals: 32 });

beforeEach(async () => {
  codeDirectory = await mkdtemp(join(tmpdir(), 'offshoot-rotation-'));
  for (const [name, source] of [
    ['crash', CRASHES],
    ['signal', "process.kill(process.pid, 'SIGSEGV');"],
    ['exit', 'process.exit(7);'],
  ] as const) {
    await mkdir(join(codeDirectory, 'test', name), { recursive: true });
    await writeFile(join(codeDirectory, 'test', name, 'index.mjs'), source);
  }
});
afterEach(async () => {
  await zygotes.stop();
  await factory.emptied();
  await rm(codeDirectory, { recursive: true, force: true });
});

function open(limits: Partial<WearLimits>): Promise<Zygote> {
  const state = process.env['OFFSHOOT_STATE'] ?? '';
  zygotes = new Zygotes({
    imagesDirectory: join(state, 'images'),
    codeDirectory,
    ...ownRanges(),
    rotation: { ...NEVER, ...limits },
  });
  return zygotes.get('node26', 'test');
}

async function run(code: 'crash' | 'signal' | 'exit'): Promise<string | number | undefined> {
  const sandbox = factory.start(await zygotes.get('node26', 'test'));
  sandbox.specialise(code, 'test', init);
  const exit = await sandbox.ended;
  return exit.signal ?? exit.code;
}

const current = (): Promise<Zygote> => zygotes.get('node26', 'test');

describe('replacement of a zygote', () => {
  test('a zygote is replaced after a burst of crashes, but exits and signals of a function to itself do not count', async () => {
    const first = await open({ crashes: 3 });
    for (let count = 0; count < 5; count++) {
      expect(await run('exit')).toBe(7);
      // Sent to the worker as a message and no crash: the kernel keeps the signal itself from a PID 1.
      expect(await run('signal')).toBe('SIGSEGV');
    }
    zygotes.tend();
    // Several times as long as the next zygote takes to warm up.
    await sleep(QUIET_MS);
    expect(first.retired).toBe(false);
    for (let count = 0; count < 3; count++) expect(await run('crash')).toMatch(CRASH);
    zygotes.tend();
    await expect.poll(() => first.retired, { timeout: 10_000 }).toBe(true);
    const second = await current();
    expect(second).not.toBe(first);
    expect(second.alive).toBe(true);
    // The next one starts with a clean record.
    await run('crash');
    zygotes.tend();
    await sleep(QUIET_MS);
    expect(await current()).toBe(second);
  });

  test('a zygote is replaced after a number of forks: it serves until the next is warm, and ends with its last sandbox [LI5]', async () => {
    const first = await open({ forks: 2 });
    const [one, two] = [factory.start(first), factory.start(first)];
    await Promise.all([one.prepared, two.prepared]);
    // This call finds the zygote worn, and need not wait.
    expect(await current()).toBe(first);
    await expect.poll(() => first.retired, { timeout: 10_000 }).toBe(true);
    expect(await current()).not.toBe(first);
    zygotes.tend();
    expect(first.alive).toBe(true);
    one.kill();
    two.kill();
    await Promise.all([one.ended, two.ended]);
    zygotes.tend();
    await expect.poll(() => first.alive).toBe(false);
    expect((await current()).alive).toBe(true);
  });

  test('a zygote is replaced at an age, also when no call asks for it, and when it has no sandbox', async () => {
    const first = await open({ ageMs: 1 });
    zygotes.tend();
    // A second check while the next one warms up must neither end the zygote before that, nor replace it twice.
    zygotes.tend();
    expect(first.alive).toBe(true);
    await expect.poll(() => first.retired, { timeout: 10_000 }).toBe(true);
  });

  test('a zygote that dies while its replacement warms up is followed by that one', async () => {
    const first = await open({ forks: 1 });
    const sandbox = factory.start(first);
    await sandbox.prepared;
    zygotes.tend();
    await first.stop();
    await sandbox.ended;
    const second = await current();
    expect(second).not.toBe(first);
    await sleep(QUIET_MS);
    expect(await current()).toBe(second);
  });

  test('a zygote whose namespace is abandoned has no replacement, also when one is warming up [LI7]', async () => {
    const first = await open({ ageMs: 1 });
    zygotes.tend();
    expect(zygotes.live).toBe(2);
    zygotes.giveUp('other');
    expect([...zygotes.namespaces]).toEqual(['test']);
    zygotes.giveUp('test');
    expect([...zygotes.namespaces]).toEqual([]);
    const live = (): number => {
      zygotes.tend();
      return zygotes.live;
    };
    await expect.poll(live, { timeout: 10_000 }).toBe(0);
    await first.ended;
    expect((await current()).alive).toBe(true);
  });

  test('a zygote that is replaced takes the sandboxes prepared from it out of the pool [LI5]', async () => {
    const first = await open({ ageMs: 800 });
    // Never connected: nothing is called here.
    const redis = new Redis({ lazyConnect: true });
    const receipts = new Receipts({ redis, workerId: 'test', cgroups, uid: ownRanges().uid });
    const pool = new Pool({
      idleCpu: 0.25,
      ceiling: 10,
      preparedFloor: 2,
      keepAliveMs: 3_600_000,
      memoryReserveMb: 0,
      factory,
      zygotes,
      receipts,
      code: new CodeStore(codeDirectory, new DirectoryArtifactStore(codeDirectory)),
      networks: new Networks({ ready: 1 }),
    });
    await pool.warm('node26', 'test');
    await expect.poll(() => pool.counts().prepared, { timeout: 5_000 }).toBe(2);
    expect(first.live).toBe(2);
    // Only the pool's own timer runs.
    await expect.poll(() => first.alive, { timeout: 10_000 }).toBe(false);
    await expect.poll(() => pool.counts().prepared, { timeout: 5_000 }).toBe(2);
    await pool.stop();
  });
});
