/** Functions in Redis: settings apart from versions, versions that something refers to, and records of an older form. */
import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Redis } from 'ioredis';
import { describe, expect, test } from 'vitest';
import { Manifest } from '#contract/functions/manifest.ts';
import { FunctionRecord, VersionRecord } from '#contract/functions/records.ts';
import { FunctionSettings, partsOf, VersionSettings } from '#contract/functions/settings.ts';
import { keys, RECORD_TTL_S } from '#contract/platform/keys.ts';
import { BatchStore } from '#storage/queued/batches.ts';
import { FunctionRepository } from '#storage/functions/function-repository.ts';
import { QueuedStore } from '#storage/queued/records.ts';
import { DEAD, endedRecord, oneTryUntil, openRecord } from '../../../support/platform/records.ts';
import { storeFunction } from '../../../support/platform/stored-function.ts';
import { redisForTests } from '../../../support/redis/redis-for-tests.ts';

const MOST = 3;
const checkout = fileURLToPath(new URL('../../../..', import.meta.url));

let redis: Redis;
let functions: FunctionRepository;
redisForTests(
  (ready) => {
    redis = ready;
    functions = new FunctionRepository(redis);
  },
  { flush: true },
);

/** Stores versions of `fn` until this one, each as its own deploy does. */
async function deployUntil(last: number, underWayMs = 0): Promise<void> {
  for (let version = 0; version < last;) {
    version = await storeFunction(functions, { name: 'fn' }, { underWayMs });
    await functions.trimVersions('default', 'fn', MOST);
  }
}

async function versions(): Promise<number[]> {
  return (await functions.versions('default', 'fn')).map(({ version }) => version);
}

/** Lets the times of all kept versions go by. */
async function pass(ms: number): Promise<void> {
  for (const version of await redis.zrange(keys.keptVersions('default', 'fn'), 0, '-1'))
    await redis.zincrby(keys.keptVersions('default', 'fn'), -ms, version);
}

describe('settings', () => {
  const schedule = { cron: '0 9 * * *', input: { none: [], small: 1e-7 } };

  test('the record of a function has its settings once, as the latest deploy wrote them; versions have none of them [DE4]', async () => {
    await storeFunction(functions, { name: 'fn', access: 'key', queueTime: 60, memory: 64 });
    await storeFunction(functions, { name: 'fn', access: 'public', schedule, memory: 256 });
    const stored = await redis.hgetall(keys.functions('default'));
    expect(Object.keys(stored)).toEqual(['fn']);
    const { settings } = FunctionRecord.parse(JSON.parse(stored['fn'] ?? ''));
    expect(settings).toMatchObject({ access: 'public', queueTime: 6 * 3600, schedule });
    for (const text of await redis.hvals(keys.versions('default', 'fn'))) {
      const version = JSON.parse(text) as { settings: object };
      expect(Object.keys(version.settings).toSorted()).toEqual(
        Object.keys(VersionRecord.parse(version).settings).toSorted(),
      );
      for (const name of Object.keys(FunctionSettings.shape))
        expect(version.settings).not.toHaveProperty(name);
    }
  });

  test('going back to a version leaves the settings of the function as they are, to the last byte [DE4]', async () => {
    await storeFunction(functions, { name: 'fn', access: 'public', memory: 64 });
    await storeFunction(functions, { name: 'fn', access: 'key', schedule, memory: 256 });
    const before = await functions.record('default', 'fn');
    expect(await functions.activate('default', 'fn', 1, 0)).toBe('done');
    const found = await functions.find('default', 'fn');
    expect(found?.record.settings).toEqual(before?.settings);
    expect(found?.record.settings.schedule?.input).toEqual(schedule.input);
    expect([found?.record.activeVersion, found?.active.settings.memory]).toEqual([1, 64]);
    expect(await functions.activate('default', 'fn', 9, 0)).toBe('absent');
    expect(await functions.activate('default', 'nothing', 1, 0)).toBe('absent');
  });

  test('of two deploys the newer one gives version and settings, in whatever order they load [DE4]', async () => {
    const { ofFunction, ofVersion } = partsOf(Manifest.parse({ name: 'fn', queueTime: 10 }));
    const facts = {
      digest: '0'.repeat(64),
      settings: ofVersion,
      entryFile: 'x',
      createdAt: 0,
      archiveBytes: 1,
    };
    const older = await functions.addVersion('default', 'fn', facts);
    const newer = await functions.addVersion('default', 'fn', facts);
    const end = (version: number, queueTime: number): Promise<string> =>
      functions.deployed('default', 'fn', version, { ...ofFunction, queueTime }, 0);
    const results = await Promise.all([
      ...Array.from({ length: 5 }, () => end(newer.version, 20)),
      ...Array.from({ length: 5 }, () => end(older.version, 10)),
    ]);
    expect(results.slice(0, 5)).toEqual(Array(5).fill('done'));
    expect(await end(older.version, 10)).toBe('newer');
    expect(await functions.record('default', 'fn')).toMatchObject({
      activeVersion: newer.version,
      settings: { queueTime: 20 },
    });
  });

  test('each setting of offshoot.json belongs to the function or to a version, as docs/decisions/functions.md says [DE4]', () => {
    const table = readFileSync(`${checkout}/docs/decisions/functions.md`, 'utf8');
    const rows = [...table.matchAll(/^\| `(\w+)` \| (function|version) \| \S/gm)];
    const decided = (owner: string): string[] =>
      rows.flatMap(([, name = '', of]) => (of === owner ? [name] : [])).toSorted();
    expect(decided('function')).toEqual(Object.keys(FunctionSettings.shape).toSorted());
    expect(decided('version')).toEqual(Object.keys(VersionSettings.shape).toSorted());
    const all = rows.map(([, name = '']) => name).toSorted();
    expect(all).toEqual(
      Object.keys(Manifest.shape)
        .filter((name) => name !== '$schema' && name !== 'name')
        .toSorted(),
    );
  });
});

