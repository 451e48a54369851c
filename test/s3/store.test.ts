/**
 * The artifact store in S3 over a bad network: nothing is stored in part or mixed, errors are clear, and everything
 * works again afterwards.
 */
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { S3ArtifactStore } from '#storage/s3/artifacts.ts';
import { S3BlobStore } from '#storage/s3/blobs.ts';
import { S3Objects } from '#storage/s3/objects.ts';
import { resumable } from '#storage/s3/reader.ts';
import { s3Settings, type S3Settings } from '#storage/s3/settings.ts';
import { Semaphore } from '#storage/s3/semaphore.ts';
import { parseEnvironment } from '../../gateway/env.ts';
import { parseEnv } from '../../worker/process/env.ts';
import { FaultProxy } from '../support/faults/fault-proxy.ts';
import { S3Server } from '../support/servers/s3-server.ts';

const MB = 1024 * 1024;

describe('the settings', () => {
  const given = {
    OFFSHOOT_STATE: '/tmp/state',
    OFFSHOOT_ARTIFACTS: 's3://bucket/some/prefix/',
    AWS_REGION: 'eu-central-1',
    AWS_ACCESS_KEY_ID: 'id',
    AWS_SECRET_ACCESS_KEY: 'secret',
  };
  const readers = [
    ['gateway', parseEnvironment],
    ['worker', parseEnv],
  ] as const;

  test.each(readers)('the %s reads the settings of the store', (_, parse) => {
    expect(s3Settings(parse(given))).toEqual({
      bucket: 'bucket',
      prefix: 'some/prefix',
      region: 'eu-central-1',
      endpoint: undefined,
      pathStyle: false,
      credentials: { accessKeyId: 'id', secretAccessKey: 'secret' },
    });
    const own = {
      ...given,
      AWS_REGION: '',
      AWS_ENDPOINT_URL_S3: 'http://127.0.0.1:9000',
      AWS_SESSION_TOKEN: 'token',
    };
    expect(s3Settings(parse(own))).toMatchObject({
      region: 'us-east-1',
      endpoint: 'http://127.0.0.1:9000',
      pathStyle: true,
      credentials: { sessionToken: 'token' },
    });
    expect(s3Settings(parse({ ...own, OFFSHOOT_S3_PATH_STYLE: '0' }))?.pathStyle).toBe(false);
  });

  test.each(readers)(
    'AWS settings of other programs mean nothing to the %s while S3 is not chosen [AR6]',
    (_, parse) => {
      expect(s3Settings(parse({ ...given, OFFSHOOT_ARTIFACTS: '' }))).toBeUndefined();
      expect(s3Settings(parse({ OFFSHOOT_STATE: '/tmp/state', AWS_ACCESS_KEY_ID: 'id' }))).toBeUndefined();
    },
  );

  test.each(readers)('the %s refuses settings that cannot work, and says what to do [AR6]', (_, parse) => {
    expect(() => parse({ ...given, OFFSHOOT_ARTIFACTS: '/var/lib/artifacts' })).toThrow(
      /OFFSHOOT_ARTIFACTS: .*s3:\/\/BUCKET/,
    );
    expect(() => parse({ ...given, OFFSHOOT_ARTIFACTS: 's3://bucket/../x' })).toThrow(/OFFSHOOT_ARTIFACTS/);
    expect(() => parse({ ...given, AWS_SECRET_ACCESS_KEY: '' })).toThrow(
      /needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY/,
    );
    expect(() => parse({ ...given, AWS_REGION: undefined })).toThrow(/needs AWS_REGION/);
    expect(() => parse({ ...given, AWS_ENDPOINT_URL_S3: 'localhost' })).toThrow(/AWS_ENDPOINT_URL_S3/);
  });
});

