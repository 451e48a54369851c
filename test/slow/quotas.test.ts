/** Limits of functions and namespaces, on real processes: calls and jobs beyond them, and how leases are returned. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Accepted, InvocationDetail } from '#contract/api/api.ts';
import type { ErrorBody } from '#contract/api/errors.ts';
import { LEASE_MS } from '#storage/limits/quota-leases.ts';
import { acknowledged, ended, enqueuer, look } from '../faults/history.ts';
import { withRedis } from '../support/platform/backlog.ts';
import { Platform } from '../support/platform/platform.ts';
import { Stopwatch } from '../support/platform/stopwatch.ts';

/** Workers read the limits of namespaces again every two seconds. */
const WORKER_KNOWS_MS = 2_500;

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start({ OFFSHOOT_PREPARED: '1' });
  await platform.deploy('retries', { name: 'free' });
  await platform.deploy('retries', { name: 'two', maxConcurrency: 2 });
  await platform.deploy('retries', { name: 'slow', rateLimit: { rate: 1, burst: 3 } });
  await platform.deploy('retries', { name: 'steady', rateLimit: { rate: 5, burst: 1 } });
  await platform.deploy('retries', { name: 'one' }, 'small');
  await platform.deploy('retries', { name: 'other' }, 'small');
}, 60_000);
afterAll(() => platform.stop());

function call(path: string, event: unknown): Promise<Response> {
  return fetch(`${platform.url}/fn/${path}`, { method: 'POST', body: JSON.stringify(event) });
}

async function errorOf(response: Response): Promise<ErrorBody['error']> {
  return ((await response.json()) as ErrorBody).error;
}

/** Largest number of these that ran at the same time. */
function overlap(records: readonly InvocationDetail[]): number {
  const times = records.flatMap(({ attempts = [] }) =>
    attempts.flatMap(({ startedAt, endedAt = Infinity }) => [
      { at: startedAt, change: 1 },
      { at: endedAt, change: -1 },
    ]),
  );
  let running = 0;
  let most = 0;
  for (const { change } of times.toSorted((a, b) => a.at - b.at || a.change - b.change))
    most = Math.max(most, (running += change));
  return most;
}

