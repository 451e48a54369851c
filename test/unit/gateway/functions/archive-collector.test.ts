/** An archive that no version names is removed after a day, and no other, even while clients upload and deploy. */
import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { keys } from '#contract/platform/keys.ts';
import { ArchiveCollector } from '../../../../gateway/functions/archive-collector.ts';
import { FunctionRepository } from '#storage/functions/function-repository.ts';
import { UnnamedArchives } from '../../../../gateway/functions/unnamed-archives.ts';
import type { PrivateRedis } from '../../../support/redis/private-redis.ts';
import { redisForTests } from '../../../support/redis/redis-for-tests.ts';
import { storeFunction } from '../../../support/platform/stored-function.ts';
import { STORE_KINDS, type TestStores } from '../../../support/platform/test-stores.ts';
import { QUIET, send, startGateway, waitFor } from '../../../support/gateway/fixture.ts';

const HOUR_MS = 3_600_000;

let server: PrivateRedis;
let redis: Redis;
let functions: FunctionRepository;
redisForTests(
  (ready, its) => {
    server = its;
    redis = ready;
    functions = new FunctionRepository(redis);
  },
  { flush: true },
);

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

async function addVersion(name: string, digest: string): Promise<number> {
  return await storeFunction(functions, { name }, { digest });
}

describe.each(STORE_KINDS)('in a store of the kind: %s', (_, open) => {
  let stores: TestStores;
  let unnamed: UnnamedArchives;
  let collector: ArchiveCollector;
  beforeEach(async () => {
    stores = await open();
    unnamed = new UnnamedArchives(redis);
    collector = new ArchiveCollector({
      commands: redis,
      functions,
      artifacts: stores.artifacts,
      unnamed,
      log: QUIET,
    });
  });
  afterEach(() => stores.close());

  async function upload(text: string): Promise<string> {
    const digest = digestOf(text);
    const bytes = (async function* () {
      yield Buffer.from(text);
    })();
    await stores.artifacts.put(digest, bytes, 1e6);
    return digest;
  }

  /** Moves the time at which archives were found without a version back by `ms`. */
  async function pass(ms: number): Promise<void> {
    for (const digest of await redis.zrange(keys.unnamedArchives(), 0, '-1'))
      await redis.zincrby(keys.unnamedArchives(), -ms, digest);
  }

  test('an archive is removed a day after it was found without a version, unless a version names it by then [AR7]', async () => {
    const [stray, late] = [await upload('stray'), await upload('late')];
    expect(await collector.look()).toEqual([]);
    await pass(23 * HOUR_MS);
    expect(await collector.look()).toEqual([]);
    await addVersion('late', late);
    await pass(2 * HOUR_MS);
    expect(await collector.look()).toEqual([stray]);
    expect(await stores.artifacts.has(stray)).toBe(false);
    expect(await stores.artifacts.has(late)).toBe(true);
    // Uploaded again, it has another day.
    await upload('stray');
    expect(await collector.look()).toEqual([]);
  });

  test('archives of kept versions stay, active or not; an archive that only a removed function named goes', async () => {
    const [old, active, shared] = [await upload('old'), await upload('active'), await upload('shared')];
    await addVersion('kept', old);
    await addVersion('kept', active);
    await addVersion('kept', shared);
    await addVersion('removed', shared);
    const own = await upload('own');
    await addVersion('removed', own);
    await addVersion('trimmed', await upload('first'));
    await addVersion('trimmed', await upload('second'));
    await functions.trimVersions('default', 'trimmed', 1);
    await functions.remove('default', 'removed');
    await collector.look();
    await pass(25 * HOUR_MS);
    expect((await collector.look()).toSorted()).toEqual([own, digestOf('first')].toSorted());
    for (const digest of [old, active, shared, digestOf('second')])
      expect(await stores.artifacts.has(digest)).toBe(true);
  });

  test('an archive that loses its last version has a day from then on, however old it is', async () => {
    const digest = await upload('rolled back to in time');
    await addVersion('fn', digest);
    await collector.look();
    await pass(100 * HOUR_MS);
    await functions.remove('default', 'fn');
    expect(await collector.look()).toEqual([]);
    await pass(25 * HOUR_MS);
    expect(await collector.look()).toEqual([digest]);
  });

  test('an archive that is claimed in the middle of a round is kept', async () => {
    const digest = await upload('claimed');
    await collector.look();
    await pass(25 * HOUR_MS);
    const claiming = new UnnamedArchives(redis);
    const late = new ArchiveCollector({
      commands: redis,
      functions,
      artifacts: stores.artifacts,
      // This collector has read the names already, and is about to take the archive.
      unnamed: new (class extends UnnamedArchives {
        override async take(...args: [string, number]): Promise<boolean> {
          expect(await claiming.claim(digest)).toBe(true);
          return await super.take(...args);
        }
      })(redis),
      log: QUIET,
    });
    expect(await late.look()).toEqual([]);
    expect(await stores.artifacts.has(digest)).toBe(true);
  });

  test('a claim during the removal of an archive is answered that it does not exist', async () => {
    const digest = await upload('taken');
    await collector.look();
    expect(await unnamed.take(digest, Date.now() + HOUR_MS)).toBe(true);
    expect(await unnamed.claim(digest)).toBe(false);
    // The other gateway has the same list.
    expect(await unnamed.take(digest, Date.now() + HOUR_MS)).toBe(false);
    expect(await redis.pttl(keys.archiveRemoval(digest))).toBeGreaterThan(60_000);
    await unnamed.removed(digest);
    expect(await unnamed.claim(digest)).toBe(true);
  });

  test('a version that cannot be read ends the round before anything is removed', async () => {
    const digest = await upload('needed, perhaps');
    await addVersion('fn', digest);
    await functions.remove('default', 'fn');
    await collector.look();
    await pass(25 * HOUR_MS);
    const other = await addVersion('other', digestOf('x'));
    await redis.hset(keys.versions('default', 'other'), String(other), '{"digest":1}');
    await expect(collector.look()).rejects.toThrow();
    expect(await stores.artifacts.has(digest)).toBe(true);
  });
});

