/**
 * When the kernel ends any process of a sandbox for memory, the sandbox ends: half of a process tree is of no use, and
 * its caller must not see a success. On cgroup v2 the kernel itself ends the whole tree.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { packed } from '../../security/abuse/archives.ts';
import { deployArchive, sandboxesOf } from '../../security/abuse/platform.ts';
import { Platform } from '../../support/platform/platform.ts';
import { SLOWNESS } from '../../support/faults/slowness.ts';

/** A program whose size is fixed, and stays that large. */
const SOURCE = `
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
const LARGE = 'const kept = Buffer.alloc(+process.argv[1] * 1024 * 1024, 1); setInterval(() => kept.length, 1000)';
const program = (mb) => spawn(process.execPath, ['-e', LARGE, String(mb)], { stdio: 'ignore' });
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
if (process.env.AT_LOAD) { const one = program(400); await once(one, 'exit'); }
export default {
  async fetch(request, env, ctx) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === '/two') { program(200); program(200); await pause(4000); return new Response('lived on'); }
    if (pathname === '/seen') { const [code, signal] = await once(program(400), 'exit'); return Response.json({ code, signal }); }
    if (pathname === '/exits') { await once(program(400), 'exit'); process.exit(3); }
    if (pathname === '/throws') { const [, signal] = await once(program(400), 'exit'); throw new Error('child: ' + signal); }
    if (pathname === '/streams') return new Response(new ReadableStream({ async start(to) {
      to.enqueue(Buffer.from('begun')); await once(program(400), 'exit'); to.enqueue(Buffer.from('more')); to.close(); } }));
    if (pathname === '/late') { program(400); return new Response('answered'); }
    if (pathname === '/after') { ctx.waitUntil(once(program(400), 'exit').then(() => pause(3000)).then(() => console.log('went on'))); return new Response('answered'); }
    if (pathname === '/thread') {
      const worker = new Worker('const kept = []; setInterval(() => kept.push(Buffer.alloc(32 * 1024 * 1024, 1)), 1)', { eval: true });
      await Promise.race([once(worker, 'exit'), pause(4000)]); return new Response('lived on');
    }
    if (pathname === '/hold') return new Response(String(Buffer.alloc(+searchParams.get('mb') * 1024 * 1024, 1).length));
    return new Response('ok');
  },
};`;

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start();
  const archive = await packed([[{ name: 'index.mjs' }, SOURCE]]);
  const limits = { memory: 256, timeout: 20 };
  expect(await deployArchive(platform, 'tree', archive, limits)).toBeUndefined();
  expect(
    await deployArchive(platform, 'single', archive, { ...limits, isolation: { mode: 'request' } }),
  ).toBeUndefined();
  expect(await deployArchive(platform, 'several', archive, { ...limits, concurrency: 4 })).toBeUndefined();
}, 60_000 * SLOWNESS);
afterAll(() => platform?.stop());

const outcomeOf = (response: Response): string | null => response.headers.get('x-offshoot-outcome');
const livesOf = (sandbox: string | undefined): string[] =>
  [...sandboxesOf(platform).keys()].filter((name) => name.endsWith(sandbox ?? 'none'));

test.each(['tree', 'single', 'several'])(
  'M1 when the kernel ends one of two programs of %s, the whole sandbox ends [LM4]',
  async (name) => {
    const begun = performance.now();
    const response = await platform.call(`${name}/two`);
    expect({ outcome: outcomeOf(response), status: response.status }).toEqual({
      outcome: 'out_of_memory',
      status: 502,
    });
    // The caller does not wait for the answer that the function would have sent after four seconds.
    expect(performance.now() - begun).toBeLessThan(3_500);
    const record = await platform.record(response);
    expect(record.outcome).toBe('out_of_memory');
    expect(record.report?.usage?.memoryPeak).toBeGreaterThan(200 * 1024 * 1024);
    expect(livesOf(record.report?.sandbox)).toEqual([]);
    expect(outcomeOf(await platform.call(`${name}/ok`))).toBe('ok');
  },
  30_000,
);

test.each(['seen', 'exits', 'throws', 'streams'])(
  'M2 the outcome is out_of_memory whatever the function does about its lost child: %s',
  async (path) => {
    const response = await platform.call(`tree/${path}`);
    await response.text().catch(() => '');
    const record = await platform.record(response);
    expect(record.outcome).toBe('out_of_memory');
    const next = await platform.record(await platform.call('tree/ok'));
    expect(next.outcome).toBe('ok');
    expect(next.report?.sandbox).not.toBe(record.report?.sandbox);
  },
  30_000,
);

test('M2 a worker thread that takes all memory ends as out_of_memory', async () => {
  expect(outcomeOf(await platform.call('tree/thread'))).toBe('out_of_memory');
}, 30_000);

test('M3 a lost child of an earlier call ends the sandbox, and the next call has another one [LM4]', async () => {
  const first = await platform.record(await platform.call('tree/late'));
  expect(first.outcome).toBe('ok');
  await expect.poll(() => livesOf(first.report?.sandbox), { timeout: 5_000 * SLOWNESS }).toEqual([]);
  const next = await platform.record(await platform.call('tree/ok'));
  expect(next.outcome).toBe('ok');
}, 30_000);

test('M3 work left to waitUntil() does not go on after a child was lost', async () => {
  const response = await platform.call('tree/after');
  const { report } = await platform.record(response);
  await expect.poll(() => livesOf(report?.sandbox), { timeout: 2_500 * SLOWNESS }).toEqual([]);
  expect((await platform.record(response)).logs.map(({ text }) => text)).not.toContain('went on');
}, 30_000);

test('M4 a module whose child runs out of memory while it loads does not load', async () => {
  const archive = await packed([[{ name: 'index.mjs' }, SOURCE]]);
  const refused = await deployArchive(platform, 'at-load', archive, { memory: 256, env: { AT_LOAD: '1' } });
  expect(refused?.message).toMatch(/out_of_memory|memory/);
}, 30_000);

test('M5 a sandbox near its limit that lost no process goes on', async () => {
  const sandboxes = new Set<string | undefined>();
  for (let call = 0; call < 3; call++) {
    const record = await platform.record(await platform.call('tree/hold?mb=160'));
    expect(record.outcome).toBe('ok');
    expect(record.report?.usage?.memoryPeak).toBeGreaterThan(160 * 1024 * 1024);
    sandboxes.add(record.report?.sandbox);
    // The pool has checked the sandbox meanwhile.
    await sleep(1_200);
  }
  expect(sandboxes.size).toBe(1);
}, 30_000);
