/** Lanes over a real Redis: order, batching, waking, stopping without loss, and surviving an outage. */
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { LaneReader, LaneWriter } from '#storage/lane/lane.ts';
import { connectRedis, keepsEverything, parseRedisUrl, redisError } from '#storage/redis/redis.ts';
import { Stopwatch } from '../../../support/platform/stopwatch.ts';
import { PrivateRedis, QUIET } from '../../../support/gateway/fixture.ts';

let server: PrivateRedis;
const open: Redis[] = [];
const readers: LaneReader[] = [];

beforeAll(async () => {
  server = await PrivateRedis.start(['--appendonly', 'yes']);
});
afterEach(async () => {
  await Promise.all(readers.splice(0).map((reader) => reader.stop()));
  for (const redis of open.splice(0)) redis.disconnect();
});
afterAll(() => server.stop());

async function connect(role: 'commands' | 'lane' | 'blocking'): Promise<Redis> {
  const redis = connectRedis(server.url, role, QUIET);
  open.push(redis);
  await vi.waitFor(() => expect(redis.status).toBe('ready'));
  return redis;
}

async function startReader(keys: () => string[], count: () => number, got: string[]): Promise<LaneReader> {
  const made = new LaneReader({
    blocking: await connect('blocking'),
    commands: await connect('commands'),
    keys,
    count,
    onFrames: (_list, frames) => got.push(...frames.map(String)),
    log: QUIET,
  });
  readers.push(made);
  made.start();
  return made;
}

test('frames arrive in order, and those of one tick with one command', async () => {
  const commands = await connect('commands');
  const writer = new LaneWriter(await connect('lane'));
  await commands.config('RESETSTAT');
  const wanted = Array.from({ length: 500 }, (_, index) => `frame ${index}`);
  await Promise.all(wanted.map((text) => writer.push('order', Buffer.from(text))));
  expect(await commands.info('commandstats')).toMatch(/cmdstat_rpush:calls=1,/);
  const got: string[] = [];
  await startReader(
    () => ['order'],
    () => 64,
    got,
  );
  await vi.waitFor(() => expect(got).toEqual(wanted));
});

test('a burst of large frames is cut into several pushes and stays in order', async () => {
  const writer = new LaneWriter(await connect('lane'));
  const frames = Array.from({ length: 7 }, (_, index) => Buffer.alloc(3 * 1024 * 1024, String(index)));
  await Promise.all(frames.map((frame) => writer.push('large', frame)));
  const got: string[] = [];
  await startReader(
    () => ['large'],
    () => 2,
    got,
  );
  await vi.waitFor(() => expect(got.map((text) => text[0]).join('')).toBe('0123456'), 5_000);
});

test('wake() ends a wait at once, for old keys or for a lack of capacity', async () => {
  const writer = new LaneWriter(await connect('lane'));
  const got: string[] = [];
  let keys = ['first'];
  let count = 1;
  const woken = await startReader(
    () => keys,
    () => count,
    got,
  );
  await new Promise((resolve) => setTimeout(resolve, 50));
  keys = ['second'];
  woken.wake();
  let before = performance.now();
  await writer.push('second', Buffer.from('a'));
  await vi.waitFor(() => expect(got).toEqual(['a']));
  expect(performance.now() - before).toBeLessThan(500);

  count = 0;
  woken.wake();
  await new Promise((resolve) => setTimeout(resolve, 50));
  await writer.push('second', Buffer.from('b'));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(got).toEqual(['a']);
  count = 5;
  before = performance.now();
  woken.wake();
  await vi.waitFor(() => expect(got).toEqual(['a', 'b']));
  expect(performance.now() - before).toBeLessThan(500);
});

