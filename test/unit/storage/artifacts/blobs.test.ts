/** The store of large bodies, of either kind. */
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { STORE_KINDS, type TestStores } from '../../../support/platform/test-stores.ts';

const MB = 1024 * 1024;

describe.each(STORE_KINDS)('blobs in a store of the kind: %s', (_, open) => {
  let stores: TestStores;
  beforeEach(async () => {
    stores = await open();
  });
  afterEach(() => stores.close());

  it('a blob is returned as stored, can be replaced, and can be removed', async () => {
    expect(await stores.blobs.put('a/b', Readable.from([Buffer.from('one '), Buffer.from('two')]))).toEqual({
      bytes: 7,
    });
    const stream = await stores.blobs.open('a/b');
    expect(stream && (await buffer(stream)).toString()).toBe('one two');
    await stores.blobs.put('a/b', Buffer.from('three'), { durable: true });
    expect((await stores.blobs.read('a/b'))?.toString()).toBe('three');
    expect(await stores.blobs.size('a/b')).toBe(5);
    await stores.blobs.put('a/c', Buffer.from('x'));
    await stores.blobs.put('ab', Buffer.from('a key that only begins alike'));
    await stores.blobs.remove('a');
    expect([
      await stores.blobs.read('a/b'),
      await stores.blobs.open('a/c'),
      await stores.blobs.size('a/c'),
    ]).toEqual([undefined, undefined, undefined]);
    await stores.blobs.remove('a');
    expect(await stores.files()).toEqual(['blobs/ab']);
  });

  it('nothing is kept of a body that is too large or breaks off', async () => {
    await expect(stores.blobs.put('a/b', Buffer.alloc(11), { maxBytes: 10 })).rejects.toMatchObject({
      code: 'body_too_large',
    });
    const broken = Readable.from(
      (async function* () {
        yield Buffer.from('half');
        throw new Error('the client went away');
      })(),
    );
    await expect(stores.blobs.put('a/b', broken)).rejects.toThrow('went away');
    expect(await stores.files()).toEqual([]);
  });

  it.each(['', '/etc/passwd', '../x', 'a/../b', 'a//b', '.part', 'a/.b', 'a\0b', 'a/'])(
    'the key %j is refused',
    async (key) => {
      await expect(stores.blobs.put(key, Buffer.from('x'))).rejects.toMatchObject({ code: 'bad_request' });
      await expect(stores.blobs.remove(key)).rejects.toMatchObject({ code: 'bad_request' });
    },
  );

  it('a sweep removes old blobs, and directories that are empty then', async () => {
    await stores.blobs.put('old/one', Buffer.from('x'));
    await stores.blobs.put('mixed/old', Buffer.from('x'));
    await stores.blobs.put('mixed/new', Buffer.from('x'));
    for (const key of ['old/one', 'mixed/old']) await stores.age(`blobs/${key}`, 60_000);
    expect(await stores.blobs.sweep(30_000, 'elsewhere')).toBe(0);
    expect(await stores.blobs.sweep(30_000)).toBe(2);
    expect(await stores.blobs.read('mixed/new')).toBeDefined();
    expect(await stores.blobs.read('mixed/old')).toBeUndefined();
  });

  it('a sweep spares the blobs that its caller names, and asks only about old ones', async () => {
    const [asked, all] = [[] as string[], ['place/a', 'place/b', 'place/in/c', 'place/new']];
    for (const key of all) await stores.blobs.put(key, Buffer.from('x'));
    for (const key of all.slice(0, 3)) await stores.age(`blobs/${key}`, 60_000);
    const spare = (key: string): Promise<boolean> => {
      asked.push(key);
      return Promise.resolve(key === 'place/b' || key === 'place/in/c');
    };
    expect(await stores.blobs.sweep(30_000, 'place', spare)).toBe(1);
    expect(asked.toSorted()).toEqual(all.slice(0, 3));
    expect(await stores.files()).toEqual(['blobs/place/b', 'blobs/place/in/c', 'blobs/place/new']);
  });

  it.each([0, 1, 8 * MB, 8 * MB + 1, 40 * MB])('a body of %d bytes is kept', async (bytes) => {
    const body = Buffer.alloc(bytes, 'every byte in its place');
    expect(await stores.blobs.put('a', pieces(body))).toEqual({ bytes });
    expect(await stores.blobs.put('b', body)).toEqual({ bytes });
    expect(await stores.blobs.size('a')).toBe(bytes);
    expect((await stores.blobs.read('a'))?.equals(body)).toBe(true);
    expect((await stores.blobs.read('b'))?.equals(body)).toBe(true);
  });

  it('more than a thousand blobs of one prefix are removed', async () => {
    const keys = Array.from({ length: 1_003 }, (_one, index) => `many/${index}`);
    for (let at = 0; at < keys.length; at += 50)
      await Promise.all(keys.slice(at, at + 50).map((key) => stores.blobs.put(key, Buffer.from('x'))));
    expect(await stores.files()).toHaveLength(1_003);
    await stores.blobs.remove('many');
    expect(await stores.files()).toEqual([]);
  });

  it('a reader sees either the old body or the new one, whole', async () => {
    const [one, two] = [Buffer.alloc(9 * MB, 1), Buffer.alloc(9 * MB, 2)];
    await stores.blobs.put('a', one);
    const done: number[] = [];
    const written = (async () => {
      for (let write = 0; write < 5; write++) {
        await stores.blobs.put('a', write % 2 === 0 ? two : one);
        done.push(write);
      }
    })();
    let reads = 0;
    for (; done.length < 5; reads++) {
      const seen = await stores.blobs.read('a');
      expect(seen?.equals(one) === true || seen?.equals(two) === true).toBe(true);
    }
    await written;
    expect(reads).toBeGreaterThan(1);
  });
});

function* slices(body: Buffer): Generator<Buffer> {
  for (let at = 0; at < body.length; at += 300_000) yield body.subarray(at, at + 300_000);
}

function pieces(body: Buffer): Readable {
  return Readable.from(slices(body));
}
