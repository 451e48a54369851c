/** The part of an invocation's output that is kept, and the report about the rest. */
import type { Redis } from 'ioredis';
import { expect, test, vi } from 'vitest';
import { LOG_HAS_SPAN } from '#contract/wire/channel.ts';
import type { LogLevel, LogLine } from '#contract/invocations/invocation.ts';
import { keys, LOG_STREAM_LENGTH, RECORD_TTL_S } from '#contract/platform/keys.ts';
import { LOG_ENTRY_BYTES, MAX_LOG_LINE_BYTES } from '#contract/functions/limits.ts';
import { connectRedis } from '#storage/redis/redis.ts';
import { InvocationLog, readLogFrame, type LogTarget } from '../../../../worker/run/invocation-log.ts';
import { LogAllowance } from '../../../../worker/run/log-allowance.ts';
import { redisForTests } from '../../../support/redis/redis-for-tests.ts';
import { QUIET } from '../../../support/gateway/fixture.ts';

const target: LogTarget = { id: 'i1', namespace: 'shop', name: 'orders', traceparent: '' };
const stream = keys.logStream('shop', 'orders');
let redis: Redis;
redisForTests((ready) => void (redis = ready), { flush: true });

function print(log: InvocationLog, level: LogLevel, ...texts: string[]): void {
  for (const text of texts) log.add({ time: 1, level, text });
}

/** All lines that Redis has of it. */
async function kept(id = 'i1'): Promise<LogLine[]> {
  // Sent on the same connection, so behind the writes of the log.
  return (await redis.lrange(keys.logs(id), 0, -1)).map((line) => JSON.parse(line) as LogLine);
}
const texts = (lines: readonly LogLine[]): string[] => lines.map(({ text }) => text);

test('a text of several lines is several lines, without the carriage returns of another system', async () => {
  const log = new InvocationLog(redis, target);
  print(log, 'log', 'one\ntwo\r\n\nfour\n', '');
  log.flush(true);
  expect(texts(await kept())).toEqual(['one', 'two', '', 'four', '']);
  expect(log.dropped).toBe(0);
});

test('pieces that are written to a stream are joined to lines, each stream by itself [OB16]', async () => {
  const log = new InvocationLog(redis, target);
  print(log, 'stdout', 'a', 'b');
  print(log, 'stderr', 'x');
  print(log, 'log', 'between');
  print(log, 'stdout', 'c\nd', 'e\n', '');
  log.flush(true);
  expect((await kept()).map(({ level, text }) => `${level} ${text}`)).toEqual([
    'log between',
    'stdout abc',
    'stdout de',
    'stderr x',
  ]);
});

test('an unfinished line is shown after a while, not only at the end', async () => {
  const log = new InvocationLog(redis, target);
  print(log, 'stdout', 'Your name? ');
  await vi.waitFor(async () => expect(texts(await kept())).toEqual(['Your name? ']), { timeout: 5_000 });
});

test('a line that is too long is cut between characters, and says so itself', async () => {
  const log = new InvocationLog(redis, target);
  print(log, 'log', 'é'.repeat(20_000), 'after');
  log.flush(true);
  const [cut = '', after, said] = texts(await kept());
  expect(Buffer.byteLength(cut)).toBeLessThanOrEqual(MAX_LOG_LINE_BYTES);
  expect(Buffer.byteLength(cut)).toBeGreaterThan(MAX_LOG_LINE_BYTES - 100);
  expect(cut).toMatch(/^é+ … \(\d+ bytes cut\)$/);
  expect(after).toBe('after');
  expect(said).toMatch(new RegExp(`^${log.dropped} bytes of output were cut: an invocation keeps`));
  expect(log.bytes + log.dropped).toBe(40_000 + 'after'.length);
});

test('a log over its limit ends with the number of bytes and lines that were cut, and again when more is cut later [OB14]', async () => {
  const log = new InvocationLog(redis, target);
  log.maxBytes = 1_000;
  print(log, 'log', ...Array.from({ length: 25 }, (_, at) => `${at}`.padEnd(100, '.')));
  // Output that comes when nothing is kept is not even read: a frame, and output of native code.
  log.discard(Buffer.from('frame'), true);
  log.discard(Buffer.from('a\nb\n'), false);
  log.flush(true);
  let lines = await kept();
  expect(lines).toHaveLength(11);
  expect(lines.at(-1)).toMatchObject({
    level: 'platform',
    text: '1509 bytes of output were cut, 18 lines of them whole: an invocation keeps 1000 bytes ("logSize") and 32 lines, a line 16384 bytes',
  });
  expect(log.droppedLines).toBe(18);
  print(log, 'log', 'more');
  log.flush(true);
  log.flush(true);
  lines = await kept();
  expect(lines).toHaveLength(12);
  expect(lines.at(-1)?.text).toMatch(/^1513 bytes of output were cut, 19 lines/);
});

