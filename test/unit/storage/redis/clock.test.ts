/** The time line of the platform over a real Redis whose clock is set: each SharedClock here is a process. */
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { keys } from '#contract/platform/keys.ts';
import { SharedClock } from '#storage/redis/clock.ts';
import { QuotaLeases } from '#storage/limits/quota-leases.ts';
import { connectRedis } from '#storage/redis/redis.ts';
import { SteppedClock } from '../../../support/faults/stepped-clock.ts';
import { PrivateRedis, QUIET, waitFor } from '../../../support/gateway/fixture.ts';

const HOUR_MS = 3_600_000;
/** More than the run time of any test in this file, and much less than an hour. */
const NEAR_MS = 2_000;

let stepped: SteppedClock;
let server: PrivateRedis;
let redis: Redis;
beforeAll(async () => {
  stepped = await SteppedClock.make();
  server = await PrivateRedis.start([], stepped.environment);
  redis = connectRedis(server.url, 'commands', QUIET);
  await waitFor(() => redis.status === 'ready');
});
beforeEach(async () => {
  await stepped.set(0);
  await redis.flushall();
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
  await stepped.remove();
});

/** The clock of a process that has run for a while. */
async function known(monotonic?: () => number): Promise<SharedClock> {
  const clock = new SharedClock(monotonic);
  for (let asked = 0; asked < 6; asked++) await clock.ask(redis);
  return clock;
}

/** Distance of a SharedClock from the clock of this host, which stays unchanged. */
const off = (clock: SharedClock): number => Math.abs(clock.now() - Date.now());
const ahead = async (): Promise<number> => Number(await redis.hget(keys.clock(), 'ahead'));

describe.each([
  ['ahead', HOUR_MS],
  ['back', -HOUR_MS],
])('the clock of Redis is set %s by an hour', (_, shift) => {
  test('time goes on for earlier and for new processes', async () => {
    const [one, other] = [await known(), await known()];
    await stepped.set(shift);
    const [seconds] = await redis.time();
    expect(Math.abs(Number(seconds) * 1000 - Date.now() - shift)).toBeLessThan(NEAR_MS);
    await one.ask(redis);
    await other.ask(redis);
    const late = await known();
    for (const clock of [one, other, late]) {
      expect(off(clock)).toBeLessThan(NEAR_MS);
      expect(Math.abs(clock.wall() - Date.now() - shift)).toBeLessThan(NEAR_MS);
    }
    expect(Math.abs(one.now() - late.now())).toBeLessThan(100);
    await stepped.set(0);
    await late.ask(redis);
    await one.ask(redis);
    for (const clock of [one, late]) expect(off(clock)).toBeLessThan(NEAR_MS);
  });

  test('a new process does not announce the time before the earlier ones have', async () => {
    const old = await known();
    await stepped.set(shift);
    const fresh = new SharedClock();
    await fresh.ask(redis);
    await old.ask(redis);
    await fresh.ask(redis);
    for (const clock of [old, fresh]) expect(off(clock)).toBeLessThan(NEAR_MS);
  });

  test('the step is made up for, at a hundredth of the time', async () => {
    const clock = await known();
    await stepped.set(shift);
    await clock.ask(redis);
    const before = await ahead();
    expect(Math.abs(before + shift)).toBeLessThan(NEAR_MS);
    await waitFor(async () => {
      await clock.ask(redis);
      return Math.abs((await ahead()) - before) >= 1;
    });
    expect(Math.sign((await ahead()) - before)).toBe(Math.sign(shift));
    expect(Math.abs((await ahead()) - before)).toBeLessThan(NEAR_MS / 100);
  });

  test('a rate limit goes on unchanged', async () => {
    const leases = new QuotaLeases(redis, QUIET);
    const quota = { namespace: {}, function: { rateLimit: { rate: 10, burst: 2 } } };
    const taken = async (): Promise<boolean> => !('refused' in (await leases.take('ns', 'fn', quota, 'i')));
    expect([await taken(), await taken(), await taken()]).toEqual([true, true, false]);
    await stepped.set(shift);
    await waitFor(taken, 1_000);
  });

  test('a place is free once its holder renews it no more, though the clock was set', async () => {
    const leases = new QuotaLeases(redis, QUIET);
    const quota = { namespace: {}, function: { concurrency: 1 } };
    await leases.take('ns', 'fn', quota, 'lost');
    leases.stop();
    await stepped.set(shift);
    await waitFor(async () => !('refused' in (await leases.take('ns', 'fn', quota, 'next'))), 8_000);
    leases.stop();
  });
});

test('a process that stood still follows those that went on', async () => {
  let stood = 0;
  const [one, other] = [await known(), await known(() => performance.now() - stood)];
  stood = HOUR_MS;
  expect(off(other)).toBeGreaterThan(HOUR_MS - NEAR_MS);
  await one.ask(redis);
  await other.ask(redis);
  await one.ask(redis);
  for (const clock of [one, other]) expect(off(clock)).toBeLessThan(NEAR_MS);
});
