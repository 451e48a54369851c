/**
 * Processor time that a function's sandboxes use while no invocation runs in them is accounted to the function, shown,
 * and bounded. It is in the record of no invocation, so it would go unnoticed otherwise.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { FunctionLog, type FunctionLogLine, type PoolStatus } from '#contract/api/api.ts';
import { figureOf } from '../../support/platform/metrics.ts';
import { sandboxCgroups } from '../../support/sandbox/cgroup-paths.ts';
import { freePort, Platform } from '../../support/platform/platform.ts';
import { SLOWNESS } from '../../support/faults/slowness.ts';
import { packed } from '../abuse/archives.ts';
import { deployArchive, sandboxesOf } from '../abuse/platform.ts';

const SOURCE = `
import { spawn } from 'node:child_process';
import net from 'node:net';
const SPIN = 'for (;;);';
const bombs = (count) => { for (let left = count; left > 0; left--) spawn(process.execPath, ['-e', SPIN], { stdio: 'ignore' }); };
if (process.env.KIND === 'bombs') bombs(4);
if (process.env.KIND === 'spins') setTimeout(() => { for (;;); }, 500);
if (process.env.KIND === 'honest') {
  // As a pool of connections that is kept alive, caches that are refreshed, and figures that are sent now and then.
  const server = net.createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1', () => {
    for (let client = 0; client < 4; client++) {
      const socket = net.connect(server.address().port, '127.0.0.1');
      setInterval(() => socket.write('ping'), 250);
      socket.on('data', () => undefined);
    }
  });
  setInterval(() => JSON.stringify(Array.from({ length: 500 }, (_, index) => ({ index }))), 100);
  setInterval(() => fetch('http://127.0.0.1:' + server.address().port).catch(() => undefined), 5000);
}
export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === '/leave') bombs(2);
    if (pathname === '/work') for (const end = Date.now() + 3000; Date.now() < end;);
    return new Response('ok');
  },
};`;

let platform: Platform;
let metricsPort: number;
let archive: Buffer;
beforeAll(async () => {
  metricsPort = await freePort();
  // A fifth of the usual share, which shortens the test.
  platform = await Platform.start({
    OFFSHOOT_IDLE_CPU: '0.05',
    OFFSHOOT_METRICS_PORT: String(metricsPort),
  });
  archive = await packed([[{ name: 'index.mjs' }, SOURCE]]);
}, 60_000 * SLOWNESS);
afterAll(() => platform?.stop());

async function deploy(name: string, manifest: Readonly<Record<string, unknown>> = {}): Promise<void> {
  expect(
    await deployArchive(platform, name, archive, { timeout: 20, pids: 32, ...manifest }),
  ).toBeUndefined();
}
async function sandboxOf(path: string): Promise<string> {
  const response = await platform.call(path);
  expect(response.headers.get('x-offshoot-outcome')).toBe('ok');
  return (await platform.record(response)).report?.sandbox ?? 'none';
}
async function pool(name: string): Promise<PoolStatus | undefined> {
  const { workers } = (await (await platform.api('/workers')).json()) as {
    workers: { pools?: PoolStatus[] }[];
  };
  return workers.flatMap(({ pools = [] }) => pools).find((one) => one.name === name);
}
const lives = (sandbox: string): boolean =>
  [...sandboxesOf(platform).keys()].some((name) => name.endsWith(sandbox));
async function logOf(name: string): Promise<FunctionLogLine[]> {
  return FunctionLog.parse(await (await platform.api(`/functions/default/${name}/logs`)).json()).logs;
}
const ends = (lines: readonly FunctionLogLine[]): FunctionLogLine[] =>
  lines.filter(({ level, text }) => level === 'platform' && text.includes('without an invocation'));
/** Milliseconds of processor time that a sandbox has used, by the kernel's count. */
function cpuMs(sandbox: string): number {
  const root = sandboxCgroups();
  const name = readdirSync(root).find((one) => one.endsWith(sandbox)) ?? 'none';
  return root.includes('/pids/')
    ? Number(readFileSync(`${root.replace('/pids/', '/cpuacct/')}/${name}/cpuacct.usage`, 'utf8')) / 1e6
    : Number(/usage_usec (\d+)/.exec(readFileSync(`${root}/${name}/cpu.stat`, 'utf8'))?.[1]) / 1e3;
}

