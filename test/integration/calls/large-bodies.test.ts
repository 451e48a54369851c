/** Bodies that are too large for Redis and for memory, through real processes, in both lanes. */
import { createHash } from 'node:crypto';
import { readFile, readdir, readlink, rm } from 'node:fs/promises';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Accepted } from '#contract/api/api.ts';
import { Platform } from '../../support/platform/platform.ts';

const MB = 1024 * 1024;
const LARGE = 200 * MB;
/**
 * Upper bounds on the growth of a process while 200 MB pass through it: buffers, and garbage that is not collected yet.
 */
const FLAT = 100 * MB;
const FLAT_REDIS = 16 * MB;

let platform: Platform;
beforeAll(async () => {
  platform = await Platform.start();
  await platform.deploy('upload', { timeout: 60 });
  await platform.deploy('upload', { name: 'narrow', timeout: 60, memory: 48 });
  await platform.deploy('upload', { name: 'small', requestSize: 2 });
  await platform.deploy('upload', { name: 'stall', streamIdleTimeout: 1, timeout: 60 });
  await platform.deploy('lambda', { name: 'event', requestSize: 8 });
  // Warms the processes up before they are measured.
  await upload('upload/hash', pieces(20 * MB));
}, 90_000);
afterAll(() => platform.stop());

/** Makes `bytes` bytes in pieces, one at a time; no two pieces are alike. */
async function* pieces(bytes: number, piece = 256 * 1024, pauseMs = 0): AsyncGenerator<Buffer> {
  for (let at = 0, number = 0; at < bytes; at += piece, number++) {
    const chunk = Buffer.alloc(Math.min(piece, bytes - at), number % 253);
    if (chunk.length >= 4) chunk.writeUInt32LE(number);
    yield chunk;
    if (pauseMs > 0) await sleep(pauseMs);
  }
}

async function digest(bytes: number): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of pieces(bytes)) hash.update(chunk);
  return hash.digest('hex');
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

/** Sends by node:http, which sends as fast as the other side reads and keeps nothing. */
async function upload(
  path: string,
  body: AsyncIterable<Buffer>,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const sent = httpRequest(`${platform.url}/fn/default/${path}`, { method: 'POST', headers });
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    sent.on('response', resolve).on('error', reject);
  });
  const source = Readable.from(body, { objectMode: false });
  source.on('error', () => undefined).pipe(sent);
  const response = await answered;
  const chunks: Buffer[] = [];
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
  source.destroy();
  return { status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) };
}

function json(answer: Answer): unknown {
  return JSON.parse(answer.body.toString());
}

async function memoryOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024;
}

/** Largest growth of gateway, worker and Redis while `work` ran. */
async function growth(work: () => Promise<void>): Promise<Record<string, number>> {
  const pids = {
    gateway: platform.pid('gateway'),
    worker: platform.pid('worker'),
    redis: platform.redis.pid ?? 0,
  };
  const before = new Map<string, number>();
  const most: Record<string, number> = {};
  const look = async (): Promise<void> => {
    for (const [name, pid] of Object.entries(pids)) {
      const now = await memoryOf(pid);
      if (!before.has(name)) before.set(name, now);
      most[name] = Math.max(most[name] ?? 0, now - (before.get(name) ?? 0));
    }
  };
  await look();
  const timer = setInterval(() => void look(), 20);
  await work();
  clearInterval(timer);
  await look();
  if (process.env['SHOW_GROWTH']) console.log(most);
  return most;
}

/** Files of blobs in the artifact store, partly written ones included. */
async function blobs(place: 'calls' | 'inputs' | 'results'): Promise<string[]> {
  return await readdir(join(platform.state, 'blobs', place)).catch(() => []);
}

async function noBlobs(place: 'calls' | 'inputs'): Promise<void> {
  await expect.poll(() => blobs(place), { timeout: 5_000 }).toEqual([]);
}

/** Files of the blob store that a process has open. */
async function openBlobs(name: 'worker' | 'gateway'): Promise<string[]> {
  const folder = `/proc/${platform.pid(name)}/fd`;
  const open = await Promise.all(
    (await readdir(folder)).map((fd) => readlink(join(folder, fd)).catch(() => '')),
  );
  return open.filter((path) => path.includes('/blobs/'));
}

async function queue(path: string, body: AsyncIterable<Buffer>, headers = {}): Promise<string> {
  const answer = await upload(path, body, {
    prefer: 'respond-async',
    authorization: `Bearer ${platform.key}`,
    ...headers,
  });
  expect(answer.status).toBe(202);
  return (json(answer) as Accepted).id;
}

