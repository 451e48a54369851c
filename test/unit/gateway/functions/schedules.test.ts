/** Accepted and refused schedules, and the view of a schedule that an earlier version accepted and this one refuses. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ScheduleView } from '#contract/api/api.ts';
import { Schedule } from '#contract/functions/manifest.ts';
import { Queues } from '#storage/queued/jobs.ts';
import { connectRedis } from '#storage/redis/redis.ts';
import { Schedules } from '../../../../gateway/functions/schedules.ts';
import { PrivateRedis, send, startGateway, type TestGateway } from '../../../support/gateway/fixture.ts';

const NEVER = { cron: '0 0 31 2,4 *' };

let redis: PrivateRedis;
let gateway: TestGateway;
let schedules: Schedules;
let disconnect: () => void;
beforeAll(async () => {
  redis = await PrivateRedis.start();
  gateway = await startGateway(redis);
  const connection = connectRedis(redis.url, 'commands', { info: ignore, warn: ignore, error: ignore });
  schedules = new Schedules(new Queues(connection));
  disconnect = () => connection.disconnect();
});
afterAll(async () => {
  disconnect();
  await gateway.close();
  await redis.stop();
});

function ignore(): void {}

function check(cron: string): void {
  schedules.check(Schedule.parse({ cron }));
}

describe('a schedule', () => {
  test.each([
    '0 9 * * 1-5',
    '0 0 29 2 *',
    '0 0 L 2 *',
    '0 0 31 2,4 1',
    '0 0 31 * *',
    '0 0 * * THU',
    '0 0 * MAR *',
  ])('a schedule of %s is accepted', (cron) => {
    expect(() => check(cron)).not.toThrow();
  });

  test.each([
    ['0 99 * * *', 'Constraint error'],
    ['0 0 31 2,4 *', 'never'],
    ['0 0 31 4,6,9,11 ?', 'never'],
    ['0 0 30 2 *', 'Invalid explicit day of month'],
    ['H H * * *', 'by chance'],
    ['H(0-29) 3 * * *', 'by chance'],
    ['*/H 3 * * *', 'cannot be used'],
  ])('a schedule of %s is refused, with the reason', (cron, why) => {
    expect(() => check(cron)).toThrow(expect.objectContaining({ code: 'bad_manifest' }));
    expect(() => check(cron)).toThrow(why);
  });

  test('a schedule that never comes does not hide the others', async () => {
    await gateway.add('never', { schedule: NEVER });
    await gateway.add('chance', { schedule: { cron: 'H H * * *' } });
    await gateway.add('often', { schedule: { cron: '* * * * *' } });
    const response = await send(gateway, '/api/v1/schedules/default', {
      headers: { authorization: `Bearer ${gateway.key}` },
    });
    expect(response.status).toBe(200);
    const { schedules: shown } = response.json() as { schedules: ScheduleView[] };
    const times = Object.fromEntries(shown.map(({ name, next }) => [name, next.length]));
    expect(times).toEqual({ never: 0, chance: 0, often: 5 });
  });

  test('a schedule that takes long to compute is computed once', () => {
    const rare = Schedule.parse({ cron: '0 0 * 2 1#5' });
    const look = (): number => {
      const before = performance.now();
      schedules.view('default', 'rare', rare);
      return performance.now() - before;
    };
    const first = look();
    const later = Array.from({ length: 20 }, look);
    expect(later.reduce((sum, ms) => sum + ms)).toBeLessThan(first);
    // It is computed again when its first time has passed.
    const [next = 0] = schedules.view('default', 'rare', rare).next;
    expect(schedules.view('default', 'rare', rare, new Date(next)).next[0]).toBeGreaterThan(next);
  });
});
