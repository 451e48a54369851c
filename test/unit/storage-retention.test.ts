import type { Redis } from 'ioredis';
import pino from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { keys } from '#contract/keys.ts';
import { connectRedis } from '#storage/redis.ts';
import { Retention } from '#storage/retention.ts';
import { PrivateRedis } from '../support/private-redis.ts';

let server: PrivateRedis;
let redis: Redis;
beforeAll(async () => {
  server = await PrivateRedis.start();
  redis = connectRedis(server.url, 'background', pino({ level: 'silent' }));
  await new Promise((resolve) => redis.once('ready', resolve));
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

it.each([
  ['one Redis', false],
  ['a Cluster', true],
])('removes what is past the newest, with all that belongs to it: %s', async (_, isCluster) => {
  const list = keys.endedJobs('default', `fn-${isCluster}`);
  const ids = Array.from({ length: 30 }, (_none, at) => `${isCluster}-${at}`);
  for (const id of ids)
    for (const key of [
      keys.invocation(id),
      keys.input(id),
      keys.result(id),
      keys.logs(id),
      keys.lateSpans(id),
    ])
      await redis.set(key, 'x');
  const retention = new Retention(
    new Proxy(redis, {
      get: (target, name) =>
        name === 'isCluster' ? isCluster : (Reflect.get(target, name, target) as unknown),
    }),
    10,
  );
  await retention.ended(list, ids.slice(0, 10));
  expect(await redis.exists(keys.invocation(ids[0] ?? ''))).toBe(1);
  await retention.ended(list, ids.slice(10));
  const left = await Promise.all(
    ids.map((id) => redis.exists(keys.invocation(id)).then((one) => (one === 1 ? id : undefined))),
  );
  expect(left.filter(Boolean)).toEqual(ids.slice(20));
  for (const of of [keys.input, keys.result, keys.logs, keys.lateSpans]) {
    expect(await redis.exists(of(ids[19] ?? ''))).toBe(0);
    expect(await redis.exists(of(ids[20] ?? ''))).toBe(1);
  }
});