describe('a large request body of a synchronous call', () => {
  test('a large body reaches the function whole, and no process grows by it [CA10]', async () => {
    let invocation = '';
    const most = await growth(async () => {
      const answer = await upload('narrow/hash', pieces(LARGE));
      expect(json(answer)).toEqual({ bytes: LARGE, sha256: await digest(LARGE) });
      invocation = String(answer.headers['x-offshoot-invocation']);
    });
    expect((await platform.ended(invocation)).report?.usage?.memoryPeak).toBeLessThan(40 * MB);
    expect(most['redis']).toBeLessThan(FLAT_REDIS);
    for (const [name, bytes] of Object.entries(most)) expect(bytes, name).toBeLessThan(FLAT);
    await noBlobs('calls');
  }, 60_000);

  test('a large body comes in one piece to arrayBuffer(), json() and Lambda-style handlers [CA10]', async () => {
    expect(json(await upload('upload/whole', pieces(12 * MB)))).toEqual({ bytes: 12 * MB });
    const text = JSON.stringify({ a: 'x'.repeat(3 * MB), b: 1 });
    expect(json(await upload('upload/json', only(text)))).toEqual({ keys: ['a', 'b'] });
    const event = { numbers: Array.from({ length: 400_000 }, () => 1_000) };
    const response = await platform.api('/functions/default/event/invoke', {
      method: 'POST',
      body: JSON.stringify(event),
    });
    expect(await response.json()).toMatchObject({ sum: 400_000_000 });
  }, 30_000);

  test('a large body is echoed while it is read, byte for byte, also with a length announced', async () => {
    for (const headers of [{}, { 'content-length': String(30 * MB) }]) {
      const answer = await upload('upload/echo', pieces(30 * MB), headers);
      expect(answer.status).toBe(200);
      expect(createHash('sha256').update(answer.body).digest('hex')).toBe(await digest(30 * MB));
    }
  }, 30_000);

  test('a body just over the limit for Redis arrives whole, and so does one at the limit', async () => {
    for (const bytes of [MB - 1, MB, MB + 1, MB + 65_537]) {
      const answer = await upload('upload/hash', pieces(bytes), { 'content-length': String(bytes) });
      expect(json(answer)).toEqual({ bytes, sha256: await digest(bytes) });
    }
  });

  test('several large bodies at once arrive whole, whether a sandbox runs their calls in line or side by side', async () => {
    await platform.deploy('upload', { name: 'shared', concurrency: 8, timeout: 60 });
    for (const name of ['upload', 'shared']) {
      const sizes = [2, 3, 4, 5, 6, 7].map((mb) => mb * MB + mb);
      const answers = await Promise.all(sizes.map((bytes) => upload(`${name}/hash`, pieces(bytes))));
      const expected = await Promise.all(
        sizes.map(async (bytes) => ({ bytes, sha256: await digest(bytes) })),
      );
      expect(answers.map(json)).toEqual(expected);
    }
    await noBlobs('calls');
  }, 30_000);

  test('a function that reads slowly holds a large body back', async () => {
    const most = await growth(async () => {
      // 640 pieces of 64 KB, a few milliseconds each.
      expect(json(await upload('upload/slow?ms=5', pieces(40 * MB)))).toEqual({ bytes: 40 * MB });
    });
    expect(most['worker']).toBeLessThan(FLAT / 2);
  }, 60_000);

  test('a large body that the function reads in part, or not at all, is removed when the call has ended [CA11]', async () => {
    expect(json(await upload('upload/none', pieces(20 * MB)))).toEqual({ bytes: 0 });
    const { bytes } = json(await upload('upload/part?bytes=100000', pieces(20 * MB))) as { bytes: number };
    expect(bytes).toBeLessThan(MB);
    // While the function runs and reads nothing, the worker has the file open; afterwards it has not.
    const waiting = upload('upload/none?ms=1500', pieces(20 * MB));
    await expect.poll(() => openBlobs('worker'), { timeout: 5_000 }).toHaveLength(1);
    await waiting;
    await expect.poll(() => openBlobs('worker'), { timeout: 5_000 }).toEqual([]);
    await noBlobs('calls');
    // The sandbox still serves.
    expect(json(await upload('upload/hash', pieces(3 * MB)))).toMatchObject({ bytes: 3 * MB });
  }, 30_000);

  test('a sandbox that dies while it reads a large body leaves nothing behind [CA11]', async () => {
    const answer = await upload('upload/exit', pieces(20 * MB));
    expect(answer.headers['x-offshoot-outcome']).toBe('exited');
    await expect.poll(() => openBlobs('worker'), { timeout: 5_000 }).toEqual([]);
    await noBlobs('calls');
  });

  test('a client that disconnects during a large body calls nothing and leaves nothing [CA11]', async () => {
    // The records of earlier calls are written just after their answers.
    await sleep(300);
    const before = await recent();
    const sent = httpRequest(`${platform.url}/fn/default/upload/hash`, { method: 'POST' });
    sent.on('error', () => undefined);
    const source = Readable.from(pieces(50 * MB, 64 * 1024, 5), { objectMode: false });
    source.on('error', () => undefined).pipe(sent);
    await expect.poll(() => blobs('calls'), { timeout: 5_000 }).toHaveLength(1);
    source.destroy();
    sent.destroy();
    await noBlobs('calls');
    expect(await openBlobs('gateway')).toEqual([]);
    await sleep(300);
    expect(await recent()).toEqual(before);
  });
});

