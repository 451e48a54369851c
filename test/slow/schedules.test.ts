/** Functions that run on a schedule: at their times, one at a time, through restarts, until they are removed. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { InvocationDetail } from '#contract/api/api.ts';
import type { AnyInvocation } from '#contract/invocations/invocation.ts';
import { keys } from '#contract/platform/keys.ts';
import { QueuedStore } from '#storage/queued/records.ts';
import { Queues } from '#storage/queued/jobs.ts';
import { withRedis } from '../support/platform/backlog.ts';
import { Platform } from '../support/platform/platform.ts';

const EVERY_SECOND = '* * * * * *';

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start();
}, 60_000);
afterEach(async () => {
  for (const name of ['nightly', 'slow'])
    await platform.api(`/functions/default/${name}`, { method: 'DELETE' });
});
afterAll(() => platform.stop());

async function runs(name: string): Promise<AnyInvocation[]> {
  const response = await platform.api(`/invocations?namespace=default&name=${name}`);
  return ((await response.json()) as { invocations: AnyInvocation[] }).invocations.toReversed();
}

async function look(id: string | undefined): Promise<AnyInvocation> {
  return (await (await platform.api(`/invocations/${id}`)).json()) as AnyInvocation;
}

test('a scheduled function runs at its times, and learns each time [QU11]', async () => {
  await platform.deploy('nightly', { schedule: { cron: EVERY_SECOND, input: { keepDays: 3 } } });
  await expect
    .poll(async () => (await runs('nightly')).filter(({ state }) => state === 'done').length, {
      timeout: 8_000,
    })
    .toBeGreaterThanOrEqual(3);
  const [first, second] = (await runs('nightly')).filter(({ state }) => state === 'done');
  expect((first?.scheduledFor ?? 1) % 1000).toBe(0);
  expect((second?.scheduledFor ?? 0) - (first?.scheduledFor ?? 0)).toBe(1000);
  expect((first?.startedAt ?? 0) - (first?.scheduledFor ?? 0)).toBeLessThan(1_000);
  const detail = (await (await platform.api(`/invocations/${first?.id}`)).json()) as InvocationDetail;
  expect(detail).toMatchObject({ outcome: 'ok', status: 204, method: 'SCHEDULE', lane: 'queued' });
  expect(detail.logs[0]?.text).toBe(`planned for ${first?.scheduledFor}: nothing older than 3 days is kept`);
});

test('a scheduled time is skipped while the run before has not ended, unless runs may overlap', async () => {
  await platform.deploy('nightly', {
    name: 'slow',
    schedule: { cron: EVERY_SECOND, input: { takesMs: 2_500 } },
  });
  await sleep(6_000);
  const found = await runs('slow');
  expect(found.length).toBeGreaterThanOrEqual(2);
  expect(found.length).toBeLessThanOrEqual(3);
  expect(found.filter(({ state }) => state === 'running').length).toBeLessThanOrEqual(1);
});

test('a schedule goes on after the worker and the gateway have been ended [QU11]', async () => {
  await platform.deploy('nightly', { schedule: { cron: EVERY_SECOND } });
  await platform.kill('worker');
  await platform.kill('gateway');
  await sleep(1_500);
  const before = Date.now();
  platform.run('worker');
  platform.run('gateway');
  await platform.ready();
  await expect
    .poll(
      async () =>
        (await runs('nightly')).filter(
          ({ scheduledFor = 0, state }) => scheduledFor > before && state === 'done',
        ).length,
      // A run that was under way is recovered when its lock has expired, and until then no other starts.
      { timeout: 25_000 },
    )
    .toBeGreaterThanOrEqual(2);
});

test('a schedule ends with its function, and with a version that has none', async () => {
  await platform.deploy('nightly', { schedule: { cron: EVERY_SECOND } });
  await expect.poll(async () => (await runs('nightly')).length, { timeout: 5_000 }).toBeGreaterThan(0);
  await platform.deploy('nightly', { schedule: undefined });
  await sleep(1_200);
  const seen = (await runs('nightly')).length;
  await sleep(2_500);
  expect(await runs('nightly')).toHaveLength(seen);
});

test.each([
  ['the function is removed', 1, () => platform.api('/functions/default/nightly', { method: 'DELETE' })],
  ['a version without a schedule is active', 2, () => platform.deploy('nightly', { schedule: undefined })],
])(
  'a run that waits for its next attempt comes to its end when %s, and delays no later one',
  async (_, tries, act) => {
    // Its first attempt times out; the next comes at some time within the hour.
    const schedule = { cron: EVERY_SECOND, overlap: false, input: { takesMs: 1_500 } };
    const slow = { timeout: 1, retries: { attempts: 2, minDelay: 3_600, maxDelay: 3_600 } };
    await platform.deploy('nightly', { schedule, ...slow });
    const waiting = async (): Promise<AnyInvocation | undefined> =>
      (await runs('nightly')).find(({ state, attempts }) => state === 'queued' && attempts?.length === 1);
    await expect.poll(waiting, { timeout: 10_000 }).toBeDefined();
    const { id, scheduledFor } = (await waiting()) ?? {};
    await act();
    // The hour passes.
    await withRedis(platform.redis.url, async (redis) => {
      const store = new QueuedStore(redis);
      const found = await store.find(id ?? '');
      const due = JSON.stringify({ ...found?.record, dueAt: Date.now() });
      if (found?.record.state === 'queued') await redis.set(keys.invocation(found.record.id), due, 'KEEPTTL');
      const job = (await new Queues(redis).of('default').getDelayed()).find((one) => one.data.id === id);
      await job?.promote();
    });
    await expect.poll(async () => (await look(id)).state, { timeout: 10_000 }).toBe('done');
    expect((await look(id)).attempts).toHaveLength(tries);
    await platform.deploy('nightly', { schedule: { cron: EVERY_SECOND, overlap: false } });
    const later = async (): Promise<boolean> =>
      (await runs('nightly')).some(
        (one) => one.state === 'done' && (one.scheduledFor ?? 0) > (scheduledFor ?? 0),
      );
    await expect.poll(later, { timeout: 5_000 }).toBe(true);
  },
);

test('a schedule is listed with its next times, in its own time zone', async () => {
  await platform.deploy('nightly');
  const { code, stdout } = await platform.cli('schedules', 'list', '--json');
  expect(code).toBe(0);
  const { schedules } = JSON.parse(stdout) as { schedules: { next: number[]; timezone: string }[] };
  expect(schedules).toHaveLength(1);
  const hours = schedules[0]?.next.map((time) =>
    new Intl.DateTimeFormat('en', { timeZone: 'Europe/Berlin', hour: 'numeric', hourCycle: 'h23' }).format(
      time,
    ),
  );
  expect(hours).toEqual(Array(5).fill('03'));
});

test('an invalid cron expression is refused at the deploy', async () => {
  await expect(platform.deploy('nightly', { schedule: { cron: '0 99 * * *' } })).rejects.toThrow(
    /bad_manifest/,
  );
});
