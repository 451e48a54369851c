/** Large request bodies in the gateway: their place, their bounds and their time. */
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { createServer, request, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DirectoryBlobStore } from '#storage/artifacts/blobs.ts';
import { Spool, type Spooled } from '../../../../gateway/call/spool.ts';

const KB = 1024;
const QUIET = { info: () => undefined, warn: () => undefined, error: () => undefined };
const LIMIT = { bytes: 100 * KB, setting: 'a setting' };
const ASKED = { queued: false, digest: false };

let root: string;
let blobs: DirectoryBlobStore;
let spool: Spool;
let server: Server;
let keep: (request: IncomingMessage) => Promise<Spooled>;
let kept: Promise<Spooled>[] = [];
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'spool-'));
  blobs = new DirectoryBlobStore(root);
  spool = new Spool({ blobs, maxBytes: 150 * KB, stalledMs: 300, log: QUIET });
  keep = (incoming) => spool.keep(incoming, [], LIMIT, ASKED);
  kept = [];
  server = createServer((incoming, response) => {
    const keeping = keep(incoming);
    kept.push(keeping);
    keeping.then(
      () => response.end('kept'),
      () => response.destroy(),
    );
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await rm(root, { recursive: true, force: true });
});

/** Sends the parts, and the end unless the body is to stay open; resolves to the result. */
async function send(parts: readonly number[], open = false): Promise<Spooled> {
  const { port } = server.address() as AddressInfo;
  const before = kept.length;
  const sent = request({ host: '127.0.0.1', port, method: 'POST', agent: false });
  sent.on('error', () => undefined);
  for (const bytes of parts) sent.write(Buffer.alloc(bytes, 1));
  if (!open) sent.end();
  await expect.poll(() => kept.length).toBe(before + 1);
  return await (kept[before] as Promise<Spooled>);
}

async function files(): Promise<string[]> {
  return (await readdir(root, { recursive: true })).filter((name) => name.includes('/'));
}

describe('the spool', () => {
  test('the spool keeps a body until it is removed', async () => {
    const body = await send([40 * KB, 40 * KB]);
    expect(body.bytes).toBe(80 * KB);
    expect(await blobs.size(body.key)).toBe(80 * KB);
    await spool.remove(body);
    expect(await files()).toEqual([]);
  });

  test('the spool holds a bounded number of bytes at a time, and has room again when some are removed [CA13]', async () => {
    const first = await send([80 * KB]);
    await expect(send([80 * KB])).rejects.toMatchObject({ code: 'spool_full', status: 503 });
    // A refused body takes no room.
    const second = await send([60 * KB]);
    await spool.remove(first);
    await send([80 * KB]);
    expect(await blobs.size(second.key)).toBe(60 * KB);
    expect(await files()).toHaveLength(2);
  });

  test('the spool refuses a body over the limit, with the size read by then and the setting', async () => {
    await expect(send([60 * KB, 60 * KB])).rejects.toMatchObject({
      code: 'body_too_large',
      message: expect.stringMatching(/or more; at most 102400 are accepted \(a setting\)/) as string,
    });
    expect(await files()).toEqual([]);
  });

  test('the spool cuts off a client that stands still in the middle [CA13]', async () => {
    const before = performance.now();
    await expect(send([10 * KB], true)).rejects.toMatchObject({ name: 'RequestAborted' });
    expect(performance.now() - before).toBeGreaterThan(250);
    expect(await files()).toEqual([]);
  });

  test('the spool does not blame the client for a slow store', async () => {
    const slow = blobs.put.bind(blobs);
    blobs.put = (key, source, options) => {
      const slowly = async function* (): AsyncGenerator<Uint8Array> {
        for await (const chunk of source as AsyncIterable<Uint8Array>) {
          yield chunk;
          await sleep(400);
        }
      };
      return slow(key, slowly(), options);
    };
    // More than is read ahead, so that some of the body is still to come.
    expect((await send(Array.from({ length: 9 }, () => 10 * KB))).bytes).toBe(90 * KB);
  });

  test('the spool sweeps each place when its time is over, and no sooner [CA13]', async () => {
    const day = 86_400_000;
    const ages = { calls: [1, 3], inputs: [6, 8], results: [0.9, 1.1] };
    for (const [place, days] of Object.entries(ages)) {
      await mkdir(join(root, place));
      for (const [index, age] of days.entries()) {
        const path = join(root, place, String(index));
        await writeFile(path, 'x');
        const then = new Date(Date.now() - age * day);
        await utimes(path, then, then);
      }
    }
    await spool.sweep();
    expect((await files()).toSorted()).toEqual(['calls/0', 'inputs/0', 'results/0']);
  });

  test('the spool sweeps no input that an invocation still holds, and no input while Redis cannot tell [QU19]', async () => {
    const held = new Set(['inputs/held', 'batches/b1/in/0']);
    let away = true;
    spool = new Spool({
      blobs,
      maxBytes: 150 * KB,
      isHeld: (key) => (away ? Promise.reject(new Error('Redis is away')) : Promise.resolve(held.has(key))),
      log: QUIET,
    });
    const long = new Date(Date.now() - 30 * 86_400_000);
    for (const key of [...held, 'inputs/free', 'batches/b2/in/0', 'results/old']) {
      await blobs.put(key, Buffer.from('x'));
      await utimes(join(root, key), long, long);
    }
    await spool.sweep();
    // A result stays for a day, whatever its invocation.
    const left = async (): Promise<string[]> =>
      (await files()).filter((name) => /\/(held|free|0)$/.test(name)).toSorted();
    expect(await left()).toEqual(['batches/b1/in/0', 'batches/b2/in/0', 'inputs/free', 'inputs/held']);
    expect(await blobs.read('results/old')).toBeUndefined();
    away = false;
    await spool.sweep();
    expect(await left()).toEqual(['batches/b1/in/0', 'inputs/held']);
  });
});