describe('concurrency of a function', () => {
  test('calls over the concurrency are refused at once, with the reason and a time; without a limit none is [SH4]', async () => {
    const calls = (name: string): Promise<Response[]> =>
      Promise.all(Array.from({ length: 5 }, () => call(`default/${name}`, { sleepMs: 600 })));
    const from = Stopwatch.start(platform.pid('gateway'), platform.pid('worker'));
    const [first, ...refused] = (await calls('two')).toSorted((a, b) => a.status - b.status);
    expect([first?.status, ...refused.map(({ status }) => status)]).toEqual([200, 200, 429, 429, 429]);
    expect(from.stop()).toBeLessThan(3_000);
    const last = refused.at(-1) as Response;
    expect(Number(last.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect(Number(last.headers.get('retry-after'))).toBeLessThanOrEqual(300);
    expect(await errorOf(last)).toMatchObject({
      code: 'concurrency_limited',
      message: expect.stringContaining('"maxConcurrency" in offshoot.json') as string,
      next: expect.stringContaining('Retry-After') as string,
      details: { of: 'function', limit: 2, running: 2 },
    });
    expect((await calls('free')).map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
    // Quota leases are returned just after the answer.
    await expect.poll(async () => (await call('default/two', {})).status, { timeout: 3_000 }).toBe(200);
  });

  test('a caller who disconnects frees its place', async () => {
    const leaving = new AbortController();
    const gone = [0, 1].map(() =>
      fetch(`${platform.url}/fn/default/two`, {
        method: 'POST',
        body: JSON.stringify({ sleepMs: 4_500 }),
        signal: leaving.signal,
      }).catch(() => undefined),
    );
    await expect.poll(async () => (await call('default/two', {})).status, { timeout: 3_000 }).toBe(429);
    leaving.abort();
    await Promise.all(gone);
    await expect.poll(async () => (await call('default/two', {})).status, { timeout: 2_500 }).toBe(200);
  });

  test('jobs over the concurrency wait, however many: none fails or uses up an attempt, and calls count as well [SH4]', async () => {
    const ids = await acknowledged(enqueuer(platform, 'two'), 40, { sleepMs: 50 });
    const seen: number[] = [];
    // A place may be free for a moment, since jobs that were moved back do not return at once.
    for (let probe = 0; probe < 20; probe++) {
      seen.push((await call('default/two', { sleepMs: 10 })).status);
      await sleep(20);
    }
    const records = await ended(platform, ids, 25_000);
    for (const { outcome, attempts } of records) expect([outcome, attempts?.length]).toEqual(['ok', 1]);
    expect(overlap(records)).toBe(2);
    expect(seen).toContain(429);
    // Control: without a limit, more run at once.
    const free = await ended(
      platform,
      await acknowledged(enqueuer(platform, 'free'), 40, { sleepMs: 50 }),
      20_000,
    );
    expect(overlap(free)).toBeGreaterThan(2);
  });

  test('jobs of another function pass those that wait', async () => {
    const ids = await acknowledged(enqueuer(platform, 'two'), 30, { sleepMs: 300 });
    const [id = ''] = await acknowledged(enqueuer(platform, 'free'), 1, {});
    const [record] = await ended(platform, [id], 10_000);
    expect((record?.attempts?.[0]?.startedAt ?? Infinity) - (record?.startedAt ?? 0)).toBeLessThan(2_000);
    expect((await look(platform, ids.at(-1) ?? '')).state).toBe('queued');
    await ended(platform, ids, 30_000);
  }, 60_000);
});

test('a function without limits asks Redis for no place; one with limits asks once [SH8]', async () => {
  await withRedis(platform.redis.url, async (redis) => {
    const monitor = await redis.monitor();
    const asked: string[] = [];
    monitor.on('monitor', (_time: string, args: string[]) => {
      if (args.some((text) => text.includes(':leases'))) asked.push(args.join(' '));
    });
    for (let one = 0; one < 10; one++) expect((await call('default/free', {})).status).toBe(200);
    await sleep(200);
    expect(asked).toEqual([]);
    expect((await call('default/two', {})).status).toBe(200);
    // One command to take a place and one to return it, whole the first time and by its digest from then on.
    await expect.poll(() => asked.length, { timeout: 1_000 }).toBeGreaterThanOrEqual(2);
    monitor.disconnect();
  });
});

describe('rate of a function', () => {
  test('a burst is admitted, then a refused call gets the exact time, in milliseconds, when it may come again [SH6]', async () => {
    const answers = await Promise.all(Array.from({ length: 5 }, () => call('default/slow', {})));
    const statuses = answers.map(({ status }) => status).toSorted((a, b) => a - b);
    expect(statuses).toEqual([200, 200, 200, 429, 429]);
    const refused = answers.find(({ status }) => status === 429) as Response;
    expect(refused.headers.get('retry-after')).toBe('1');
    const error = await errorOf(refused);
    expect(error).toMatchObject({ code: 'rate_limited', details: { of: 'function', rate: 1 } });
    expect(error.message).toContain('"rateLimit" in offshoot.json');
    const waitMs = Number(error.details?.['waitMs']);
    expect(waitMs).toBeLessThanOrEqual(1_000);
    await sleep(waitMs);
    expect((await call('default/slow', {})).status).toBe(200);
  });

  test('jobs over the rate wait until they may run', async () => {
    const ids = await acknowledged(enqueuer(platform, 'steady'), 11, {});
    const records = await ended(platform, ids, 25_000);
    for (const { outcome, attempts } of records) expect([outcome, attempts?.length]).toEqual(['ok', 1]);
    const starts = records.map(({ attempts }) => attempts?.[0]?.startedAt ?? 0).toSorted((a, b) => a - b);
    expect((starts.at(-1) ?? 0) - (starts[0] ?? 0)).toBeGreaterThan(1_900);
  });
});

describe('limits of a namespace', () => {
  test('limits of a namespace are set and shown by the command line, and hold over its functions', async () => {
    const before = await platform.cli('limits', 'show', '-n', 'small', '--json');
    expect(JSON.parse(before.stdout)).toEqual({ namespace: 'small', limits: {} });
    const options = '--concurrency 1 --rate 50 --burst 9 --weight 2 --max-queued 5 --json';
    const set = await platform.cli('limits', 'set', '-n', 'small', ...options.split(' '));
    const limits = { concurrency: 1, rateLimit: { rate: 50, burst: 9 }, weight: 2, maxQueued: 5 };
    expect([set.code, JSON.parse(set.stdout)]).toEqual([0, { namespace: 'small', limits }]);
    expect(await (await platform.api('/namespaces/small/limits')).json()).toEqual(limits);

    const slow = call('small/one', { sleepMs: 1_500 });
    await sleep(400);
    const refused = await call('small/other', {});
    expect(refused.status).toBe(429);
    expect(await errorOf(refused)).toMatchObject({
      code: 'concurrency_limited',
      message: expect.stringContaining('offshoot limits set --concurrency') as string,
      details: { of: 'namespace', limit: 1 },
    });
    expect((await slow).status).toBe(200);

    const lifted = await platform.cli(
      'limits',
      'set',
      '-n',
      'small',
      '--concurrency',
      'none',
      '--rate',
      'none',
    );
    expect(lifted.stdout).toContain('concurrency  not limited');
    const both = await Promise.all([
      call('small/one', { sleepMs: 300 }),
      call('small/other', { sleepMs: 300 }),
    ]);
    expect(both.map(({ status }) => status)).toEqual([200, 200]);
    // Limits that were not to be changed are as before.
    expect(await (await platform.api('/namespaces/small/limits')).json()).toEqual({
      weight: 2,
      maxQueued: 5,
    });
  });

  test('an invalid limit is refused with the reason', async () => {
    const cli = await platform.cli('limits', 'set', '-n', 'small', '--burst', '3', '--json');
    expect(cli.code).not.toBe(0);
    expect(cli.stdout).toContain('--burst needs a --rate');
    const api = await platform.api('/namespaces/small/limits', {
      method: 'PUT',
      body: JSON.stringify({ concurrency: 0 }),
    });
    expect([api.status, (await errorOf(api)).message]).toEqual([
      400,
      expect.stringContaining('concurrency') as string,
    ]);
  });

  test('a full queue says how many wait, and when to come back', async () => {
    await platform.api('/namespaces/small/limits', {
      method: 'PUT',
      body: JSON.stringify({ maxQueued: 8, concurrency: 1 }),
    });
    await sleep(WORKER_KNOWS_MS);
    // One at a time, so that about two end in a second.
    const enqueue = enqueuer(platform, 'one', 'small');
    const ids: string[] = [];
    let full: Response | undefined;
    for (const until = performance.now() + 6_000; performance.now() < until; await sleep(50)) {
      const answer = await enqueue({ sleepMs: 400 });
      if (answer.status === 202) ids.push(((await answer.json()) as Accepted).id);
      else full = answer;
    }
    expect(full?.status).toBe(503);
    const error = await errorOf(full as Response);
    expect(error).toMatchObject({ code: 'queue_full', details: { limit: 8 } });
    const { waiting, endedPerSecond } = error.details as { waiting: number; endedPerSecond: number };
    expect(waiting).toBeGreaterThanOrEqual(8);
    expect(endedPerSecond).toBeGreaterThan(0.3);
    expect(endedPerSecond).toBeLessThan(3);
    expect(Number(full?.headers.get('retry-after'))).toBe(Math.ceil(waiting / endedPerSecond));
    await platform.api('/namespaces/small/limits', { method: 'PUT', body: '{}' });
    await ended(platform, ids, 20_000);
  }, 60_000);
});

describe('leases of a process that dies', () => {
  test('a gateway that dies returns its leases [SH5]', async () => {
    const lost = [0, 1].map(() => call('default/two', { sleepMs: 4_500 }).catch(() => undefined));
    await expect.poll(async () => (await call('default/two', {})).status, { timeout: 3_000 }).toBe(429);
    await platform.kill('gateway');
    await Promise.all(lost);
    platform.run('gateway');
    await platform.ready();
    expect((await call('default/two', {})).status).toBe(429);
    await expect
      .poll(async () => (await call('default/two', {})).status, { timeout: LEASE_MS + 2_000 })
      .toBe(200);
  }, 30_000);

  test('a worker that dies returns its leases [SH5]', async () => {
    const ids = await acknowledged(enqueuer(platform, 'two'), 2, { sleepMs: 4_000 });
    await expect.poll(async () => (await call('default/two', {})).status, { timeout: 5_000 }).toBe(429);
    await platform.kill('worker');
    platform.run('worker');
    await platform.ready();
    await expect
      .poll(async () => (await call('default/two', {})).status, { timeout: LEASE_MS + 4_000 })
      .toBe(200);
    await ended(platform, ids, 45_000);
  }, 90_000);
});