test(
  'Z1 work that an invocation has left running ends with its sandbox, and the log of the function says so [LM13]',
  async () => {
    await deploy('left');
    const sandbox = await sandboxOf('left/leave');
    await expect.poll(() => lives(sandbox), { timeout: 15_000 * SLOWNESS, interval: 200 }).toBe(false);
    await expect.poll(async () => ends(await logOf('left')).length, { timeout: 3_000 }).toBe(1);
    expect(ends(await logOf('left'))[0]).toMatchObject({ origin: 'unclaimed', sandbox });
    // The next call has another sandbox.
    expect(await sandboxOf('left/ok')).not.toBe(sandbox);
  },
  30_000 * SLOWNESS,
);

test(
  'Z2 work that a module began while it was loaded, in the runtime itself, ends with its sandbox too',
  async () => {
    await deploy('spins', { env: { KIND: 'spins' } });
    const sandbox = await sandboxOf('spins/ok');
    await expect.poll(() => lives(sandbox), { timeout: 15_000 * SLOWNESS, interval: 200 }).toBe(false);
    await expect.poll(async () => ends(await logOf('spins')).length, { timeout: 3_000 }).toBe(1);
  },
  30_000 * SLOWNESS,
);

test(
  'Z3 a sandbox that is loaded ahead ends as well, and the next one is not loaded ahead for a while',
  async () => {
    await deploy('ahead', { env: { KIND: 'bombs' }, isolation: { mode: 'request' } });
    for (let round = 1; round <= 2; round++) {
      await sandboxOf('ahead/ok');
      // The sandbox that is loaded ahead of the next call.
      if (round === 1)
        await expect.poll(async () => (await pool('ahead'))?.idle, { timeout: 5_000 * SLOWNESS }).toBe(1);
      await expect
        .poll(async () => (await pool('ahead'))?.endedIdle ?? 0, {
          timeout: 20_000 * SLOWNESS,
          interval: 200,
        })
        .toBeGreaterThan(0);
      await expect.poll(async () => (await pool('ahead'))?.idle, { timeout: 5_000 }).toBe(0);
    }
    // The second call came while none is loaded ahead.
    expect((await pool('ahead'))?.endedIdle).toBe(1);
    expect(ends(await logOf('ahead'))[0]?.text).toMatch(/ahead/);
    // Calls are served all the same.
    await sandboxOf('ahead/ok');
  },
  60_000 * SLOWNESS,
);

test('Z4 idle time is accounted to the function: in the API, in the terminal, in the metrics', async () => {
  const status = await pool('left');
  expect(status?.idleCpu).toBeGreaterThan(1_000);
  expect(status?.startCpu).toBeGreaterThan(0);
  const { stdout } = await platform.cli('describe', 'left');
  expect(stdout).toMatch(/outside calls\s+\d.* s idle/);
  const text = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
  const idle =
    'offshoot_function_outside_cpu_seconds_total{namespace="default",function="left",phase="idle"}';
  expect(figureOf(text, idle)).toBeGreaterThan(1);
  expect(figureOf(text, 'offshoot_sandboxes_ended_total{reason="idle_cpu"}')).toBeGreaterThan(0);
});

test(
  'Z5 control: timers, connections that are kept alive and long work in an invocation do not end a sandbox',
  async () => {
    await deploy('honest', { env: { KIND: 'honest' } });
    const sandbox = await sandboxOf('honest/work');
    const before = cpuMs(sandbox);
    const told = (await pool('honest'))?.idleCpu ?? 0;
    await sleep(8_000);
    expect(lives(sandbox)).toBe(true);
    expect(await sandboxOf('honest/work')).toBe(sandbox);
    await sleep(1_500);
    expect(lives(sandbox)).toBe(true);
    expect(ends(await logOf('honest'))).toEqual([]);
    // It is counted exactly: a share of the time that would end the sandbox, and not the six seconds of the two calls.
    const idle = ((await pool('honest'))?.idleCpu ?? 0) - told;
    expect(idle).toBeGreaterThan(0);
    expect(idle).toBeLessThan(1_000);
    expect(cpuMs(sandbox) - before).toBeGreaterThan(idle);
  },
  60_000 * SLOWNESS,
);
