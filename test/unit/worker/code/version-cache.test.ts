/** A worker's cache of versions, which drops those of removed functions. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { keys } from '#contract/platform/keys.ts';
import { VersionSettings } from '#contract/functions/settings.ts';
import { FunctionRepository } from '#storage/functions/function-repository.ts';
import { connectRedis } from '#storage/redis/redis.ts';
import { VersionCache } from '../../../../worker/code/version-cache.ts';
import { PrivateRedis, QUIET, waitFor } from '../../../support/gateway/fixture.ts';

const VERSION = JSON.stringify({
  version: 1,
  digest: '0'.repeat(64),
  settings: VersionSettings.parse({}),
  entryFile: 'index.mjs',
  createdAt: 0,
  archiveBytes: 1,
});

let server: PrivateRedis;
let redis: ReturnType<typeof connectRedis>;
beforeAll(async () => {
  server = await PrivateRedis.start();
  redis = connectRedis(server.url, 'commands', QUIET);
  await waitFor(async () => (await redis.ping()) === 'PONG');
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

async function store(name: string): Promise<void> {
  await redis.hset(keys.versions('default', name), '1', VERSION);
}

test('a cached version is used without Redis until its function is removed', async () => {
  for (const name of ['fn', 'fn-2']) await store(name);
  const versions = new VersionCache(new FunctionRepository(redis));
  const read = (name: string): Promise<string | undefined> =>
    versions.get('default', name, 1).then((found) => found?.key);
  expect([await read('fn'), await read('fn-2')]).toEqual(['default/fn@1', 'default/fn-2@1']);
  await redis.del(keys.versions('default', 'fn'), keys.versions('default', 'fn-2'));
  expect(await read('fn')).toBe('default/fn@1');
  versions.forget('default/fn');
  expect([await read('fn'), await read('fn-2')]).toEqual([undefined, 'default/fn-2@1']);
});

test('a version that is read while its function is removed is not cached', async () => {
  await store('fleeting');
  const versions = new VersionCache(new FunctionRepository(redis));
  const reading = versions.get('default', 'fleeting', 1);
  versions.forget('default/fleeting');
  expect((await reading)?.key).toBe('default/fleeting@1');
  await redis.del(keys.versions('default', 'fleeting'));
  expect(await versions.get('default', 'fleeting', 1)).toBeUndefined();
});