describe('a store in S3', () => {
  let server: S3Server;
  let proxy: FaultProxy;
  let scratch: string;
  let blobs: S3BlobStore;
  /** The same store, without the proxy. */
  let straight: S3BlobStore;
  const objects = async (given: Partial<S3Settings>): Promise<S3Objects> =>
    new S3Objects(server.settings('p', given), scratch);

  beforeEach(async () => {
    server = await S3Server.start();
    proxy = await FaultProxy.start(server.port);
    scratch = await mkdtemp(join(tmpdir(), 'offshoot-scratch-'));
    blobs = new S3BlobStore(objects({ endpoint: proxy.url }));
    straight = new S3BlobStore(objects({}));
  });
  afterEach(async () => {
    await proxy.stop();
    await server.stop();
    await rm(scratch, { recursive: true, force: true });
  });

  test('a read continues at its byte when connections are cut', async () => {
    const body = numbered(20 * MB);
    await straight.put('a', body);
    proxy.faults = { cutDownAfter: 3 * MB };
    expect((await blobs.read('a'))?.equals(body)).toBe(true);
    expect(proxy.connections).toBeGreaterThan(5);
  });

  test('a read never joins the begin of one body and the end of another [AR2]', async () => {
    await straight.put('a', Buffer.alloc(20 * MB, 1));
    const stream = await blobs.open('a');
    const seen: number[] = [];
    const reading = (async () => {
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        if (seen.length === 0) {
          await straight.put('a', Buffer.alloc(20 * MB, 2));
          proxy.cut();
        }
        seen.push(chunk[0] ?? 0);
      }
    })();
    await expect(reading).rejects.toMatchObject({ code: 'storage_unavailable' });
    expect(new Set(seen)).toEqual(new Set([1]));
  });

  test('a reader that stops early holds no connection', async () => {
    await straight.put('a', Buffer.alloc(20 * MB));
    const stream = await blobs.open('a');
    await new Promise((resolve) => stream?.once('readable', resolve));
    expect(proxy.open).toBe(1);
    stream?.destroy();
    await expect.poll(() => proxy.open).toBe(0);
  });

  test('an upload that breaks off is not seen, and its remains are swept away', async () => {
    await straight.put('kept/a', Buffer.from('as before'));
    proxy.faults = { cutUpAfter: 2 * MB };
    const put = blobs.put('kept/a', Readable.from([numbered(40 * MB)]));
    await expect(put).rejects.toMatchObject({ code: 'storage_unavailable', status: 503 });
    expect((await straight.read('kept/a'))?.toString()).toBe('as before');
    // The upload was begun, and with the connection cut it could not be aborted: this is the reason for the sweep.
    proxy.faults = { refuse: true };
    await sleep(1_100);
    await straight.sweep(500, 'kept');
    expect((await server.files()).filter((file) => file.includes('multipart'))).toEqual([]);
    expect(await readdir(scratch)).toEqual([]);
  });

  test('a source that fails in its tenth part has stored none', async () => {
    const before = proxy.connections;
    const broken = Readable.from(
      (async function* () {
        for (let part = 0; part < 10; part++) yield Buffer.alloc(8 * MB);
        throw new Error('the client went away');
      })(),
    );
    await expect(blobs.put('a', broken)).rejects.toThrow('the client went away');
    expect(proxy.connections).toBe(before);
    expect([...(await server.files()), ...(await readdir(scratch))]).toEqual([]);
  });

  test('a server that is away soon causes an error; once it is back, reads work and all its data are there', async () => {
    await blobs.put('a', Buffer.from('kept'));
    await server.kill();
    const began = performance.now();
    for (const act of [
      () => blobs.put('b', Buffer.from('x')),
      () => blobs.put('b', Readable.from([Buffer.alloc(9 * MB)])),
      () => blobs.read('a'),
      () => blobs.size('a'),
      () => blobs.remove('a'),
      () => blobs.sweep(0),
    ])
      await expect(act()).rejects.toMatchObject({ code: 'storage_unavailable', status: 503 });
    expect(performance.now() - began).toBeLessThan(10_000);
    await server.resume();
    expect((await blobs.read('a'))?.toString()).toBe('kept');
    expect(await blobs.size('b')).toBeUndefined();
  });

  test('a refusal of the credentials is reported as such, and names neither server nor key', async () => {
    const wrong = new S3BlobStore(
      objects({ credentials: { accessKeyId: 'test-key', secretAccessKey: 'another-secret' } }),
    );
    const error: unknown = await wrong.put('a', Buffer.from('x')).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'storage_unavailable' });
    expect(String(error)).toMatch(/403 SignatureDoesNotMatch/);
    expect(String(error)).not.toMatch(/127\.0\.0\.1|test-key|secret/);
    const elsewhere = new S3BlobStore(objects({ bucket: 'no-such-bucket' }));
    await expect(elsewhere.put('a', Buffer.from('x'))).rejects.toThrow(/NoSuchBucket/);
  });

  test('an archive that was changed in the bucket is refused at its end', async () => {
    const bytes = Buffer.from('what was deployed');
    const digest = createHash('sha256').update(bytes).digest('hex');
    const all = objects({});
    const artifacts = new S3ArtifactStore(all);
    await artifacts.put(digest, Readable.from([bytes]), 1e6);
    expect((await (await artifacts.open(digest)).toArray()).join('')).toBe('what was deployed');
    await (await all).put(`artifacts/${digest.slice(0, 2)}/${digest}.tar.gz`, Buffer.from('something else'));
    const stream = await artifacts.open(digest);
    await expect(stream.toArray()).rejects.toMatchObject({ code: 'digest_mismatch' });
  });

  test('bodies that arrive slowly stay out of memory, however many there are [AR3]', async () => {
    const gate = Promise.withResolvers<void>();
    const slow = async function* (): AsyncGenerator<Buffer> {
      for (let at = 0; at < 7; at++) yield Buffer.alloc(MB, at);
      await gate.promise;
    };
    const before = process.memoryUsage().rss;
    const puts = Array.from({ length: 60 }, (_, index) => blobs.put(`slow/${index}`, slow()));
    await sleep(1_500);
    // 420 MB have arrived.
    expect(process.memoryUsage().rss - before).toBeLessThan(150 * MB);
    gate.resolve();
    expect(await Promise.all(puts)).toHaveLength(60);
  });
});

