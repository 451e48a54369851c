/** Unpacked code: code in use and code that a version names stay; of the rest, the least recently used goes first. */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { DirectoryArtifactStore } from '#storage/artifacts/artifacts.ts';
import { connectRedis } from '#storage/redis/redis.ts';
import { FunctionRepository } from '#storage/functions/function-repository.ts';
import { CodeCollector } from '../../../../worker/code/code-collector.ts';
import { CodeStore, type HeldCode } from '../../../../worker/code/code-store.ts';
import { packArchive } from '../../../support/platform/archive.ts';
import { storeFunction } from '../../../support/platform/stored-function.ts';
import { PrivateRedis, QUIET } from '../../../support/gateway/fixture.ts';

const CODE_BYTES = 100_000;

let server: PrivateRedis;
let redis: Redis;
let root: string;
let code: string;
let artifacts: DirectoryArtifactStore;
let store: CodeStore;
const stores: CodeStore[] = [];
const holding: HeldCode[] = [];

beforeAll(async () => {
  server = await PrivateRedis.start();
  redis = connectRedis(server.url, 'commands', QUIET);
  await new Promise((resolve) => redis.once('ready', resolve));
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'offshoot-code-'));
  code = join(root, 'code');
  artifacts = new DirectoryArtifactStore(join(root, 'artifacts'));
  store = openStore();
});
afterEach(async () => {
  for (const { release } of holding.splice(0)) release();
  for (const of of stores.splice(0)) await of.letGo();
  await redis.flushall();
  await rm(root, { recursive: true, force: true });
});

/** A store of another worker on the host. */
function openStore(): CodeStore {
  const made = new CodeStore(code, artifacts);
  stores.push(made);
  return made;
}

async function hold(digest: string, of = store): Promise<HeldCode> {
  const held = await of.hold('default', digest);
  holding.push(held);
  return held;
}

/** A sound archive with a file that says `text`, and one of CODE_BYTES. */
async function upload(text: string): Promise<string> {
  const { digest, bytes: archive } = await packArchive({
    'index.mjs': text,
    'data/large.bin': Buffer.alloc(CODE_BYTES, text),
  });
  const bytes = (async function* () {
    yield archive;
  })();
  await artifacts.put(digest, bytes, 1e6);
  return digest;
}

/** Unpacks code, uses it, releases it, and sets its last use `agoMs` back. */
async function use(text: string, agoMs = 0): Promise<string> {
  const digest = await upload(text);
  (await hold(digest)).release();
  await store.letGo();
  const past = new Date(Date.now() - agoMs);
  await utimes(join(code, 'default', digest), past, past);
  return digest;
}

function collector(maxBytes: number, of = store): CodeCollector {
  return new CodeCollector({ root: code, store: of, functions: new FunctionRepository(redis), maxBytes });
}

async function kept(): Promise<string[]> {
  const names: string[] = await readdir(join(code, 'default')).catch(() => []);
  return names.toSorted();
}

async function name(digest: string): Promise<void> {
  await storeFunction(new FunctionRepository(redis), { name: 'fn' }, { digest });
}

test('an archive is unpacked once, however many ask at the same time, and a failure is not remembered', async () => {
  const digest = await upload('one');
  const other = openStore();
  const held = await Promise.all([...Array(10)].map((_, at) => hold(digest, at % 2 ? store : other)));
  expect(new Set(held.map(({ directory }) => directory))).toEqual(new Set([digest]));
  expect(await kept()).toEqual([digest]);
  expect(await readFile(join(code, 'default', digest, 'index.mjs'), 'utf8')).toBe('one');
  const late = createHash('sha256').update('not there').digest('hex');
  await expect(hold(late)).rejects.toMatchObject({ code: 'artifact_not_found' });
  await expect(hold(late)).rejects.toMatchObject({ code: 'artifact_not_found' });
  const file = artifacts.path(late);
  await mkdir(join(file, '..'), { recursive: true });
  await writeFile(file, await readFile(artifacts.path(digest)));
  expect((await hold(late)).directory).toBe(late);
});

