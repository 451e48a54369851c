/** The artifact store: what is kept is what the digest says, and what goes wrong leaves nothing behind. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { DirectoryArtifactStore } from '#storage/artifacts.ts';

let root = '';
let store: DirectoryArtifactStore;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'offshoot-artifacts-'));
  store = new DirectoryArtifactStore(root);
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

const bytes = Buffer.from('an archive, as far as the store is concerned');
const digest = createHash('sha256').update(bytes).digest('hex');

async function* source(...chunks: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

async function leftovers(): Promise<string[]> {
  const all = await readdir(root, { recursive: true, withFileTypes: true });
  return all.filter((entry) => entry.isFile()).map((entry) => entry.name);
}

test('what is put can be asked for, opened and put again', async () => {
  expect(await store.has(digest)).toBe(false);
  await expect(store.open(digest)).rejects.toMatchObject({ code: 'artifact_not_found' });
  expect(await store.put(digest, source(bytes.subarray(0, 5), bytes.subarray(5)), 1e6)).toEqual({
    bytes: bytes.length,
  });
  await store.put(digest, source(bytes), 1e6);
  expect(await store.size(digest)).toBe(bytes.length);
  expect(Buffer.concat(await (await store.open(digest)).toArray()).equals(bytes)).toBe(true);
  expect(await leftovers()).toEqual([`${digest}.tar.gz`]);
  expect(store.path(digest)).toBe(join(root, digest.slice(0, 2), `${digest}.tar.gz`));
});

test('bytes that are not what the digest says are not kept', async () => {
  await expect(store.put(digest, source(Buffer.from('other')), 1e6)).rejects.toMatchObject({
    code: 'digest_mismatch',
  });
  expect(await leftovers()).toEqual([]);
});

test('an archive over the limit is refused at the byte that is too many', async () => {
  let asked = 0;
  const endless = (async function* () {
    for (;;) {
      asked++;
      yield Buffer.alloc(1000);
    }
  })();
  await expect(store.put(digest, endless, 10_000)).rejects.toMatchObject({ code: 'archive_too_large' });
  expect(asked).toBe(11);
  expect(await leftovers()).toEqual([]);
});

test('an upload that breaks off leaves nothing', async () => {
  const broken = (async function* () {
    yield bytes;
    throw new Error('the connection broke');
  })();
  await expect(store.put(digest, broken, 1e6)).rejects.toThrow('the connection broke');
  expect(await leftovers()).toEqual([]);
});

test('uploads of the same archive at the same time do not disturb each other', async () => {
  await Promise.all(Array.from({ length: 20 }, () => store.put(digest, source(bytes), 1e6)));
  expect(await leftovers()).toEqual([`${digest}.tar.gz`]);
});

test.each(['../../etc/passwd', '', 'A'.repeat(64), `${'a'.repeat(63)}/`])('"%s" is no digest', (wrong) => {
  expect(() => store.path(wrong)).toThrow(/not a sha256/);
});

const NAMESPACES = spawnSync('unshare', ['-rm', 'true']).status === 0;
test.skipIf(!NAMESPACES)('a full disk is storage_full, and leaves nothing (needs user namespaces)', () => {
  // A file system of 256 KB of the test's own, in a mount namespace of its own: a really full disk.
  const script = `
    import { readdirSync } from 'node:fs';
    import { DirectoryArtifactStore } from ${JSON.stringify(new URL('../../storage/artifacts.ts', import.meta.url).href)};
    const store = new DirectoryArtifactStore(${JSON.stringify(root)});
    const endless = (async function* () { for (;;) yield Buffer.alloc(65536); })();
    const code = await store.put('${digest}', endless, 1e9).catch((error) => error.code);
    const left = readdirSync(${JSON.stringify(root)}, { recursive: true, withFileTypes: true }).filter((e) => e.isFile());
    console.log(JSON.stringify({ code, left: left.length }));`;
  const command = `mount -t tmpfs -o size=256k tmpfs "$1" && exec "$2" --input-type=module-typescript -e "$3"`;
  const run = spawnSync('unshare', ['-rm', 'sh', '-c', command, 'sh', root, process.execPath, script], {
    encoding: 'utf8',
    cwd: new URL('../..', import.meta.url).pathname,
  });
  expect(run.stdout.trim(), run.stderr).toBe('{"code":"storage_full","left":0}');
});