test('the ends of lines count too, so empty lines cannot fill Redis', async () => {
  const log = new InvocationLog(redis, target);
  log.maxBytes = 32_000;
  print(log, 'stdout', '\n'.repeat(100_000));
  log.flush(true);
  const lines = await kept();
  expect(lines).toHaveLength(1_001);
  expect(lines.at(-1)?.text).toMatch(/99000 lines of them whole/);
});

test('the platform’s own lines are kept when no others are any more', async () => {
  const log = new InvocationLog(redis, target);
  log.maxBytes = 10;
  print(log, 'log', 'x'.repeat(50));
  print(log, 'platform', 'the time limit is over');
  log.flush(true);
  expect(texts(await kept())).toContain('the time limit is over');
});

test('items that run one by one share the limit of their attempt, and each line names its item', async () => {
  const allowance = new LogAllowance();
  const logs = [7, 8].map((item) => new InvocationLog(redis, { ...target, attempt: 2, item }, { allowance }));
  for (const log of logs) {
    log.maxBytes = 150;
    print(log, 'log', 'y'.repeat(100));
    log.flush(true);
  }
  const lines = await kept();
  expect(lines.map(({ attempt, item }) => [attempt, item])).toEqual([
    [2, 7],
    [2, 8],
    [2, 8],
  ]);
  expect(lines[1]?.text).toMatch(/^y{50} … \(50 bytes cut\)$/);
});

test('lines that Redis does not take are counted', async () => {
  const away = connectRedis('unix:///nonexistent/redis.sock', 'background', QUIET);
  let lost = 0;
  const log = new InvocationLog(away, target, { onLost: (lines) => (lost += lines) });
  print(log, 'log', 'one\ntwo', 'three');
  log.flush(true);
  await vi.waitFor(() => expect(lost).toBe(3));
  away.disconnect();
});

test('the stream of a function is bounded in entries and in bytes, and both logs expire [OB15]', async () => {
  const log = new InvocationLog(redis, target);
  log.maxBytes = 100 * MAX_LOG_LINE_BYTES;
  // Printed at once, the lines would otherwise be a single entry of more than a megabyte.
  print(log, 'log', ...Array.from({ length: 90 }, () => 'z'.repeat(16_000)));
  log.flush(true);
  const entries = await redis.xrange(stream, '-', '+');
  expect(entries).toHaveLength(45);
  for (const [, fields] of entries)
    expect(fields[3]?.length).toBeLessThanOrEqual(LOG_ENTRY_BYTES + 2 * MAX_LOG_LINE_BYTES);
  expect(entries.flatMap(([, fields]) => JSON.parse(fields[3] ?? '') as LogLine[])).toEqual(await kept());
  for (let at = 0; at < LOG_STREAM_LENGTH + 500; at++) {
    const one = new InvocationLog(redis, { ...target, id: `n${at}` });
    print(one, 'log', `line ${at}`);
    one.flush(true);
  }
  // Redis removes whole nodes, of a hundred entries.
  const length = await redis.xlen(stream);
  expect(length).toBeGreaterThanOrEqual(LOG_STREAM_LENGTH);
  expect(length).toBeLessThan(LOG_STREAM_LENGTH + 200);
  for (const key of [stream, keys.logs('i1')]) {
    const ttl = await redis.ttl(key);
    expect(ttl).toBeGreaterThan(RECORD_TTL_S - 60);
    expect(ttl).toBeLessThanOrEqual(RECORD_TTL_S);
  }
});

test('whole lines have the level that they name, from streams, pipes and console [OB40]', async () => {
  const log = new InvocationLog(redis, target);
  print(log, 'stdout', '{"level":50,"msg":', '"a"}\nerror: b\r\nc\n');
  print(log, 'log', '{"severity":"WARNING"}');
  print(log, 'info', 'error: said by console.info');
  log.flush(true);
  expect((await kept()).map(({ level }) => level)).toEqual(['error', 'error', 'stdout', 'warn', 'info']);
});

test('a frame is a line of the level that it names, but never of the platform’s', () => {
  const frame = (...bytes: number[]): Buffer => Buffer.concat([Buffer.from(bytes), Buffer.from('hi')]);
  expect(readLogFrame(frame(3))).toMatchObject({ level: 'warn', text: 'hi' });
  expect(readLogFrame(frame(9))).toBeUndefined();
  expect(readLogFrame(frame(200))).toBeUndefined();
  expect(readLogFrame(Buffer.alloc(0))).toBeUndefined();
  const span = Array.from({ length: 8 }, () => 0xab);
  expect(readLogFrame(frame(4 | LOG_HAS_SPAN, ...span))).toMatchObject({
    level: 'error',
    span: 'ab'.repeat(8),
  });
  expect(readLogFrame(Buffer.from([4 | LOG_HAS_SPAN, 1]))).toBeUndefined();
});