test('constant waking loses nothing', async () => {
  const writer = new LaneWriter(await connect('lane'));
  const got: string[] = [];
  const woken = await startReader(
    () => ['woken'],
    () => 3,
    got,
  );
  const wanted: string[] = [];
  for (let index = 0; index < 300; index++) {
    wanted.push(String(index));
    void writer.push('woken', Buffer.from(String(index)));
    woken.wake();
    if (index % 5 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await vi.waitFor(() => expect(got).toEqual(wanted), 5_000);
});

test('stop() is quick and loses nothing', async () => {
  const writer = new LaneWriter(await connect('lane'));
  const got: string[] = [];
  const stopped = await startReader(
    () => ['stopped'],
    () => 1,
    got,
  );
  const wanted = Array.from({ length: 50 }, (_, index) => String(index));
  await Promise.all(wanted.map((text) => writer.push('stopped', Buffer.from(text))));
  await vi.waitFor(() => expect(got.length).toBeGreaterThan(3));
  const before = Stopwatch.start();
  await stopped.stop();
  expect(before.stop()).toBeLessThan(500);
  const left = await (await connect('commands')).lrange('stopped', 0, -1);
  expect([...got, ...left]).toEqual(wanted);
});

test('a handler that throws does not end the reading', async () => {
  const writer = new LaneWriter(await connect('lane'));
  const got: string[] = [];
  const made = new LaneReader({
    blocking: await connect('blocking'),
    commands: await connect('commands'),
    keys: () => ['throws'],
    count: () => 1,
    onFrames: (_list, [frame]) => {
      if (String(frame) === 'bad') throw new Error('cannot handle this');
      got.push(String(frame));
    },
    log: QUIET,
  });
  readers.push(made);
  made.start();
  await Promise.all(['bad', 'good'].map((text) => writer.push('throws', Buffer.from(text))));
  await vi.waitFor(() => expect(got).toEqual(['good']));
});

test('in an outage of Redis pushes fail at once, and afterwards reading goes on by itself', async () => {
  const writer = new LaneWriter(await connect('lane'));
  const commands = await connect('commands');
  const got: string[] = [];
  await startReader(
    () => ['outage'],
    () => 10,
    got,
  );
  await writer.push('outage', Buffer.from('before'));
  await vi.waitFor(() => expect(got).toEqual(['before']));

  await server.kill();
  await new Promise((resolve) => setTimeout(resolve, 100));
  const before = performance.now();
  await expect(writer.push('outage', Buffer.from('lost'))).rejects.toThrow();
  await expect(commands.get('x')).rejects.toThrow();
  expect(performance.now() - before).toBeLessThan(200);
  expect(redisError(await commands.get('x').catch((error: unknown) => error))).toMatchObject({
    code: 'redis_unavailable',
  });

  await server.resume();
  await vi.waitFor(() => writer.push('outage', Buffer.from('after')), 5_000);
  await vi.waitFor(() => expect(got).toEqual(['before', 'after']), 5_000);
});

test('a lane waits for a Redis that does not run yet', async () => {
  await server.kill();
  const errors: string[] = [];
  const log = { ...QUIET, error: (_facts: object, message: string) => errors.push(message) };
  const redis = connectRedis(server.url, 'commands', log);
  open.push(redis);
  await vi.waitFor(() => expect(errors).toEqual([expect.stringMatching(/cannot be reached/)]));
  await expect(redis.get('x')).rejects.toThrow();
  await server.resume();
  await vi.waitFor(() => redis.get('x'), 5_000);
  expect(errors).toHaveLength(1);
});

test('the eviction policy is checked', async () => {
  const commands = await connect('commands');
  expect(await keepsEverything(commands)).toBe(true);
  await commands.config('SET', 'maxmemory-policy', 'allkeys-lru');
  expect(await keepsEverything(commands)).toBe(false);
  await commands.config('SET', 'maxmemory-policy', 'noeviction');
});

test('a Redis without memory counts as unavailable, a wrong command as our own fault', async () => {
  const commands = await connect('commands');
  await commands.config('SET', 'maxmemory', '1');
  const refused: unknown = await commands.set('x', '1').catch((error: unknown) => error);
  await commands.config('SET', 'maxmemory', '0');
  expect(redisError(refused)).toMatchObject({
    code: 'redis_unavailable',
    message: expect.stringMatching(/OOM/),
  });
  await commands.set('text', 'a');
  expect(redisError(await commands.lpush('text', '1').catch((error: unknown) => error))).toMatchObject({
    code: 'internal',
  });
});

test('Redis addresses are parsed', () => {
  expect(parseRedisUrl('unix:///run/a%20b/redis.sock')).toMatchObject({ path: '/run/a b/redis.sock', db: 0 });
  expect(parseRedisUrl('redis://:p%40ss@[::1]:7000/3')).toMatchObject({
    host: '::1',
    port: 7000,
    db: 3,
    password: 'p@ss',
  });
  expect(parseRedisUrl('rediss://user:pw@redis.example')).toMatchObject({
    tls: {},
    port: 6379,
    username: 'user',
  });
  expect(() => parseRedisUrl('http://user:secret@x')).toThrow(/^(?!.*secret).*not the address of a Redis/);
});
