/** Clients that are slow, too many, or gone: all other clients are served, and everything is as before afterwards. */
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { WorkerStatus } from '#contract/api/api.ts';
import { Platform } from '../../support/platform/platform.ts';
import { percentile, Stopwatch } from '../../support/platform/stopwatch.ts';
import { deployAttack, residentMb, sandboxesOf } from '../abuse/platform.ts';
import { connect, head } from './raw.ts';

const CONNECTIONS = 1_000;

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start({
    OFFSHOOT_CAPACITY: '16',
    OFFSHOOT_QUEUE_TIMEOUT_MS: '500',
    OFFSHOOT_MAX_SANDBOXES: '40',
  });
  await platform.deploy('hello-fetch', { name: 'honest' });
  await deployAttack(platform, 'sleep', { timeout: 5 });
}, 90_000);
afterAll(() => platform.stop(), 60_000);

/** Times in milliseconds of `calls` calls of the honest function, one after another. */
async function latencies(calls: number): Promise<number[]> {
  const times: number[] = [];
  for (let call = 0; call < calls; call++) {
    const start = performance.now();
    const response = await platform.call('honest');
    await response.text();
    expect(response.status).toBe(200);
    times.push(performance.now() - start);
  }
  return times;
}

async function status(): Promise<WorkerStatus> {
  const { workers } = (await (await platform.api('/workers')).json()) as { workers: WorkerStatus[] };
  if (!workers[0]) throw new Error('no worker');
  return workers[0];
}

describe('clients that are slow', () => {
  /**
   * Opens `count` clients, keeps `drip` going on each, and measures other calls meanwhile. Returns the number of cut
   * connections.
   */
  async function besides(
    first: string,
    drip: string | undefined,
    ms: number,
  ): Promise<{ cut: number; sockets: Socket[] }> {
    await latencies(100);
    const before = await latencies(200);
    const resident = residentMb(platform.pid('gateway'));
    const sockets: Socket[] = [];
    for (let batch = 0; batch < CONNECTIONS / 100; batch++) {
      sockets.push(...(await Promise.all(Array.from({ length: 100 }, () => connect(platform)))));
    }
    for (const socket of sockets) {
      // The clients do not read, so the answers stay in their buffers.
      socket.pause();
      socket.write(first);
    }
    const dripping = setInterval(() => {
      if (drip !== undefined) for (const socket of sockets) if (socket.writable) socket.write(drip);
    }, 1_000);
    const during = await latencies(200);
    // Other programs of this machine make one call in a hundred late; they do not make all of them late.
    expect(percentile(during, 50)).toBeLessThan(3 * percentile(before, 50) + 5);
    expect(percentile(during, 95)).toBeLessThan(3 * percentile(before, 95) + 30);
    expect(residentMb(platform.pid('gateway')) - resident).toBeLessThan(200);
    const end = performance.now() + ms;
    // A socket learns of its end only when it reads.
    for (const socket of sockets) socket.resume();
    while (performance.now() < end && sockets.some((socket) => !socket.closed)) await sleep(50);
    clearInterval(dripping);
    return { cut: sockets.filter((socket) => socket.closed).length, sockets };
  }

  test('G2 slowloris: a thousand connections with endless headers are cut in half a minute, and others are served meanwhile [GW2]', async () => {
    const { cut, sockets } = await besides(
      'GET /fn/default/honest HTTP/1.1\r\nHost: x\r\n',
      'a: b\r\n',
      25_000,
    );
    for (const socket of sockets) socket.destroy();
    expect(cut).toBe(CONNECTIONS);
  }, 90_000);

  test('G2 slowloris: a thousand endless bodies take no capacity of a worker, and others are served meanwhile', async () => {
    const { sockets } = await besides(head('POST /fn/default/honest', ['Content-Length: 100000']), 'x', 500);
    expect((await status()).running).toBe(0);
    for (const socket of sockets) socket.destroy();
  }, 60_000);

  test('G2 slowloris: a thousand clients that do not read their answers take nothing from others', async () => {
    const { sockets } = await besides(head('GET /api/v1/openapi.json').repeat(20), undefined, 0);
    for (const socket of sockets) socket.destroy();
    await expect.poll(async () => (await status()).running, { timeout: 5_000 }).toBe(0);
  }, 60_000);
});

test('G7 overload: under ten times the capacity, calls get 200 or 503 with Retry-After, and then all is served at once [GW6]', async () => {
  const resident = residentMb(platform.pid('gateway')) + residentMb(platform.pid('worker'));
  const seen = new Map<number, number>();
  const end = performance.now() + 10_000;
  const client = async (): Promise<void> => {
    while (performance.now() < end) {
      const response = await platform.call('sleep?ms=100');
      await response.text();
      seen.set(response.status, (seen.get(response.status) ?? 0) + 1);
      if (response.status === 503) expect(response.headers.get('retry-after')).toMatch(/^\d+$/);
    }
  };
  // 16 at a time fit.
  await Promise.all(Array.from({ length: 160 }, client));
  expect([...seen.keys()].toSorted((a, b) => a - b)).toEqual([200, 503]);
  expect(seen.get(200)).toBeGreaterThan(300);
  const stopped = Stopwatch.start();
  expect((await platform.call('sleep?ms=1')).status).toBe(200);
  expect(stopped.stop()).toBeLessThan(5_000);
  await expect.poll(async () => (await status()).running, { timeout: 5_000 }).toBe(0);
  expect(residentMb(platform.pid('gateway')) + residentMb(platform.pid('worker')) - resident).toBeLessThan(
    200,
  );
}, 60_000);

test('G8 client-disconnect: a thousand callers that disconnect free their leases, and none of their runs goes on [GW7]', async () => {
  await platform.call('sleep?ms=1');
  let aborted = 0;
  for (let batch = 0; batch < 20; batch++) {
    const calls = Array.from({ length: 50 }, async (_, index) => {
      const controller = new AbortController();
      const call = platform.call('sleep?ms=4000', { signal: controller.signal });
      const rejected = call.then(
        () => false,
        () => true,
      );
      await sleep(20 + index * 3);
      controller.abort();
      if (await rejected) aborted++;
    });
    await Promise.all(calls);
  }
  // Some callers got an answer that there is no room before they left.
  expect(aborted).toBeGreaterThan(500);
  const over = Stopwatch.start();
  await expect.poll(async () => (await status()).running, { timeout: 5_000 }).toBe(0);
  await expect.poll(async () => (await status()).busy, { timeout: 5_000 }).toBe(0);
  // A run that was left alone would have gone on for four seconds.
  expect(over.stop()).toBeLessThan(3_500);
  expect((await platform.call('sleep?ms=1')).status).toBe(200);
  await latencies(20);
  expect(sandboxesOf(platform).size).toBeLessThanOrEqual(41);
}, 90_000);