describe('versions that something refers to', () => {
  test('stay while more than thirty newer ones are deployed; all others go [DE5]', async () => {
    const store = new QueuedStore(redis);
    await deployUntil(6);
    // The newest three are there; each of them gets something that refers to it.
    expect(await versions()).toEqual([6, 5, 4]);
    const waiting = openRecord({ version: 4 });
    await store.create(waiting);
    await new BatchStore(redis).create({
      id: 'b1',
      namespace: 'default',
      name: 'fn',
      version: 5,
      createdAt: Date.now(),
      size: 1,
      terms: { maxAttempts: 1, minDelay: 0, maxDelay: 0, queueMs: 1_000 },
      traceId: '1'.repeat(32),
      spanId: '1'.repeat(16),
      sampled: false,
    });
    await functions.activate('default', 'fn', 6, 0);
    await deployUntil(40);
    expect(await versions()).toEqual([40, 39, 38, 5, 4]);
    // A version that comes back by hand stays as the active one, however old it is.
    await functions.activate('default', 'fn', 4, 0);
    await pass(400 * 24 * 3_600_000);
    await functions.trimVersions('default', 'fn', MOST);
    expect(await versions()).toEqual([40, 39, 38, 4]);
  });

  test.each([
    [
      'an invocation that waits for weeks',
      { terms: oneTryUntil(Date.now() + 14 * 24 * 3_600_000) },
      false,
      21,
    ],
    ['a dead letter', {}, true, 7],
  ])('%s keeps its version as long as its record', async (_, more, dies, days) => {
    const store = new QueuedStore(redis);
    await deployUntil(1);
    const open = openRecord({ version: 1, ...more });
    await store.create(open);
    if (dies) {
      // The wait of the queue is over when it dies, so what kept the version until then would not last as long.
      await redis.del(keys.keptVersions('default', 'fn'));
      const found = await store.find(open.id);
      if (found) await store.swap(found, endedRecord(open, DEAD));
    }
    await deployUntil(8);
    const score = await redis.zscore(keys.keptVersions('default', 'fn'), '1');
    const ttl = await redis.ttl(keys.invocation(open.id));
    expect(ttl).toBeGreaterThanOrEqual(Math.min(days * 24 * 3_600, RECORD_TTL_S) - 5);
    expect(Number(score)).toBeGreaterThanOrEqual(Date.now() + ttl * 1_000 - 5_000);
    await pass(days * 24 * 3_600_000 - 60_000);
    await functions.trimVersions('default', 'fn', MOST);
    expect(await versions()).toEqual([8, 7, 6, 1]);
    await pass(2 * 3_600_000);
    await functions.trimVersions('default', 'fn', MOST);
    expect(await versions()).toEqual([8, 7, 6]);
  });

  test('an invocation that has ended well keeps no version', async () => {
    const store = new QueuedStore(redis);
    await deployUntil(1);
    const open = openRecord({ version: 1 });
    await store.create(open);
    await redis.del(keys.keptVersions('default', 'fn'));
    const found = await store.find(open.id);
    if (found) await store.swap(found, endedRecord(open));
    await deployUntil(8);
    expect(await versions()).toEqual([8, 7, 6]);
  });

  test('a version that others took over from stays for the calls under way to it, and one that is held for its holder [DE5]', async () => {
    await deployUntil(8, 10_000);
    expect(await versions()).toEqual([8, 7, 6, 5, 4, 3, 2, 1]);
    await pass(11_000);
    expect(await functions.hold('default', 'fn', 2)).toBe(true);
    await functions.trimVersions('default', 'fn', MOST);
    expect(await versions()).toEqual([8, 7, 6, 2]);
    expect(await functions.hold('default', 'fn', 1)).toBe(false);
    await pass(61_000);
    await functions.trimVersions('default', 'fn', MOST);
    expect(await versions()).toEqual([8, 7, 6]);
  });

  test('nothing is left of a removed function but the counter of its versions', async () => {
    await deployUntil(2, 10_000);
    expect(await functions.remove('default', 'fn')).toBe(true);
    // A worker that still had one of its invocations.
    await new QueuedStore(redis).create(openRecord({ version: 1 }));
    expect(await redis.exists(keys.versions('default', 'fn'), keys.keptVersions('default', 'fn'))).toBe(0);
    expect(await storeFunction(functions, { name: 'fn' })).toBe(3);
  });
});

