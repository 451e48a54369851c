/** Descriptors that a runtime had open in its zygote: each is the sandbox's own there, closed, or a reason not to start. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openEchoImages, type EchoImages } from '../../support/runtime/echo.ts';
import { SandboxBench } from '../../support/sandbox/sandbox-bench.ts';
import { nativeProgram } from '../../security/abuse/platform.ts';
import { descendants } from '../../security/attack-bench.ts';
import type { NativeLayer } from '../../security/builds.ts';

const run = promisify(execFile);
const OWN = { pair: 'works', pipe: 'works', event: 'works', timer: 'works', epoll: 'works', pidfd: 'closed' };

let images: EchoImages;
let directory: string;
let kcmp: string;
beforeAll(async () => {
  images = await openEchoImages();
  directory = await mkdtemp(join(tmpdir(), 'offshoot-kcmp-'));
  kcmp = join(directory, 'kcmp');
  await writeFile(kcmp, await nativeProgram('kcmp'), { mode: 0o755 });
}, 60_000);
afterAll(async () => {
  await images.close();
  await rm(directory, { recursive: true });
});

async function withBench<T>(
  tries: readonly string[],
  without: readonly NativeLayer[],
  work: (bench: SandboxBench) => Promise<T>,
): Promise<T> {
  const bench = await SandboxBench.open(undefined, await images.image(tries, without));
  try {
    return await work(bench);
  } finally {
    await bench.close();
  }
}

/** Starts a sandbox and returns its answer about its descriptors. */
async function descriptors(bench: SandboxBench): Promise<Record<string, unknown>> {
  const started = await bench.start(await bench.addCode(''), true);
  const { text } = await started.call('/descriptors');
  await started.end();
  return JSON.parse(text) as Record<string, unknown>;
}

/** Kinds of the open files that a sandbox shares with the zygote, init or the launcher. */
async function shared(bench: SandboxBench): Promise<string[]> {
  const started = await bench.start(await bench.addCode(''), true);
  const own = started.cgroup.pids();
  const others = descendants(bench.zygote.pid ?? 0)
    .map(({ pid }) => pid)
    .filter((pid) => !own.includes(pid));
  const { stdout } = await run(kcmp, [own[0] ?? 0, ...others].map(String));
  await started.end();
  const lines = stdout.trimEnd().split('\n');
  // The count of comparisons shows that the processes could be looked at.
  expect(Number(lines.at(-1))).toBeGreaterThan(20);
  return lines.slice(0, -1).map((line) => (line.split(' ')[3] ?? '').replace(/\d+/, 'N'));
}

test('each kind is renewed under its number and works, and a pidfd of the zygote is closed [RT3]', async () => {
  await withBench([], [], async (bench) => {
    expect(await descriptors(bench)).toEqual({
      ...OWN,
      forks: 1,
      hooks: 'before_fork after_fork_in_sandbox renew_loop ',
    });
    // A second fork finds the zygote as the first one did.
    expect(await descriptors(bench)).toMatchObject({ ...OWN, forks: 2 });
  });
});

test('a sandbox shares no open file with its zygote; without the renewal and the audit, it shares each kind [RT3]', async () => {
  expect(await withBench([], [], shared)).toEqual([]);
  const without = await withBench([], ['CLOSE_RANGE', 'AUDIT'], shared);
  expect(without).toEqual(
    expect.arrayContaining([
      '/dev/null',
      'anon_inode:[eventfd]',
      'anon_inode:[eventpoll]',
      'anon_inode:[pidfd]',
      'anon_inode:[timerfd]',
      'pipe:[N]',
      'socket:[N]',
    ]),
  );
}, 90_000);

test('without the renewal alone, the audit refuses to start [RT3]', async () => {
  await expect(withBench([], ['CLOSE_RANGE'], descriptors)).rejects.toThrow(
    /audit: descriptor \d+ \(.*\) is the zygote's as well/,
  );
}, 60_000);

describe('opened after the fork', () => {
  test.each(['pair', 'own-pidfd'])('%s: is the sandbox’s own, and may stay [RT3]', async (name) => {
    expect(await withBench([name], [], descriptors)).toMatchObject(OWN);
  });

  test.each([
    ['socket', /audit: descriptor \d+ \(socket:\[\d+\]\) leads to another process/],
    ['listener', /audit: descriptor \d+ \(socket:\[\d+\]\) leads to another process/],
    ['child-pidfd', /audit: descriptor \d+ \(.*pidfd.*\) is another process/],
    ['file', /audit: unexpected descriptor \d+ \(\/etc\/passwd\)/],
  ])('%s: the audit refuses to start [RT3]', async (name, message) => {
    await expect(withBench([name], [], descriptors)).rejects.toThrow(message);
    // Without the audit, the same sandbox runs.
    expect(await withBench([name], ['AUDIT'], descriptors)).toMatchObject(OWN);
  });
});

test('a zygote with unread bytes in a socket pair does not serve: its runtime is not at rest [RT3]', async () => {
  await expect(withBench(['unread-bytes'], [], descriptors)).rejects.toThrow(/ended before it was warm/);
});
