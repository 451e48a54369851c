/**
 * `isolation.mode: "request"`: an invocation leaves nothing for the next one of the same function. The same attacks run
 * where sandboxes are kept, and must succeed there: otherwise the test would show nothing.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { InvocationDetail } from '#contract/api/api.ts';
import { Platform } from '../../support/platform/platform.ts';
import { packed } from '../abuse/archives.ts';
import { deployArchive, sandboxesOf } from '../abuse/platform.ts';

/** Leaves marks wherever a function can, and looks for them. */
const MARKER = `
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
let calls = 0;
const places = ['/tmp/mark', '/dev/shm/mark'];
function mark() {
  globalThis.mark = true;
  process.env.MARK = 'set';
  for (const place of places) try { writeFileSync(place, 'mark'); } catch {}
  const child = spawn('/bin/sleep', ['60'], { stdio: 'ignore', detached: true });
  child.unref();
  return child.pid;
}
function look() {
  const running = readdirSync('/proc').filter((name) => /^\\d+$/.test(name)).filter((pid) => {
    try { return readFileSync('/proc/' + pid + '/cmdline', 'utf8').startsWith('/bin/sleep'); } catch { return false; }
  });
  return [
    ...(globalThis.mark ? ['global'] : []), ...(process.env.MARK ? ['environment'] : []),
    ...places.filter((place) => existsSync(place)), ...(running.length > 0 ? ['process'] : []),
    ...(calls > 1 ? ['call before'] : []),
  ];
}
export default {
  async fetch(request, env, ctx) {
    calls++;
    const { pathname } = new URL(request.url);
    if (pathname === '/mark') return Response.json({ pid: mark() });
    if (pathname === '/after') ctx.waitUntil(new Promise((done) => setTimeout(done, 300)).then(() => console.log('late', calls)));
    return Response.json({ seen: look() });
  },
};`;

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start();
  const archive = await packed([[{ name: 'index.mjs' }, MARKER]]);
  for (const mode of ['request', 'sandbox'])
    expect(await deployArchive(platform, mode, archive, { isolation: { mode } })).toBeUndefined();
}, 60_000);
afterAll(() => platform.stop());

async function call(path: string): Promise<{ answer: { seen?: string[] }; record: InvocationDetail }> {
  const response = await platform.call(path);
  const answer = (await response.json()) as { seen?: string[] };
  return { answer, record: await platform.record(response) };
}

describe('with isolation.mode "request"', () => {
  test('B13b tmp-persist: marks in memory, environment and files are not seen by the next invocation', async () => {
    const { record } = await call('request/mark');
    const next = await call('request/look');
    expect(next.answer.seen).toEqual([]);
    expect(next.record.report?.sandbox).not.toBe(record.report?.sandbox);
    expect(next.record.isolation?.mode).toBe('request');
  });

  test('B13b tmp-persist: the same marks are seen where a sandbox is kept', async () => {
    await call('sandbox/mark');
    const next = await call('sandbox/look');
    expect(next.answer.seen).toEqual(
      expect.arrayContaining(['global', 'environment', '/tmp/mark', 'process', 'call before']),
    );
    expect(next.record.isolation?.mode).toBe('sandbox');
  });

  test('A11b daemonise: a process that a function leaves running is gone within 1 s of the reply', async () => {
    const { record } = await call('request/mark');
    const end = performance.now() + 1_000;
    const id = record.report?.sandbox ?? 'none';
    const left = (): string[] => [...sandboxesOf(platform).keys()].filter((name) => name.endsWith(id));
    while (left().length > 0 && performance.now() < end) await sleep(10);
    expect(left()).toEqual([]);
  });

  test('A11b daemonise: a process that a function leaves running goes on where the sandbox is kept', async () => {
    const { record } = await call('sandbox/mark');
    await sleep(1_000);
    const [, pids] =
      [...sandboxesOf(platform)].find(([name]) => name.endsWith(record.report?.sandbox ?? 'none')) ?? [];
    expect(pids?.length).toBeGreaterThan(1);
  });
});

test('forty calls at once each have a sandbox of their own [PR3]', async () => {
  const answers = await Promise.all(Array.from({ length: 40 }, () => call('request/look')));
  expect(answers.flatMap(({ answer }) => answer.seen)).toEqual([]);
  expect(new Set(answers.map(({ record }) => record.report?.sandbox)).size).toBe(40);
}, 30_000);

test('the next single-use sandbox is loaded meanwhile, so that a call after a pause finds one', async () => {
  await call('request/look');
  await sleep(500);
  const { record } = await call('request/look');
  expect(record.report?.acquired).toBe('idle');
  expect(record.report?.timings.init).toBe(0);
});

test('a single-use sandbox lives until the work in waitUntil() is done', async () => {
  const response = await platform.call('request/after');
  await response.json();
  let record = await platform.record(response);
  const end = performance.now() + 5_000;
  while (!JSON.stringify(record).includes('late 1') && performance.now() < end) {
    await sleep(50);
    record = await platform.record(response);
  }
  expect(JSON.stringify(record)).toContain('late 1');
});

test('a function may not ask for single-use sandboxes and for a concurrency over one', async () => {
  const archive = await packed([[{ name: 'index.mjs' }, MARKER]]);
  const refused = await deployArchive(platform, 'both', archive, {
    isolation: { mode: 'request' },
    concurrency: 2,
  });
  expect(refused?.message).toContain('concurrency: must be 1');
});