describe('a record of an older form', () => {
  const manifest = { name: 'old', access: 'public', memory: 128 };
  const version = {
    version: 1,
    digest: '0'.repeat(64),
    manifest,
    entryFile: 'x',
    createdAt: 0,
    archiveBytes: 1,
  };
  const record = { namespace: 'default', name: 'old', activeVersion: 1, createdAt: 0, updatedAt: 0 };

  test.each([
    ['record', () => functions.record('default', 'old')],
    ['find', () => functions.find('default', 'old')],
    ['list', () => functions.list('default')],
    ['version', () => functions.version('default', 'old', 1)],
    ['versions', () => functions.versions('default', 'old')],
    ['activate', () => functions.activate('default', 'old', 1, 0)],
    ['trimVersions', () => functions.trimVersions('default', 'old', 1)],
  ])('is refused by %s with the name of the function and the command to type [DE6]', async (_, read) => {
    await redis.hset(keys.functions('default'), 'old', JSON.stringify(record));
    await redis.hset(keys.versions('default', 'old'), '1', JSON.stringify(version));
    await expect(read()).rejects.toMatchObject({
      code: 'function_outdated',
      message:
        'Redis holds the function "default/old" in a form that this version of Offshoot does not read; type: offshoot rm default/old',
    });
  });

  test('keeps its archive, and can be removed [DE6]', async () => {
    await functions.addNamespace('default');
    await redis.hset(keys.functions('default'), 'old', JSON.stringify(record));
    await redis.hset(keys.versions('default', 'old'), '1', JSON.stringify(version));
    expect(await functions.namedDigests()).toEqual(new Set([version.digest]));
    expect(await functions.remove('default', 'old')).toBe(true);
    expect(await functions.record('default', 'old')).toBeUndefined();
  });

  test('a field that this version does not know is refused too, because a change would drop it', async () => {
    await storeFunction(functions, { name: 'fn' });
    const stored = JSON.parse((await redis.hget(keys.functions('default'), 'fn')) ?? '') as object;
    await redis.hset(keys.functions('default'), 'fn', JSON.stringify({ ...stored, unknown: {} }));
    await expect(functions.activate('default', 'fn', 1, 0)).rejects.toMatchObject({
      code: 'function_outdated',
    });
  });
});

test('storage/functions/ alone reads and writes the keys of functions, versions and namespaces', () => {
  const sources = globSync('{gateway,worker,storage,telemetry,cli,infra}/**/*.ts', { cwd: checkout });
  expect(sources.length).toBeGreaterThan(100);
  const using = sources.filter((path) =>
    /\bkeys\.(functions|versions|versionCounter|keptVersions|namespaces)\(/.test(
      readFileSync(`${checkout}/${path}`, 'utf8'),
    ),
  );
  expect(using.toSorted()).toEqual([
    'storage/functions/function-repository.ts',
    'storage/functions/kept-versions.ts',
    'storage/functions/record-changes.ts',
  ]);
});
