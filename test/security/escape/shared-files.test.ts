/**
 * No process outside of a sandbox holds an open file of it: flags, locks and positions belong to the open file, not to
 * the holder.
 */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Platform } from '../../support/platform/platform.ts';
import { SandboxBench } from '../../support/sandbox/sandbox-bench.ts';
import { nativeProgram, sandboxesOf } from '../abuse/platform.ts';
import { descendants } from '../attack-bench.ts';
import { imageWithout } from '../builds.ts';

const run = promisify(execFile);
const HELLO = 'export default { fetch: () => new Response("hello") };';

let directory: string;
let kcmp: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'offshoot-kcmp-'));
  kcmp = join(directory, 'kcmp');
  await writeFile(kcmp, await nativeProgram('kcmp'), { mode: 0o755 });
}, 60_000);
afterAll(() => rm(directory, { recursive: true }));

/** Open files that a process shares with one of the others, and the number of compared pairs. */
async function shared(
  pid: number,
  others: readonly number[],
): Promise<{ files: string[]; compared: number }> {
  const { stdout } = await run(kcmp, [pid, ...others].map(String), { maxBuffer: 16 * 1024 * 1024 });
  const lines = stdout.trimEnd().split('\n');
  return { files: lines.slice(0, -1), compared: Number(lines.at(-1)) };
}

/**
 * Has it been isolated? A prepared sandbox takes its own identity only with its function, and holds nothing of a tenant
 * before. Meanwhile no process may read its /proc files.
 */
function isIsolated(pid: number): boolean {
  try {
    const [, uid] = /^Uid:\t(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    return Number(uid) !== process.getuid?.() && readdirSync(`/proc/${pid}/fd`).length > 0;
  } catch {
    return false;
  }
}

test('X5 no sandbox shares an open file with worker, gateway, zygote, init or another sandbox', async () => {
  const platform = await Platform.start();
  try {
    await platform.deploy('hello-fetch', { name: 'reused' });
    await platform.deploy('hello-fetch', { name: 'single', isolation: { mode: 'request' } });
    await platform.deploy('hello-fetch', { name: 'sibling' });
    await platform.deploy('hello-fetch', { name: 'connected', network: { egress: ['192.0.2.1:80'] } });
    for (const name of ['reused', 'single', 'sibling', 'connected', 'reused', 'single'])
      expect((await platform.call(name)).status).toBe(200);
    const isolated = (): number[][] =>
      [...sandboxesOf(platform).values()].filter((pids) => pids.some(isIsolated));
    // One sandbox of each function; that of the single-use function is loaded ahead for its next call.
    await expect.poll(() => isolated().length, { timeout: 10_000 }).toBeGreaterThan(3);
    const sandboxes = isolated();
    const platformOwn = [platform.pid('worker'), platform.pid('gateway')];
    const all = [...platformOwn, ...descendants(platform.pid('worker')).map(({ pid }) => pid)];
    let complete = 0;
    for (const own of sandboxes) {
      const others = all.filter((pid) => !own.includes(pid));
      for (const pid of own.filter(isIsolated)) {
        const { files, compared } = await shared(pid, others);
        expect(files, `process ${pid}`).toEqual([]);
        if (compared > 100) complete++;
      }
    }
    expect(complete).toBeGreaterThan(3);
  } finally {
    await platform.stop();
  }
}, 60_000);

test('K12 descriptors not renewed: the self-audit refuses; without it, X5 turns red', async () => {
  const without = async (...layers: ('CLOSE_RANGE' | 'AUDIT')[]): Promise<string[]> => {
    const bench = await SandboxBench.open('node26', await imageWithout(...layers));
    try {
      const started = await bench.start(await bench.addCode(HELLO));
      const own = started.cgroup.pids();
      const others = descendants(bench.zygote.pid ?? 0).map(({ pid }) => pid);
      const { files } = await shared(
        own[0] ?? 0,
        others.filter((pid) => !own.includes(pid)),
      );
      await started.end();
      return files;
    } finally {
      await bench.close();
    }
  };
  await expect(without('CLOSE_RANGE')).rejects.toThrow(/is the zygote's as well/);
  const files = await without('CLOSE_RANGE', 'AUDIT');
  expect(files.some((line) => line.startsWith('0 ') && line.endsWith('/dev/null'))).toBe(true);
}, 120_000);
