/**
 * A whole platform whose artifact store is a bucket, and the fate of its work while the server of that bucket is away.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Accepted, AnyInvocationDetail } from '#contract/api/api.ts';
import type { ItemResult, ItemsTaken } from '#contract/invocations/batch.ts';
import { Platform } from '../support/platform/platform.ts';
import { S3Server } from '../support/servers/s3-server.ts';

const MB = 1024 * 1024;
const LARGE = 200 * MB;
/** Growth allowed, as in large-bodies.test.ts: buffers, and garbage that is not collected yet. */
const FLAT = 100 * MB;

describe('a platform with its artifact store in S3', () => {
  let server: S3Server;
  let platform: Platform;
  beforeAll(async () => {
    server = await S3Server.start();
    platform = await Platform.start(server.environment('team/offshoot'));
    await platform.deploy('hello-fetch');
    await platform.deploy('orders');
    await platform.deploy('upload', { timeout: 60 });
    await upload('upload/hash', pieces(20 * MB));
  }, 90_000);
  afterAll(async () => {
    await platform.stop();
    await server.stop();
  });

  /** Keys below one place of the prefix. */
  async function objects(place: string): Promise<string[]> {
    const start = `team/offshoot/${place}`;
    return (await server.files()).filter((file) => file.startsWith(start));
  }

  async function upload(path: string, body: AsyncIterable<Buffer>, headers = {}): Promise<Answer> {
    const sent = httpRequest(`${platform.url}/fn/default/${path}`, { method: 'POST', headers });
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      sent.on('response', resolve).on('error', reject);
    });
    Readable.from(body, { objectMode: false }).pipe(sent);
    const response = await answered;
    const chunks = (await response.toArray()) as Buffer[];
    const text = Buffer.concat(chunks).toString();
    return { status: response.statusCode ?? 0, headers: response.headers, body: JSON.parse(text) as unknown };
  }

  async function queue(path: string, body: AsyncIterable<Buffer>, headers = {}): Promise<string> {
    const answer = await upload(path, body, {
      prefer: 'respond-async',
      authorization: `Bearer ${platform.key}`,
      ...headers,
    });
    expect(answer.status).toBe(202);
    return (answer.body as Accepted).id;
  }

  async function batch(items: readonly unknown[]): Promise<string> {
    const body = items.map((item) => `${JSON.stringify(item)}\n`).join('');
    const response = await fetch(`${platform.url}/api/v1/functions/default/orders/batches`, {
      method: 'POST',
      headers: { authorization: `Bearer ${platform.key}`, 'content-type': 'application/x-ndjson' },
      body,
    });
    expect(response.status).toBe(202);
    return ((await response.json()) as ItemsTaken).batch.id;
  }

  async function resultsOf(id: string): Promise<ItemResult[]> {
    const text = await (await platform.api(`/batches/${id}/results?wait=1`)).text();
    return text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as ItemResult);
  }

  /** Largest growth of gateway and worker while `work` ran. */
  async function growth(work: () => Promise<void>): Promise<number> {
    const look = async (): Promise<number[]> =>
      await Promise.all([memoryOf(platform.pid('gateway')), memoryOf(platform.pid('worker'))]);
    const before = await look();
    let most = 0;
    const measure = async (): Promise<void> => {
      for (const [at, now] of (await look()).entries()) most = Math.max(most, now - (before[at] ?? 0));
    };
    const timer = setInterval(() => void measure(), 20);
    await work();
    clearInterval(timer);
    await measure();
    if (process.env['SHOW_GROWTH']) console.log(most);
    return most;
  }

  test('archives are in the bucket, and none in the directory of the platform [AR1]', async () => {
    expect((await platform.call('hello-fetch')).status).toBe(200);
    expect(await objects('artifacts/')).toHaveLength(3);
    for (const name of ['artifacts', 'blobs']) expect(existsSync(join(platform.state, name))).toBe(false);
  });

  test('a large body reaches a caller who waits, and no process grows by it [AR3]', async () => {
    const expected = { bytes: LARGE, sha256: await digest(LARGE) };
    const most = await growth(async () => {
      expect((await upload('upload/hash', pieces(LARGE))).body).toEqual(expected);
    });
    expect(most).toBeLessThan(FLAT);
    await expect.poll(() => objects('blobs/calls')).toEqual([]);
    expect(await readdir(join(platform.state, 'scratch'))).toEqual([]);
  }, 60_000);

  test('a large body and a large result of a queued invocation are kept in the bucket', async () => {
    const id = await queue('upload/hash', pieces(LARGE));
    expect(await platform.ended(id)).toMatchObject({ outcome: 'ok', requestBytes: LARGE });
    expect(await (await platform.api(`/invocations/${id}/result`)).json()).toEqual({
      bytes: LARGE,
      sha256: await digest(LARGE),
    });
    const large = await queue('upload/produce?mb=50&status=201', pieces(10));
    expect(await platform.ended(large)).toMatchObject({ outcome: 'ok', status: 201, responseBytes: 50 * MB });
    expect(await objects('blobs/results')).toHaveLength(1);
    const most = await growth(async () => {
      const response = await platform.api(`/invocations/${large}/result`);
      let bytes = 0;
      for await (const chunk of response.body ?? []) bytes += chunk.length;
      expect(bytes).toBe(50 * MB);
    });
    expect(most).toBeLessThan(FLAT);
  }, 90_000);

  test('a batch runs and gives its results in order', async () => {
    const items = Array.from({ length: 230 }, (_, at) => ({ quantity: at }));
    const results = await resultsOf(await batch(items));
    expect(results.map(({ index, ok }) => [index, ok])).toEqual(items.map((_, at) => [at, true]));
  }, 30_000);

  test('a function that reads slowly holds its body back, and loses nothing of it', async () => {
    expect((await upload('upload/slow?ms=5', pieces(40 * MB))).body).toEqual({ bytes: 40 * MB });
  }, 60_000);

  test('while the server is away, requests get an error, nothing is lost, and all works again when it is back [AR4]', async () => {
    const waiting = await queue('upload/hash', pieces(5 * MB), { 'x-offshoot-delay': '5' });
    // Its items are read before the server goes away, and its results are written while it is away.
    const slow = Array.from({ length: 60 }, (_, at) => ({ quantity: at, sleepMs: 50 }));
    const running = await batch(slow);
    await sleep(500);
    await server.kill();

    const refused = await upload('upload/hash', pieces(5 * MB));
    expect(refused.status).toBe(503);
    expect(refused.headers['retry-after']).toBe('1');
    expect(refused.body).toMatchObject({ error: { code: 'storage_unavailable' } });
    const { code, stderr, stdout } = await platform.cli(
      'deploy',
      join(platform.state, 'projects', await project()),
    );
    expect(code).not.toBe(0);
    expect(stderr + stdout).toMatch(/the artifact store does not answer \(ECONNREFUSED\)/);
    // Work that needs no artifact store goes on.
    expect((await platform.call('hello-fetch')).status).toBe(200);
    await sleep(6_000);
    const meanwhile = (await (await platform.api(`/invocations/${waiting}`)).json()) as AnyInvocationDetail;
    expect(meanwhile.state).not.toBe('done');

    await server.resume();
    const end = await platform.ended(waiting);
    expect(end).toMatchObject({ outcome: 'ok', requestBytes: 5 * MB });
    // The invocation waited, and did not fail.
    expect(end.attempts?.map(({ outcome }) => outcome)).toEqual(['ok']);
    const results = await resultsOf(running);
    expect(results.map(({ index, ok, tries }) => [index, ok, tries])).toEqual(
      slow.map((_, at) => [at, true, 1]),
    );
    expect((await upload('upload/hash', pieces(5 * MB))).body).toMatchObject({ bytes: 5 * MB });
    await platform.deploy('upload', { timeout: 60, memory: 200 });
  }, 120_000);

  test('a platform starts while the server is away, and fetches code when it is back', async () => {
    await server.kill();
    await platform.kill('worker');
    await rm(join(platform.state, 'code'), { recursive: true });
    await platform.kill('gateway');
    platform.run('worker');
    platform.run('gateway');
    await platform.ready();
    await expect
      .poll(() => platform.output, { timeout: 10_000 })
      .toContain('the artifact store cannot be used');
    const failed = await platform.call('hello-fetch');
    expect(failed.headers.get('x-offshoot-outcome')).toBe('platform_error');
    expect(await failed.text()).toContain('the artifact store does not answer');
    await server.resume();
    expect((await platform.call('hello-fetch')).status).toBe(200);
  }, 60_000);

  test('code that was changed in the bucket does not run [AR5]', async () => {
    const archives = (await objects('artifacts/')).map((key) => join(server.bucket, key));
    // All are sound archives, each under the digest of another.
    const contents = await Promise.all(archives.map((path) => readFile(path)));
    for (const [at, path] of archives.entries())
      await writeFile(path, contents[(at + 1) % contents.length] as Buffer);
    const fresh = async (): Promise<Response> => {
      await platform.kill('worker');
      await rm(join(platform.state, 'code'), { recursive: true });
      platform.run('worker');
      await platform.ready();
      return await platform.call('hello-fetch');
    };
    const refused = await fresh();
    expect(refused.headers.get('x-offshoot-outcome')).toBe('platform_error');
    expect(await refused.text()).toContain('has other bytes under the digest');
    for (const [at, path] of archives.entries()) await writeFile(path, contents[at] as Buffer);
    expect((await fresh()).status).toBe(200);
  }, 60_000);

  async function project(): Promise<string> {
    const all = await readdir(join(platform.state, 'projects'));
    return all.find((name) => name.startsWith('hello-fetch')) ?? '';
  }
});

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: unknown;
}

async function* pieces(bytes: number, piece = 256 * 1024): AsyncGenerator<Buffer> {
  for (let at = 0, number = 0; at < bytes; at += piece, number++) {
    const chunk = Buffer.alloc(Math.min(piece, bytes - at), number % 253);
    if (chunk.length >= 4) chunk.writeUInt32LE(number);
    yield chunk;
  }
}

async function digest(bytes: number): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of pieces(bytes)) hash.update(chunk);
  return hash.digest('hex');
}

async function memoryOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024;
}
