/** QuotaLeases over a real Redis: two processes that share them are two connections here. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { keys } from '#contract/platform/keys.ts';
import type { Quota } from '#contract/functions/quota.ts';
import { LEASE_MS, QuotaLeases, type QuotaLease, type Taken } from '#storage/limits/quota-leases.ts';
import { connectRedis } from '#storage/redis/redis.ts';
import { PrivateRedis, QUIET } from '../../../support/gateway/fixture.ts';

let server: PrivateRedis;
let redis: Redis;
let leases: QuotaLeases;
let others: QuotaLeases;
const open: Redis[] = [];

async function connect(): Promise<Redis> {
  const made = connectRedis(server.url, 'commands', QUIET);
  open.push(made);
  await vi.waitFor(() => expect(made.status).toBe('ready'));
  return made;
}

beforeAll(async () => {
  server = await PrivateRedis.start([]);
  redis = await connect();
});
beforeEach(async () => {
  await redis.flushall();
  leases = new QuotaLeases(await connect(), QUIET);
  others = new QuotaLeases(await connect(), QUIET);
});
afterEach(() => {
  leases.stop();
  others.stop();
});
afterAll(async () => {
  for (const one of open) one.disconnect();
  await server.stop();
});

let serial = 0;
const take = (from: QuotaLeases, quota: Quota, name = 'fn'): Promise<Taken> =>
  from.take('ns', name, quota, `i${serial++}`);

function taken(result: Taken): QuotaLease {
  if ('refused' in result) throw new Error(JSON.stringify(result.refused));
  return result;
}

describe('concurrency', () => {
  const two: Quota = { function: { concurrency: 2 }, namespace: {} };

  test('concurrency is counted over all processes, and a returned place is free', async () => {
    const first = taken(await take(leases, two));
    taken(await take(others, two));
    expect(await take(leases, two)).toEqual({
      refused: { of: 'function', limit: 'concurrency', running: 2, endedPerSecond: 0 },
    });
    first.leave();
    await vi.waitFor(async () => taken(await take(others, two)));
  });

  test('concurrency of the namespace holds over its functions, and a refused call has taken nothing', async () => {
    const both: Quota = { function: { concurrency: 5 }, namespace: { concurrency: 2 } };
    taken(await take(leases, both, 'a'));
    taken(await take(leases, both, 'b'));
    const refused = await take(leases, both, 'c');
    expect(refused).toMatchObject({ refused: { of: 'namespace', running: 2 } });
    expect(await redis.zcard(keys.leases('ns', 'c'))).toBe(0);
  });

  test('a refusal says how quickly leases become free', async () => {
    for (let run = 0; run < 10; run++) {
      taken(await take(leases, two)).leave();
      await sleep(100);
    }
    taken(await take(leases, two));
    taken(await take(leases, two));
    const { refused } = (await take(leases, two)) as { refused: { endedPerSecond: number } };
    expect(refused.endedPerSecond).toBeGreaterThan(6);
    expect(refused.endedPerSecond).toBeLessThan(14);
  });

  test(
    'leases of a dead process are free when their lease has expired, and those of a live one are not',
    async () => {
      taken(await take(leases, two));
      taken(await take(others, two));
      others.stop();
      await sleep(LEASE_MS - 1_500);
      expect(await take(leases, two)).toHaveProperty('refused');
      await sleep(2_000);
      taken(await take(leases, two));
      expect(await take(leases, two)).toHaveProperty('refused');
    },
    LEASE_MS * 3,
  );

  test('no key is left behind', async () => {
    taken(await take(leases, two)).leave();
    await vi.waitFor(async () => expect(await redis.keys('*leases*')).toEqual([]));
    expect(await redis.pttl(keys.leasePace('ns', 'fn'))).toBeGreaterThan(0);
  });
});

describe('rate', () => {
  const limited = (rate: number, burst?: number): Quota => ({
    function: { rateLimit: { rate, ...(burst !== undefined && { burst }) } },
    namespace: {},
  });

  test('a rate allows a burst, then its number a second, over all processes', async () => {
    const quota = limited(20, 5);
    const from = performance.now();
    let granted = 0;
    while (performance.now() - from < 1_000) {
      for (const one of [leases, others]) if (!('refused' in (await take(one, quota)))) granted++;
      await sleep(2);
    }
    // 5 at once and 20 in a second; the last check may be a little late.
    expect(granted).toBeGreaterThanOrEqual(23);
    expect(granted).toBeLessThanOrEqual(27);
  });

  test('a rate says exactly when the next call may begin', async () => {
    const quota = limited(2, 1);
    taken(await take(leases, quota));
    const { refused } = (await take(leases, quota)) as { refused: { waitMs: number; limit: string } };
    expect(refused.limit).toBe('rateLimit');
    expect(refused.waitMs).toBeGreaterThan(400);
    expect(refused.waitMs).toBeLessThanOrEqual(500);
    await sleep(refused.waitMs - 50);
    expect(await take(others, quota)).toHaveProperty('refused');
    await sleep(60);
    taken(await take(others, quota));
  });

  test('a rate without a burst allows the number of one second at once', async () => {
    const results = await Promise.all(Array.from({ length: 12 }, () => take(leases, limited(10))));
    expect(results.filter((one) => !('refused' in one))).toHaveLength(10);
  });

  test('rates of function and namespace together: neither counts a call that the other refused', async () => {
    const quota: Quota = {
      function: { rateLimit: { rate: 100, burst: 100 } },
      namespace: { rateLimit: { rate: 0.01, burst: 1 } },
    };
    taken(await take(leases, quota));
    const before = await redis.get(keys.rate('ns', 'fn'));
    expect(await take(leases, quota)).toMatchObject({ refused: { of: 'namespace', limit: 'rateLimit' } });
    expect(await redis.get(keys.rate('ns', 'fn'))).toBe(before);
  });
});
