import { mkdtemp, readdir, rm, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DirectoryBlobStore } from '#storage/blobs.ts';

let root: string;
let blobs: DirectoryBlobStore;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'blobs-'));
  blobs = new DirectoryBlobStore(root);
});
afterEach(async () => rm(root, { recursive: true }));

describe('blobs', () => {
  it('gives back what was put, replaces it, and removes it', async () => {
    expect(await blobs.put('a/b', Readable.from([Buffer.from('one '), Buffer.from('two')]))).toEqual({
      bytes: 7,
    });
    const stream = await blobs.open('a/b');
    expect(stream && (await buffer(stream)).toString()).toBe('one two');
    await blobs.put('a/b', Buffer.from('three'), { durable: true });
    expect((await blobs.read('a/b'))?.toString()).toBe('three');
    expect(await blobs.size('a/b')).toBe(5);
    await blobs.put('a/c', Buffer.from('x'));
    await blobs.remove('a');
    expect([await blobs.read('a/b'), await blobs.open('a/c'), await blobs.size('a/c')]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    await blobs.remove('a');
  });

  it('keeps nothing of what is too large or breaks off', async () => {
    await expect(blobs.put('a/b', Buffer.alloc(11), { maxBytes: 10 })).rejects.toMatchObject({
      code: 'body_too_large',
    });
    const broken = Readable.from(
      (async function* () {
        yield Buffer.from('half');
        throw new Error('the client went away');
      })(),
    );
    await expect(blobs.put('a/b', broken)).rejects.toThrow('went away');
    expect(await readdir(join(root, 'a'))).toEqual([]);
  });

  it.each(['', '/etc/passwd', '../x', 'a/../b', 'a//b', '.part', 'a/.b', 'a\0b', 'a/'])(
    'refuses the key %j',
    async (key) => {
      await expect(blobs.put(key, Buffer.from('x'))).rejects.toMatchObject({ code: 'bad_request' });
      await expect(blobs.remove(key)).rejects.toMatchObject({ code: 'bad_request' });
    },
  );

  it('sweeps what is old, and the directories that are empty then', async () => {
    await blobs.put('old/one', Buffer.from('x'));
    await blobs.put('mixed/old', Buffer.from('x'));
    await blobs.put('mixed/new', Buffer.from('x'));
    const past = new Date(Date.now() - 60_000);
    for (const path of ['old/one', 'mixed/old']) await utimes(join(root, path), past, past);
    expect(await blobs.sweep(30_000)).toBe(2);
    expect(await blobs.read('mixed/new')).toBeDefined();
    expect(await blobs.read('mixed/old')).toBeUndefined();
  });
});