test('a worker that dies while a function reads a large body leaves nothing, and the caller gets an error', async () => {
  const answer = upload('upload/slow?ms=20', pieces(40 * MB));
  await expect.poll(() => openBlobs('worker'), { timeout: 10_000 }).toHaveLength(1);
  await platform.kill('worker');
  platform.run('worker');
  expect((await answer).headers['x-offshoot-outcome']).toBe('worker_lost');
  await noBlobs('calls');
  await platform.ready();
  expect(json(await upload('upload/hash', pieces(2 * MB)))).toMatchObject({ bytes: 2 * MB });
}, 30_000);

async function* only(text: string): AsyncGenerator<Buffer> {
  yield Buffer.from(text);
}

async function recent(): Promise<string[]> {
  const response = await platform.api('/invocations?namespace=default&name=upload');
  const { invocations } = (await response.json()) as { invocations: { id: string }[] };
  // Earlier calls are listed: a list that is always empty would prove nothing.
  expect(invocations).not.toEqual([]);
  return invocations.map(({ id }) => id);
}

describe('a request body over the limit', () => {
  test('a body over the limit is refused by its announced length, with the limit, the size and the setting [CA7]', async () => {
    const answer = await upload('small/hash', pieces(3 * MB), { 'content-length': String(3 * MB) });
    expect(answer.status).toBe(413);
    const { error } = json(answer) as { error: { message: string } };
    expect(error.message).toContain(`the body has ${3 * MB} bytes; at most ${2 * MB}`);
    expect(error.message).toContain('"requestSize" in offshoot.json, 2 MB');
  });

  test('a chunked body is refused as soon as it passes the limit, and nothing of it is kept', async () => {
    const answer = await upload('small/hash', pieces(30 * MB, 64 * 1024, 1));
    expect(answer.status).toBe(413);
    expect(answer.body.toString()).toContain('bytes or more; at most');
    await noBlobs('calls');
    expect(json(await upload('small/hash', pieces(2 * MB)))).toMatchObject({ bytes: 2 * MB });
  });

  test('a body over the limit is refused for queued invocations as well', async () => {
    const answer = await upload('small/hash', pieces(3 * MB), {
      prefer: 'respond-async',
      authorization: `Bearer ${platform.key}`,
    });
    expect(answer.status).toBe(413);
    await noBlobs('inputs');
  });
});

