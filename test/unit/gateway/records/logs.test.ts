/**
 * Logs as the gateway reads them: however many lines workers have left, an answer is bounded, and says how many it
 * omits.
 */
import type { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import type { LogLine } from '#contract/invocations/invocation.ts';
import { MAX_LOG_ANSWER_BYTES } from '#contract/functions/limits.ts';
import { InvocationStore } from '../../../../gateway/records/invocations.ts';
import { InvocationLog } from '../../../../worker/run/invocation-log.ts';
import { redisForTests } from '../../../support/redis/redis-for-tests.ts';

let redis: Redis;
let store: InvocationStore;
redisForTests(
  (ready) => {
    redis = ready;
    store = new InvocationStore(redis);
  },
  { flush: true },
);

/** Each of `tries` attempts prints `lines` lines of `bytes` bytes. */
function print(tries: number, lines: number, bytes: number): void {
  for (let attempt = 1; attempt <= tries; attempt++) {
    const target = { id: 'i', namespace: 'shop', name: 'orders', traceparent: '', attempt };
    const log = new InvocationLog(redis, target);
    log.maxBytes = 1024 * 1024;
    for (let at = 0; at < lines; at++)
      log.add({ time: at, level: 'log', text: `${attempt}.${at} `.padEnd(bytes, '.') });
    log.flush(true);
  }
}
const named = (lines: readonly LogLine[]): (string | undefined)[] =>
  lines.map(({ text }) => text.split(' ')[0]);

test('a log of a few thousand lines is returned whole, in order', async () => {
  print(3, 1_234, 20);
  const wanted = [1, 2, 3].flatMap((attempt) => Array.from({ length: 1_234 }, (_, at) => `${attempt}.${at}`));
  expect(named(await store.logs('i'))).toEqual(wanted);
  const { logs, olderLines } = await store.functionLog('shop', 'orders', '0');
  expect(named(logs)).toEqual(wanted);
  expect(olderLines).toBe(0);
  expect(await store.logs('another')).toEqual([]);
});

test('a log over the limit is cut to its newest lines, with the number of the others [OB15]', async () => {
  print(30, 100, 10_000);
  const [first, ...lines] = await store.logs('i');
  const bytes = JSON.stringify(lines).length;
  expect(bytes).toBeLessThan(MAX_LOG_ANSWER_BYTES + 100_000);
  expect(bytes).toBeGreaterThan(MAX_LOG_ANSWER_BYTES - 100_000);
  expect(first).toMatchObject({
    level: 'platform',
    text: expect.stringMatching(/^\d+ older lines are left out/),
  });
  expect(lines.length + Number.parseInt(first?.text ?? '', 10)).toBe(3_000);
  expect(named(lines).at(-1)).toBe('30.99');

  const { logs, olderLines } = await store.functionLog('shop', 'orders', '0');
  expect(olderLines).toBeGreaterThan(1_000);
  expect(logs.length + olderLines).toBe(3_000);
  expect(named(logs).at(-1)).toBe('30.99');
  expect(JSON.stringify(logs).length).toBeLessThan(MAX_LOG_ANSWER_BYTES * 1.1);
});

test('a log is read in pieces, so that one reader delays no other', async () => {
  print(4, 60, 16_000);
  let read = 0;
  for (let after = '0', full = true; full;) {
    const page = await store.logPage('shop', 'orders', after);
    expect(JSON.stringify(page.lines).length).toBeLessThan(1_600_000);
    read += page.lines.length;
    ({ full, last: after } = page);
  }
  expect(read).toBe(240);
});

test('empty lines count as well', async () => {
  print(3, 30_000, 1);
  const { logs, olderLines } = await store.functionLog('shop', 'orders', '0');
  expect(logs.length).toBeLessThan(MAX_LOG_ANSWER_BYTES / 90);
  expect(logs.length + olderLines).toBe(90_000);
});
