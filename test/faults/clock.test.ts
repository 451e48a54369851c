/** Q16 of the list of scenarios: the clocks of hosts, that of Redis among them, are set while calls and jobs run. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Accepted } from '#contract/api/api.ts';
import { Platform } from '../support/platform/platform.ts';
import { SteppedClock } from '../support/faults/stepped-clock.ts';
import { ended, enqueuer, type Enqueue } from './history.ts';

const HOUR_MS = 3_600_000;

let platform: Platform;
let enqueue: Enqueue;
let folder: string;
let redisClock: SteppedClock;
beforeEach(async () => {
  redisClock = await SteppedClock.make();
  folder = await mkdtemp(join(tmpdir(), 'offshoot-clock-'));
  const environment = {
    OFFSHOOT_PREPARED: '1',
    OFFSHOOT_TEST_CLOCK: join(folder, 'clock'),
    NODE_OPTIONS: `--import=${join(import.meta.dirname, '../support/faults/shifted-clock.mjs')}`,
  };
  platform = await Platform.start(environment, [], { redisEnvironment: redisClock.environment });
  await platform.deploy('retries');
  enqueue = enqueuer(platform, 'retries');
}, 60_000);
afterEach(async () => {
  await platform.stop();
  await rm(folder, { recursive: true });
  await redisClock.remove();
});

/** Clocks that a test sets: those of gateway and worker, that of Redis, or all of them, as on a single host. */
type Whose = 'hosts' | 'Redis' | 'all';

async function setClocks(whose: Whose, shiftMs: number): Promise<void> {
  if (whose !== 'Redis') await writeFile(join(folder, 'clock'), String(shiftMs));
  if (whose !== 'hosts') await redisClock.set(shiftMs);
  await sleep(100);
}

async function delayed(seconds: number): Promise<string> {
  const answer = await enqueue({}, { 'x-offshoot-delay': String(seconds), 'x-offshoot-ttl': '60' });
  expect(answer.status).toBe(202);
  return ((await answer.json()) as Accepted).id;
}

function call(sleepMs: number): Promise<Response> {
  return platform.call('retries', { method: 'POST', body: JSON.stringify({ sleepMs }) });
}

test.each<[Whose, string, number]>([
  ['hosts', 'an hour ahead', HOUR_MS],
  ['hosts', 'an hour back', -HOUR_MS],
  ['Redis', 'an hour ahead', HOUR_MS],
  ['Redis', 'an hour back', -HOUR_MS],
  ['all', 'an hour ahead', HOUR_MS],
  ['all', 'an hour back', -HOUR_MS],
])(
  'Q16 clock-jump: clocks of %s set %s end no call, expire no job, and begin none too early [QU18]',
  async (whose, _, shift) => {
    const before = performance.now();
    const job = await delayed(5);
    const running = call(2_000);
    await sleep(500);
    await setClocks(whose, shift);
    // Started before and after the clocks are set.
    expect((await running).status).toBe(200);
    expect((await call(100)).status).toBe(200);
    const later = await delayed(3);
    const laterAt = performance.now();
    const [first] = await ended(platform, [job], 40_000);
    expect(performance.now() - before).toBeGreaterThan(4_900);
    const [second] = await ended(platform, [later], 40_000);
    expect(performance.now() - laterAt).toBeGreaterThan(2_900);
    for (const record of [first, second]) {
      expect(record).toMatchObject({ outcome: 'ok' });
      const waited = (record?.attempts?.[0]?.startedAt ?? 0) - (record?.startedAt ?? 0);
      expect(waited).toBeGreaterThan(2_900);
      expect(waited).toBeLessThan(30_000);
    }
    // And back again.
    await setClocks(whose, 0);
    expect((await call(100)).status).toBe(200);
    const [third] = await ended(platform, [await delayed(1)], 20_000);
    expect(third).toMatchObject({ outcome: 'ok' });
  },
);