describe('a stream that is read on', () => {
  const opened = (body: Readable) => ({ body, etag: '"1"', size: 10 });

  test('a silent server times out, but a slow reader does not', async () => {
    let asked = 0;
    const stream = resumable(
      opened(Readable.from([Buffer.from('01234')])),
      async (from) => {
        asked++;
        expect(from).toBe(5);
        return opened(new Readable({ read: () => undefined }));
      },
      50,
    );
    const iterator = stream[Symbol.asyncIterator]();
    expect(String((await iterator.next()).value)).toBe('01234');
    await expect(iterator.next()).rejects.toThrow('nothing came for 50 ms');
    expect(asked).toBeGreaterThan(1);
    expect(asked).toBeLessThan(4);
  });
});

test('turns are taken in order by a limited number at a time, and a turn that waited too long is refused', async () => {
  const turns = new Semaphore(2, 100);
  const order: number[] = [];
  let atOnce = 0;
  const take = (number: number, ms: number): Promise<void> =>
    turns.within(async () => {
      order.push(number);
      expect(++atOnce).toBeLessThan(3);
      await sleep(ms);
      atOnce--;
    });
  await Promise.all([take(1, 30), take(2, 30), take(3, 10), take(4, 10)]);
  expect(order).toEqual([1, 2, 3, 4]);
  const held = [take(5, 300), take(6, 300)];
  await expect(take(7, 0)).rejects.toMatchObject({ code: 'storage_unavailable' });
  await Promise.all(held);
  // A caller that timed out has taken no place.
  await Promise.all([take(8, 10), take(9, 10)]);
  expect(order.slice(4)).toEqual([5, 6, 8, 9]);
});

function numbered(bytes: number): Buffer {
  const body = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += 4) body.writeUInt32LE(at, at);
  return body;
}