test('over the limit, the least recently used code goes first, and no more than necessary [AR8]', async () => {
  const digests = [await use('a', 3_000), await use('b', 1_000), await use('c', 2_000)];
  const [a = '', b = '', c = ''] = digests;
  expect(await collector(1e9).look()).toBeGreaterThan(3 * CODE_BYTES);
  expect(await kept()).toEqual(digests.toSorted());
  expect(await collector(2.5 * CODE_BYTES).look()).toBeLessThan(2.5 * CODE_BYTES);
  expect(await kept()).toEqual([b, c].toSorted());
  // Used again, it is the newest; unpacked again, the removed one is back.
  (await hold(c)).release();
  (await hold(a)).release();
  await collector(2.5 * CODE_BYTES).look();
  expect(await kept()).toEqual([a, c].toSorted());
  expect(await readFile(join(code, 'default', a, 'index.mjs'), 'utf8')).toBe('a');
});

test('code that a version names stays, though it is the least recently used and all is over the limit', async () => {
  const [old, active, stray] = [await use('old', 9_000), await use('active', 8_000), await use('stray')];
  await name(old);
  await name(active);
  expect(await collector(0).look()).toBeGreaterThan(2 * CODE_BYTES);
  expect(await kept()).toEqual([old, active].toSorted());
  expect(await kept()).not.toContain(stray);
});

test('code in use stays, also when another worker collects; once it is released, it goes', async () => {
  const digest = await upload('in use');
  const neighbour = openStore();
  const [first, second] = [await hold(digest), await hold(digest)];
  for (const of of [store, neighbour]) {
    await collector(0, of).look();
    expect(await kept()).toEqual([digest]);
  }
  first.release();
  await collector(0).look();
  expect(await kept()).toEqual([digest]);
  second.release();
  await collector(0, neighbour).look();
  // The neighbour cannot know that no sandbox runs it any more until this one has looked.
  expect(await kept()).toEqual([digest]);
  await collector(0).look();
  expect(await kept()).toEqual([]);
});

test('the hold of a worker ends with its process', async () => {
  const digest = await upload('of the dead');
  const script = `
    import { CodeStore } from ${JSON.stringify(new URL('../../../../worker/code/code-store.ts', import.meta.url).href)};
    import { DirectoryArtifactStore } from '#storage/artifacts/artifacts.ts';
    const store = new CodeStore(${JSON.stringify(code)}, new DirectoryArtifactStore(${JSON.stringify(join(root, 'artifacts'))}));
    await store.hold('default', '${digest}');
    console.log('held');
    setInterval(() => undefined, 1000);`;
  const worker = spawn(process.execPath, ['--input-type=module-typescript', '-e', script], {
    cwd: new URL('../../../..', import.meta.url).pathname,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(worker.stdout, 'data');
  expect(await store.discard('default', digest)).toBe(false);
  worker.kill('SIGKILL');
  await once(worker, 'exit');
  expect(await store.discard('default', digest)).toBe(true);
  expect(await kept()).toEqual([]);
});

test('a worker that needs code during its removal gets all of it, again and again', async () => {
  const digest = await upload('contested');
  const neighbour = openStore();
  const stop = new AbortController();
  const removed: number[] = [];
  const removing = (async () => {
    while (!stop.signal.aborted) {
      if (await neighbour.discard('default', digest)) removed.push(performance.now());
      else await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  // Until they have met often enough; that they do is up to who is scheduled when.
  for (let turn = 0; turn < 10 || removed.length <= 5; turn++) {
    const held = await hold(digest);
    for (let look = 0; look < 3; look++) {
      const files = await readdir(join(code, 'default', digest), { recursive: true });
      expect(files.toSorted()).toEqual(['data', 'data/large.bin', 'index.mjs']);
    }
    held.release();
    await store.letGo();
  }
  stop.abort();
  await removing;
  expect(removed.length).toBeGreaterThan(5);
});

test('code that a killed worker left half unpacked goes after a day', async () => {
  const [old, young] = [join(code, 'default', '.old'), join(code, 'default', '.young')];
  for (const path of [old, young]) await mkdir(join(path, 'lib'), { recursive: true });
  const past = new Date(Date.now() - 25 * 3_600_000);
  await utimes(old, past, past);
  await collector(1e9).look();
  expect(await kept()).toEqual(['.young']);
});
