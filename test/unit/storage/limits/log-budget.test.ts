/** However much a function prints, Redis keeps a bounded number of bytes, and the newest. */
import type { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import type { LogLine } from '#contract/invocations/invocation.ts';
import { KEY_PREFIX, keys, RECORD_TTL_S } from '#contract/platform/keys.ts';
import { LOG_STREAM_BYTES } from '#contract/functions/limits.ts';
import { LogBudget } from '#storage/limits/log-budget.ts';
import { InvocationLog } from '../../../../worker/run/invocation-log.ts';
import { redisForTests } from '../../../support/redis/redis-for-tests.ts';
import { QUIET } from '../../../support/gateway/fixture.ts';

const MB = 1024 * 1024;
const stream = keys.logStream('shop', 'orders');
let redis: Redis;
redisForTests((ready) => void (redis = ready), { role: 'background', flush: true });

/** An invocation prints `lines` lines of `bytes` bytes, at once. */
async function print(budget: LogBudget, id: string, lines: number, bytes: number): Promise<void> {
  const log = new InvocationLog(
    redis,
    { id, namespace: 'shop', name: 'orders', traceparent: '' },
    { budget },
  );
  log.maxBytes = MB;
  for (let at = 0; at < lines; at++) log.add({ time: at, level: 'log', text: `${at} `.padEnd(bytes, '.') });
  log.flush(true);
  // Sent on the same connection, so Redis has the log by then.
  await redis.ping();
}

const memoryOf = async (key: string): Promise<number> =>
  (await redis.memory('USAGE', key, 'SAMPLES', 0)) ?? 0;

/** Memory that the logs of all invocations take. */
async function memoryOfLogs(): Promise<number> {
  const found = await redis.keys(keys.logs('*'));
  return (await Promise.all(found.map(memoryOf))).reduce((total, one) => total + one, 0);
}

test.each([
  ['long lines', 100, 10, 10_000],
  ['single lines', 8_000, 1, 20],
  ['many short lines', 60, 2_000, 1],
])(
  'of invocations that print %s, the logs of the newest are whole [OB30]',
  async (_what, invocations, lines, bytes) => {
    const budget = new LogBudget(redis, MB, QUIET);
    for (let at = 0; at < invocations; at++) await print(budget, `n${at}`, lines, bytes);
    await budget.close();
    const memory = await memoryOfLogs();
    expect(memory).toBeLessThan(1.25 * MB);
    expect(memory).toBeGreaterThan(0.5 * MB);
    expect(await redis.exists(keys.logs('n0'))).toBe(0);
    expect(await redis.llen(keys.logs(`n${invocations - 1}`))).toBe(lines);
    for (const key of [keys.keptLogs('shop', 'orders'), keys.keptLogBytes('shop', 'orders')]) {
      expect(await redis.ttl(key)).toBeGreaterThan(RECORD_TTL_S - 60);
    }
  },
);

test('an invocation that goes on printing loses its oldest lines, while it runs', async () => {
  const budget = new LogBudget(redis, MB, QUIET);
  for (let round = 0; round < 40; round++) await print(budget, 'endless', 10, 10_000);
  await budget.close();
  const lines = (await redis.lrange(keys.logs('endless'), 0, -1)).map((line) => JSON.parse(line) as LogLine);
  expect(lines.length).toBeGreaterThan(50);
  expect(lines.length).toBeLessThan(105);
  // The newest lines, with no gap between them.
  const wanted = Array.from({ length: lines.length }, (_, at) => (400 - lines.length + at) % 10);
  expect(lines.map(({ time }) => time)).toEqual(wanted);
});

test('each function has its own log budget, which all workers share', async () => {
  const workers = [new LogBudget(redis, MB, QUIET), new LogBudget(redis, MB, QUIET)];
  const other = { namespace: 'shop', name: 'carts', id: 'other' };
  await redis.rpush(keys.logs('other'), 'kept');
  workers[0]?.add(other, 1, 100);
  for (let at = 0; at < 60; at++) {
    for (const [worker, budget] of workers.entries()) await print(budget, `w${worker}-${at}`, 2, 10_000);
  }
  for (const budget of workers) await budget.close();
  expect(await memoryOfLogs()).toBeLessThan(1.25 * MB);
  for (const id of ['other', 'w0-59', 'w1-59']) expect(await redis.exists(keys.logs(id))).toBe(1);
});

test('the stream of a function has a budget of its own, whatever the size of its entries', async () => {
  const budget = new LogBudget(redis, 64 * MB, QUIET);
  // Small entries first: their large number must not hide the size of the later ones.
  for (let at = 0; at < 1_900; at++) await print(budget, `small${at}`, 1, 10);
  for (let at = 0; at < 20; at++) await print(budget, `large${at}`, 65, 16_000);
  await budget.close();
  const memory = await memoryOf(stream);
  expect(memory).toBeLessThanOrEqual(LOG_STREAM_BYTES);
  expect(memory).toBeGreaterThan(LOG_STREAM_BYTES / 2);
  expect((await redis.xrevrange(stream, '+', '-', 'COUNT', 1))[0]?.[1][1]).toBe('large19');
  expect(await redis.llen(keys.logs('large0'))).toBe(65);
});

test('the log budget needs no command of its own for each call', async () => {
  const budget = new LogBudget(redis, MB, QUIET);
  await redis.config('RESETSTAT');
  for (let at = 0; at < 2_000; at++) budget.add({ namespace: 'shop', name: 'orders', id: `n${at}` }, 1, 100);
  await budget.close();
  const stats = await redis.info('commandstats');
  const calls = (command: string): number =>
    Number(new RegExp(`^cmdstat_${command}:calls=(\\d+)`, 'm').exec(stats)?.[1] ?? 0);
  expect(calls('evalsha') + calls('eval')).toBeLessThanOrEqual(3);
  expect(calls('ltrim')).toBe(0);
  expect(await redis.llen(keys.keptLogs('shop', 'orders'))).toBe(2_000);
  expect(await redis.keys(`${KEY_PREFIX}*`)).toHaveLength(2);
});