describe('a large body of a queued invocation', () => {
  test('a large input lies in the artifact store and not in Redis, reaches the function, and can be replayed [QU16]', async () => {
    let id = '';
    const most = await growth(async () => {
      id = await queue('upload/hash', pieces(LARGE));
      expect(await platform.ended(id)).toMatchObject({ outcome: 'ok', requestBytes: LARGE });
    });
    for (const [name, bytes] of Object.entries(most)) expect(bytes, name).toBeLessThan(FLAT);
    expect(most['redis']).toBeLessThan(FLAT_REDIS);
    const expected = { bytes: LARGE, sha256: await digest(LARGE) };
    expect(await (await platform.api(`/invocations/${id}/result`)).json()).toEqual(expected);

    const again = await platform.api(`/invocations/${id}/replay`, { method: 'POST', body: '{}' });
    const replayed = ((await again.json()) as Accepted).id;
    expect(await platform.ended(replayed)).toMatchObject({
      outcome: 'ok',
      replayOf: id,
      requestBytes: LARGE,
    });
    expect(await (await platform.api(`/invocations/${replayed}/result`)).json()).toEqual(expected);
    // Each replay has an input of its own.
    expect(await blobs('inputs')).toHaveLength(2);
  }, 90_000);

  test('a large result is streamed out, with status and headers [QU16]', async () => {
    const id = await queue('upload/produce?mb=50&status=201', only('go'));
    expect(await platform.ended(id)).toMatchObject({ outcome: 'ok', status: 201, responseBytes: 50 * MB });
    const most = await growth(async () => {
      const response = await platform.api(`/invocations/${id}/result`);
      expect(response.status).toBe(201);
      expect(response.headers.get('x-made-by')).toBe('upload');
      expect(response.headers.get('content-length')).toBe(String(50 * MB));
      let bytes = 0;
      for await (const chunk of response.body ?? []) bytes += chunk.length;
      expect(bytes).toBe(50 * MB);
    });
    expect(most['gateway']).toBeLessThan(FLAT);
  }, 60_000);

  test('nothing is kept of a result that breaks off', async () => {
    const before = await blobs('results');
    const id = await queue('upload/produce?mb=8&rest=20000', only('go'));
    await expect.poll(async () => (await blobs('results')).length).toBe(before.length + 1);
    const response = await platform.api(`/invocations/${id}/cancel`, { method: 'POST' });
    expect(response.status).toBe(202);
    expect(await platform.ended(id)).toMatchObject({ outcome: 'cancelled' });
    await expect.poll(() => blobs('results'), { timeout: 5_000 }).toEqual(before);
  }, 60_000);

  test('a large body under the same Idempotency-Key is the same invocation, and is kept once', async () => {
    const before = (await blobs('inputs')).length;
    const key = { 'idempotency-key': 'large-1' };
    const id = await queue('upload/hash', pieces(5 * MB), key);
    expect(await queue('upload/hash', pieces(5 * MB), key)).toBe(id);
    const other = await upload('upload/hash', pieces(6 * MB), {
      prefer: 'respond-async',
      authorization: `Bearer ${platform.key}`,
      ...key,
    });
    expect(other.status).toBe(422);
    expect(await platform.ended(id)).toMatchObject({ outcome: 'ok', requestBytes: 5 * MB });
    await expect.poll(async () => (await blobs('inputs')).length).toBe(before + 1);
  }, 30_000);

  test('a large body whose headers are invalid is refused before it is read', async () => {
    const before = await blobs('inputs');
    const answer = await upload('upload/hash', pieces(20 * MB), {
      prefer: 'respond-async',
      authorization: `Bearer ${platform.key}`,
      'x-offshoot-delay': 'soon',
    });
    expect(answer.status).toBe(400);
    expect(await blobs('inputs')).toEqual(before);
  });

  test('an invocation whose input is gone ends with an error that says so', async () => {
    const id = await queue('upload/hash', pieces(2 * MB), { 'x-offshoot-delay': '1' });
    for (const name of await blobs('inputs'))
      await rm(join(platform.state, 'blobs/inputs', name), { force: true });
    const record = await platform.ended(id);
    expect(record).toMatchObject({ message: expect.stringContaining('input is not there') });
  }, 30_000);
});

describe('a streamed response that stands still', () => {
  test('a streamed response that stands still ends as stream_idle, which names the setting [LM12]', async () => {
    const response = await platform.call('stall/produce?mb=1&rest=8000');
    expect(response.status).toBe(200);
    await expect(response.arrayBuffer()).rejects.toThrow();
    const record = await platform.record(response);
    expect(record.outcome).toBe('stream_idle');
    // The function stops producing when its stream is cancelled, so nothing has to end its sandbox.
    expect(record.report?.exitCause).toBeUndefined();
    expect(record.duration).toBeGreaterThan(1_000);
    expect(record.duration).toBeLessThan(6_000);
  });

  test('a slow reader does not end its response as stream_idle, and no process grows by it', async () => {
    const most = await growth(async () => {
      // More than all buffers on the way can hold.
      const response = await platform.call('stall/produce?mb=60');
      const reader = response.body?.getReader();
      await reader?.read();
      // Three times the silence that is allowed to the function.
      await sleep(3_000);
      let bytes = 0;
      for (let next = await reader?.read(); next && !next.done; next = await reader?.read())
        bytes += next.value.length;
      expect(bytes).toBeGreaterThan(58 * MB);
      expect((await platform.record(response)).outcome).toBe('ok');
    });
    for (const [name, bytes] of Object.entries(most)) expect(bytes, name).toBeLessThan(FLAT);
  }, 30_000);
});
