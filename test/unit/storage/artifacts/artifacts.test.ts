/** The artifact store, of either kind: stored bytes match their digest, and a failure leaves nothing behind. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DirectoryArtifactStore } from '#storage/artifacts/artifacts.ts';
import { STORE_KINDS, type TestStores } from '../../../support/platform/test-stores.ts';

const bytes = Buffer.from('an archive, as far as the store is concerned');
const digest = createHash('sha256').update(bytes).digest('hex');
const FILE = `artifacts/${digest.slice(0, 2)}/${digest}.tar.gz`;

async function* source(...chunks: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

describe.each(STORE_KINDS)('in a store of the kind: %s', (_, open) => {
  let stores: TestStores;
  beforeEach(async () => {
    stores = await open();
  });
  afterEach(() => stores.close());

  test('a stored archive can be asked for, opened and stored again [AR1]', async () => {
    expect(await stores.artifacts.has(digest)).toBe(false);
    await expect(stores.artifacts.open(digest)).rejects.toMatchObject({ code: 'artifact_not_found' });
    expect(await stores.artifacts.put(digest, source(bytes.subarray(0, 5), bytes.subarray(5)), 1e6)).toEqual({
      bytes: bytes.length,
    });
    await stores.artifacts.put(digest, source(bytes), 1e6);
    expect(await stores.artifacts.size(digest)).toBe(bytes.length);
    expect(Buffer.concat(await (await stores.artifacts.open(digest)).toArray()).equals(bytes)).toBe(true);
    expect(await stores.files()).toEqual([FILE]);
  });

  test('bytes that do not match the digest are not kept', async () => {
    await expect(stores.artifacts.put(digest, source(Buffer.from('other')), 1e6)).rejects.toMatchObject({
      code: 'digest_mismatch',
    });
    expect(await stores.files()).toEqual([]);
  });

  test('an archive over the limit is refused at the first byte beyond it', async () => {
    let asked = 0;
    const endless = (async function* () {
      for (;;) {
        asked++;
        yield Buffer.alloc(1000);
      }
    })();
    await expect(stores.artifacts.put(digest, endless, 10_000)).rejects.toMatchObject({
      code: 'archive_too_large',
    });
    expect(asked).toBe(11);
    expect(await stores.files()).toEqual([]);
  });

  test('an upload that breaks off leaves nothing [AR2]', async () => {
    const broken = (async function* () {
      yield bytes;
      throw new Error('the connection broke');
    })();
    await expect(stores.artifacts.put(digest, broken, 1e6)).rejects.toThrow('the connection broke');
    expect(await stores.files()).toEqual([]);
  });

  test('uploads of the same archive at the same time do not disturb each other', async () => {
    await Promise.all(Array.from({ length: 20 }, () => stores.artifacts.put(digest, source(bytes), 1e6)));
    expect(await stores.files()).toEqual([FILE]);
  });

  test('archives of several parts are kept and checked in the same way', async () => {
    const large = Buffer.alloc(20 * 1024 * 1024, 'large');
    const name = createHash('sha256').update(large).digest('hex');
    await stores.artifacts.put(name, source(large.subarray(0, 9_000_000), large.subarray(9_000_000)), 1e9);
    const hash = createHash('sha256');
    for await (const chunk of await stores.artifacts.open(name)) hash.update(chunk as Buffer);
    expect(hash.digest('hex')).toBe(name);
    await expect(stores.artifacts.put(digest, source(large), 1e9)).rejects.toMatchObject({
      code: 'digest_mismatch',
    });
    expect(await stores.artifacts.has(digest)).toBe(false);
    expect(await stores.files()).toHaveLength(1);
  });

  test('archives are listed and removed; other files in their place are not listed', async () => {
    expect(await Array.fromAsync(stores.artifacts.list())).toEqual([]);
    const digests: string[] = [];
    for (const text of ['one', 'two', 'three']) {
      const name = createHash('sha256').update(text).digest('hex');
      await stores.artifacts.put(name, source(Buffer.from(text)), 1e6);
      digests.push(name);
    }
    await stores.blobs.put('inputs/one', Buffer.from('a body'));
    expect((await Array.fromAsync(stores.artifacts.list())).toSorted()).toEqual(digests.toSorted());
    const [first = '', ...others] = digests;
    await stores.artifacts.remove(first);
    await stores.artifacts.remove(first);
    expect(await stores.artifacts.has(first)).toBe(false);
    expect((await Array.fromAsync(stores.artifacts.list())).toSorted()).toEqual(others.toSorted());
    await stores.artifacts.sweep(-1_000);
    expect(await stores.files()).toHaveLength(3);
  });

  test.each(['../../etc/passwd', '', 'A'.repeat(64), `${'a'.repeat(63)}/`])(
    '"%s" is no digest',
    async (wrong) => {
      await expect(stores.artifacts.size(wrong)).rejects.toMatchObject({ code: 'bad_request' });
    },
  );
});

test('files that a killed upload has left in the directory are swept away, once they are old', async () => {
  const root = await mkdtemp(join(tmpdir(), 'offshoot-artifacts-'));
  const script = `
    import { DirectoryArtifactStore } from ${JSON.stringify(new URL('../../../../storage/artifacts/artifacts.ts', import.meta.url).href)};
    const dies = (async function* () { yield Buffer.alloc(1000); process.kill(process.pid, 'SIGKILL'); yield Buffer.alloc(1); })();
    await new DirectoryArtifactStore(${JSON.stringify(root)}).put('${digest}', dies, 1e9);`;
  const run = spawnSync(process.execPath, ['--input-type=module-typescript', '-e', script], {
    cwd: new URL('../../../..', import.meta.url).pathname,
  });
  expect(run.signal).toBe('SIGKILL');
  const left = async (): Promise<string[]> =>
    (await readdir(root, { recursive: true })).filter((name) => name.endsWith('.part'));
  expect(await left()).toHaveLength(1);
  const store = new DirectoryArtifactStore(root);
  await store.sweep(60_000);
  expect(await left()).toHaveLength(1);
  await store.sweep(-1_000);
  expect(await left()).toEqual([]);
  await rm(root, { recursive: true, force: true });
});

const NAMESPACES = spawnSync('unshare', ['-rm', 'true']).status === 0;
test.skipIf(!NAMESPACES)(
  'a full disk is storage_full, and leaves nothing (needs user namespaces)',
  async () => {
    const root = await mkdtemp(join(tmpdir(), 'offshoot-artifacts-'));
    // A small file system of the test's own, in a mount namespace of its own: a really full disk of 256 KB.
    const script = `
    import { readdirSync } from 'node:fs';
    import { DirectoryArtifactStore } from ${JSON.stringify(new URL('../../../../storage/artifacts/artifacts.ts', import.meta.url).href)};
    const store = new DirectoryArtifactStore(${JSON.stringify(root)});
    const endless = (async function* () { for (;;) yield Buffer.alloc(65536); })();
    const code = await store.put('${digest}', endless, 1e9).catch((error) => error.code);
    const left = readdirSync(${JSON.stringify(root)}, { recursive: true, withFileTypes: true }).filter((e) => e.isFile());
    console.log(JSON.stringify({ code, left: left.length }));`;
    const command = `mount -t tmpfs -o size=256k tmpfs "$1" && exec "$2" --input-type=module-typescript -e "$3"`;
    const run = spawnSync('unshare', ['-rm', 'sh', '-c', command, 'sh', root, process.execPath, script], {
      encoding: 'utf8',
      cwd: new URL('../../../..', import.meta.url).pathname,
    });
    expect(run.stdout.trim(), run.stderr).toBe('{"code":"storage_full","left":0}');
    await rm(root, { recursive: true, force: true });
  },
);