test('one of several gateways collects by itself; uploads and questions claim an archive, and so does a deploy', async () => {
  const gateway = await startGateway(server);
  const headers = { 'x-api-key': gateway.key };
  await waitFor(async () => (await redis.exists(keys.archiveCollector())) === 1);
  const text = 'not a sound archive, which the store need not know';
  const digest = digestOf(text);
  const path = `/api/v1/artifacts/${digest}`;
  const since = async (): Promise<string | null> => await redis.zscore(keys.unnamedArchives(), digest);
  const upload = (): Promise<{ status: number }> =>
    send(gateway, path, { method: 'PUT', headers, body: Buffer.from(text) });
  expect((await upload()).status).toBe(201);
  const steps: [string, () => Promise<{ status: number }>, number][] = [
    ['PUT', upload, 200],
    ['HEAD', () => send(gateway, path, { method: 'HEAD', headers }), 200],
    [
      'deploy',
      () =>
        send(gateway, '/api/v1/functions/default/fn/versions', {
          method: 'POST',
          headers: { ...headers, 'content-type': 'application/json' },
          body: JSON.stringify({ digest, manifest: { name: 'fn' }, entryFile: 'index.mjs' }),
        }),
      400,
    ],
  ];
  for (const [what, step, status] of steps) {
    await redis.zadd(keys.unnamedArchives(), 1, digest);
    expect((await step()).status, what).toBe(status);
    expect(await since(), what).toBeNull();
  }
  await redis.set(keys.archiveRemoval(digest), '1');
  expect(await Promise.all(steps.map(async ([, step]) => (await step()).status))).toEqual([409, 404, 404]);
  await gateway.close();
});
