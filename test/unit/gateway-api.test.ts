/** /api/v1: deploying, looking, keys, logs; and that each mistake gets a clear answer. */
import { createHash } from 'node:crypto';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { request, type IncomingMessage } from 'node:http';
import { once } from 'node:events';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import * as tar from 'tar-stream';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { ApiKeyRecord, DeployResult, FunctionDetail, InvocationDetail } from '#contract/api.ts';
import { keys } from '#contract/keys.ts';
import { MAX_ARCHIVE_BYTES } from '#contract/limits.ts';
import { FakeWorker, type FakeCall, type FakeHandler } from './gateway-fake-worker.ts';
import {
  PrivateRedis,
  send,
  startGateway,
  waitFor,
  type RawResponse,
  type TestGateway,
} from './gateway-fixture.ts';

let redis: PrivateRedis;
let gateway: TestGateway;
let worker: FakeWorker;
let handler: FakeHandler;
let call: FakeCall | undefined;

const answer: FakeHandler = (one) =>
  one.result({ status: 200, headers: [] }, Buffer.from(`v${one.header.version}`));

beforeAll(async () => {
  redis = await PrivateRedis.start();
  gateway = await startGateway(redis);
  worker = new FakeWorker(redis.url, 'w1', (one) => {
    call = one;
    handler(one);
  });
  await worker.start();
});
beforeEach(() => {
  handler = answer;
  call = undefined;
});
afterAll(async () => {
  await worker.stop();
  await gateway.close();
  await redis.stop();
});

interface ApiOptions {
  readonly method?: string;
  readonly key?: string;
  readonly json?: unknown;
  readonly body?: Uint8Array;
  readonly headers?: Record<string, string>;
}

async function api(path: string, options: ApiOptions = {}): Promise<RawResponse> {
  const { json, body, method = json === undefined ? 'GET' : 'POST' } = options;
  const sent = json === undefined ? body : JSON.stringify(json);
  return await send(gateway, `/api/v1${path}`, {
    method,
    headers: {
      authorization: `Bearer ${options.key ?? gateway.key}`,
      ...(json !== undefined && { 'content-type': 'application/json' }),
      ...(sent !== undefined && { 'content-length': String(Buffer.byteLength(sent)) }),
      ...options.headers,
    },
    ...(sent !== undefined && { body: sent }),
  });
}

async function newKey(namespace: string, scopes: string[]): Promise<ApiKeyRecord & { key: string }> {
  return (await api('/keys', { json: { namespace, scopes } })).json() as ApiKeyRecord & { key: string };
}

async function archive(files: Record<string, string>): Promise<{ digest: string; bytes: Buffer }> {
  const packed = tar.pack();
  for (const [name, text] of Object.entries(files)) packed.entry({ name, mtime: new Date(0) }, text);
  packed.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of packed) chunks.push(chunk as Buffer);
  const bytes = gzipSync(Buffer.concat(chunks));
  return { digest: createHash('sha256').update(bytes).digest('hex'), bytes };
}

async function upload(files: Record<string, string>, key = gateway.key): Promise<string> {
  const { digest, bytes } = await archive(files);
  const response = await api(`/artifacts/${digest}`, { method: 'PUT', body: bytes, key });
  expect([200, 201]).toContain(response.status);
  return digest;
}

async function deploy(
  name: string,
  options: { namespace?: string; key?: string; manifest?: object } = {},
): Promise<RawResponse> {
  const { namespace = 'default', key = gateway.key, manifest = { name } } = options;
  const digest = await upload({ 'index.mjs': `export default '${name}'` });
  return await api(`/functions/${namespace}/${name}/versions`, {
    key,
    json: { digest, entryFile: 'index.mjs', manifest },
  });
}

const code = (response: RawResponse): [number, string | undefined] => [
  response.status,
  (response.json() as { error?: { code: string } }).error?.code,
];

async function print(invocation: string, ...printed: string[]): Promise<void> {
  const lines = printed.map((text) => ({ time: Date.now(), level: 'log', text }));
  await gateway.commands.xadd(
    keys.logStream('default', 'chatty'),
    '*',
    'i',
    invocation,
    'l',
    JSON.stringify(lines),
  );
}

function texts(response: RawResponse): string[] {
  return (response.json() as { logs: { text: string }[] }).logs.map((line) => line.text);
}

async function follow(headers: Record<string, string>): Promise<IncomingMessage> {
  const path = '/api/v1/functions/default/chatty/logs?follow=1';
  const sent = request({
    host: '127.0.0.1',
    port: gateway.port,
    path,
    headers: { 'x-api-key': gateway.key, ...headers },
  }).end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  return response.setEncoding('utf8');
}

describe('the first key', () => {
  test('is in a file that nobody else reads, and may do everything', async () => {
    const file = join(gateway.state, 'admin-key');
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await readFile(file, 'utf8')).toBe(`${gateway.key}\n`);
    expect((await api('/whoami')).json()).toEqual({
      namespace: '*',
      scopes: ['admin', 'deploy', 'read', 'invoke'],
      version: '0.0.0',
    });
  });

  test('is not in Redis, only its hash', async () => {
    const stored = JSON.stringify(await gateway.commands.hgetall(keys.apiKeys()));
    expect(stored).toContain(createHash('sha256').update(gateway.key).digest('hex'));
    expect(stored).not.toContain(gateway.key);
  });

  test('is made good again when Redis has lost everything', async () => {
    const other = await PrivateRedis.start();
    const first = await startGateway(other, { state: gateway.state });
    expect(first.key).toBe(gateway.key);
    const { status } = await send(first, '/api/v1/whoami', { headers: { 'x-api-key': gateway.key } });
    await first.close();
    await other.stop();
    expect(status).toBe(200);
  });
});

describe('deploying', () => {
  test('a function, and the next version of it', async () => {
    const first = await deploy('hello', { manifest: { name: 'hello', access: 'public', memory: 64 } });
    expect(first.status).toBe(201);
    expect(first.json()).toMatchObject({
      function: {
        namespace: 'default',
        name: 'hello',
        activeVersion: 1,
        url: '/fn/default/hello',
        active: {
          version: 1,
          entryFile: 'index.mjs',
          manifest: { memory: 64, timeout: 30, runtime: 'node26' },
        },
      },
      load: { init: 0 },
    });
    expect(call?.header).toMatchObject({
      operation: 'load',
      version: 1,
      namespace: 'default',
      name: 'hello',
    });
    expect((await send(gateway, '/fn/default/hello')).body.toString()).toBe('v1');

    const second = (
      await deploy('hello', { manifest: { name: 'hello', access: 'public' } })
    ).json() as DeployResult;
    expect(second.function.activeVersion).toBe(2);
    // At once: the next call goes to the new version.
    expect((await send(gateway, '/fn/default/hello')).body.toString()).toBe('v2');

    const detail = (await api('/functions/default/hello')).json() as FunctionDetail;
    expect(detail.versions.map((one) => one.version)).toEqual([2, 1]);
    await waitFor(
      async () => ((await api('/functions/default/hello')).json() as FunctionDetail).recent.length === 2,
    );
  });

  test('reaches other gateways at once', async () => {
    const other = await startGateway(redis, { state: gateway.state });
    await deploy('shared', { manifest: { name: 'shared', access: 'public' } });
    expect((await send(other, '/fn/default/shared')).body.toString()).toBe('v1');
    await deploy('shared', { manifest: { name: 'shared', access: 'public' } });
    await waitFor(async () => (await send(other, '/fn/default/shared')).body.toString() === 'v2', 500);
    await other.close();
  });

  test('goes back to an earlier version', async () => {
    await deploy('rolled', { manifest: { name: 'rolled', access: 'public' } });
    await deploy('rolled', { manifest: { name: 'rolled', access: 'public' } });
    const response = await api('/functions/default/rolled/activate', { json: { version: 1 } });
    expect(response.json()).toMatchObject({ activeVersion: 1, active: { version: 1 } });
    expect((await send(gateway, '/fn/default/rolled')).body.toString()).toBe('v1');
    expect(code(await api('/functions/default/rolled/activate', { json: { version: 9 } }))).toEqual([
      409,
      'conflict',
    ]);
    expect(code(await api('/functions/default/rolled/activate', { json: { version: 'x' } }))).toEqual([
      400,
      'bad_request',
    ]);
    expect(((await deploy('rolled')).json() as DeployResult).function.activeVersion).toBe(3);
  });

  test('a version that does not load is not activated and leaves nothing, the old one goes on', async () => {
    await deploy('broken', { manifest: { name: 'broken', access: 'public' } });
    handler = (one) => {
      if (one.header.operation !== 'load') return answer(one);
      // The logs come a moment after the answer, as they may with a real worker.
      setTimeout(() => {
        const line = { time: 1, level: 'error', text: 'about to fail' };
        void gateway.commands.rpush(keys.logs(one.header.id), JSON.stringify(line));
      }, 100);
      return one.failed('load_error', {
        error: {
          name: 'ReferenceError',
          message: 'x is not defined',
          stack: 'ReferenceError\n at src/index.ts:3:1',
        },
        logBytes: 13,
      });
    };
    const response = await deploy('broken', { manifest: { name: 'broken', access: 'public' } });
    expect(response.status).toBe(422);
    expect(response.json()).toMatchObject({
      error: {
        code: 'load_failed',
        message: expect.stringContaining('x is not defined') as string,
        details: {
          outcome: 'load_error',
          error: { name: 'ReferenceError', stack: expect.stringContaining('src/index.ts:3:1') as string },
          logs: [{ level: 'error', text: 'about to fail' }],
        },
      },
    });
    expect((await send(gateway, '/fn/default/broken')).body.toString()).toBe('v1');
    const detail = (await api('/functions/default/broken')).json() as FunctionDetail;
    expect([detail.activeVersion, detail.versions.map((one) => one.version)]).toEqual([1, [1]]);
    // A number is never used twice.
    handler = answer;
    expect(((await deploy('broken')).json() as DeployResult).function.activeVersion).toBe(3);
  });

  test('a function whose first version does not load is not there', async () => {
    handler = (one) => one.failed('load_timeout');
    expect(code(await deploy('stillborn'))).toEqual([422, 'load_failed']);
    expect(code(await api('/functions/default/stillborn'))).toEqual([404, 'function_not_found']);
    expect(await gateway.commands.hlen(keys.versions('default', 'stillborn'))).toBe(0);
  });

  test('when the platform fails it is not the function that is blamed', async () => {
    handler = (one) => one.failed('platform_error');
    const response = await deploy('blameless');
    expect(code(response)).toEqual([500, 'platform_error']);
    expect(await gateway.commands.hlen(keys.versions('default', 'blameless'))).toBe(0);
  });

  test('of two at the same time the newer wins, whichever is loaded first', async () => {
    await deploy('race');
    const loads: FakeCall[] = [];
    handler = (one) => loads.push(one);
    const older = deploy('race');
    await waitFor(() => loads.length === 1);
    const newer = deploy('race');
    await waitFor(() => loads.length === 2);
    loads[1]?.result({ status: 200, headers: [] });
    expect((await newer).status).toBe(201);
    loads[0]?.result({ status: 200, headers: [] });
    expect(code(await older)).toEqual([409, 'conflict']);
    expect(((await api('/functions/default/race')).json() as FunctionDetail).activeVersion).toBe(3);
  });

  test('into a new namespace: workers are told, and its own key may, another may not', async () => {
    const own = await newKey('fresh', ['deploy', 'read', 'invoke']);
    const everywhere = await newKey('*', ['deploy']);
    expect(code(await deploy('fn', { namespace: 'fresh', key: everywhere.key }))).toEqual([403, 'forbidden']);
    const refreshed = worker.refreshed;
    expect((await deploy('fn', { namespace: 'fresh', key: own.key })).status).toBe(201);
    expect(worker.refreshed).toBe(refreshed + 1);
    expect((await deploy('fn2', { namespace: 'fresh', key: everywhere.key })).status).toBe(201);
    expect(code(await api('/functions/default', { key: own.key }))).toEqual([403, 'forbidden']);
    const mine = (await api('/functions', { key: own.key })).json() as { functions: { name: string }[] };
    expect(mine.functions.map((one) => one.name)).toEqual(['fn', 'fn2']);
  });

  test('ends what is deleted', async () => {
    await deploy('doomed', { manifest: { name: 'doomed', access: 'public' } });
    await send(gateway, '/fn/default/doomed');
    expect((await api('/functions/default/doomed', { method: 'DELETE' })).status).toBe(204);
    expect((await send(gateway, '/fn/default/doomed')).status).toBe(404);
    expect(code(await api('/functions/default/doomed', { method: 'DELETE' }))).toEqual([
      404,
      'function_not_found',
    ]);
  });
});

describe('an archive', () => {
  test('is stored once and can be asked for', async () => {
    const { digest, bytes } = await archive({ 'a.mjs': 'unique to this test' });
    const head = async (): Promise<number> => (await api(`/artifacts/${digest}`, { method: 'HEAD' })).status;
    expect(await head()).toBe(404);
    expect((await api(`/artifacts/${digest}`, { method: 'PUT', body: bytes })).status).toBe(201);
    expect(await head()).toBe(200);
    expect((await api(`/artifacts/${digest}`, { method: 'PUT', body: bytes })).status).toBe(200);
  });

  test('whose bytes are not what the digest says is refused', async () => {
    const { digest } = await archive({ 'a.mjs': 'x' });
    expect(code(await api(`/artifacts/${digest}`, { method: 'PUT', body: Buffer.from('y') }))).toEqual([
      400,
      'digest_mismatch',
    ]);
    expect(code(await api('/artifacts/abc', { method: 'PUT', body: Buffer.from('y') }))).toEqual([
      400,
      'bad_request',
    ]);
  });

  test('that announces too many bytes is refused at once', async () => {
    const sent = request({
      host: '127.0.0.1',
      port: gateway.port,
      method: 'PUT',
      path: `/api/v1/artifacts/${'a'.repeat(64)}`,
      headers: { authorization: `Bearer ${gateway.key}`, 'content-length': String(MAX_ARCHIVE_BYTES + 1) },
    });
    sent.flushHeaders();
    sent.on('error', () => undefined);
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    sent.destroy();
    expect(response.statusCode).toBe(413);
  });

  test('with a path that leads out, or without the entry file, is not deployed', async () => {
    const evil = await upload({ '../evil': 'x' });
    const json = { digest: evil, entryFile: 'index.mjs', manifest: { name: 'evil' } };
    expect(code(await api('/functions/default/evil/versions', { json }))).toEqual([400, 'bad_archive']);
    const without = await upload({ 'other.mjs': 'x' });
    const response = await api('/functions/default/evil/versions', { json: { ...json, digest: without } });
    expect(code(response)).toEqual([400, 'bad_archive']);
    expect(response.body.toString()).toContain('index.mjs');
    expect(
      code(await api('/functions/default/evil/versions', { json: { ...json, digest: 'b'.repeat(64) } })),
    ).toEqual([404, 'artifact_not_found']);
  });
});

describe('what is refused, and how', () => {
  test.each([
    [{ name: 'fn', memory: 1 }, 'bad_manifest', /memory/],
    [{ name: 'fn', timeuot: 5 }, 'bad_manifest', /timeuot.*did you mean "timeout"/],
    [{ name: 'other' }, 'bad_manifest', /"other".*"fn"/],
    [{ name: 'Bad Name' }, 'bad_manifest', /name/],
    [{ name: 'fn', env: { OFFSHOOT_X: '1' } }, 'bad_manifest', /OFFSHOOT_/],
  ])('manifest %j', async (manifest, wanted, message) => {
    const response = await deploy('fn', { manifest });
    expect(code(response)).toEqual([400, wanted]);
    expect((response.json() as { error: { message: string } }).error.message).toMatch(message);
  });

  test.each([
    ['GET', '/functions/Bad_Name', 400, 'bad_name'],
    ['GET', '/functions/default/Bad_Name', 400, 'bad_name'],
    ['GET', '/functions/defautl', 404, 'namespace_not_found'],
    ['GET', '/functions/default/nothing', 404, 'function_not_found'],
    ['GET', '/functions/default/nothing/logs', 404, 'function_not_found'],
    ['GET', '/invocations/00000000000000000000000000000000', 404, 'invocation_not_found'],
    ['GET', '/invocations?limit=0', 400, 'bad_request'],
    ['GET', '/nothing', 404, 'not_found'],
    ['POST', '/functions', 404, 'not_found'],
    ['DELETE', '/keys/nothing', 404, 'not_found'],
  ])('%s %s', async (method, path, status, wanted) => {
    expect(code(await api(path, { method }))).toEqual([status, wanted]);
  });

  test('bodies that are not JSON, or not said to be', async () => {
    const path = '/functions/default/fn/versions';
    const bad = {
      method: 'POST',
      body: Buffer.from('{"a":'),
      headers: { 'content-type': 'application/json' },
    };
    expect(code(await api(path, bad))).toEqual([400, 'bad_request']);
    expect(code(await api(path, { ...bad, headers: { 'content-type': 'text/plain' } }))).toEqual([
      400,
      'bad_request',
    ]);
    const large = await api('/keys', { json: { namespace: 'a'.repeat(3e6), scopes: [] } });
    expect(code(large)).toEqual([400, 'bad_request']);
    expect(large.body.toString()).toContain('more than 393216 bytes');
    const chunked = await send(gateway, '/api/v1/keys', {
      method: 'POST',
      headers: { 'x-api-key': gateway.key, 'content-type': 'application/json' },
      body: (async function* () {
        for (let sent = 0; sent < 40; sent++) yield Buffer.alloc(64 * 1024, 'x');
      })(),
    });
    expect(code(chunked)).toEqual([400, 'bad_request']);
  });

  test('each route without a key, with a wrong one and with one that lacks the scope', async () => {
    const document = (await send(gateway, '/api/v1/openapi.json')).json() as {
      paths: Record<string, Record<string, { security?: unknown[] }>>;
    };
    const nobody = await newKey('nowhere', ['invoke']);
    let checked = 0;
    for (const [path, methods] of Object.entries(document.paths)) {
      for (const [method, { security }] of Object.entries(methods)) {
        if (security?.length === 0) continue;
        checked++;
        const target = path
          .replace('{namespace}', 'default')
          .replace('{name}', 'fn')
          .replace('{digest}', 'a'.repeat(64))
          .replace('{id}', 'x');
        const status = async (headers: Record<string, string>): Promise<number> =>
          (await send(gateway, target, { method: method.toUpperCase(), headers })).status;
        expect([path, method, await status({})]).toEqual([path, method, 401]);
        expect(await status({ authorization: 'Bearer osk_wrong' })).toBe(401);
        // A key may cancel and replay what is its own; what belongs to others is not even said to exist.
        const refused = /\{id\}\/(?:cancel|replay|items|seal)$/.test(path) ? 404 : 403;
        if (!path.endsWith('/whoami'))
          expect([path, await status({ 'x-api-key': nobody.key })]).toEqual([path, refused]);
      }
    }
    expect(checked).toBe(39);
  });
});

describe('keys', () => {
  test('are made, listed without themselves, and deleted', async () => {
    const made = await newKey('default', ['invoke', 'invoke']);
    expect(made).toMatchObject({ namespace: 'default', scopes: ['invoke'], last4: made.key.slice(-4) });
    expect(made.key).toMatch(/^osk_[\w-]{43}$/);
    const listed = await api('/keys');
    expect(listed.body.toString()).toContain(made.id);
    expect(listed.body.toString()).not.toContain(made.key);
    expect((await api(`/keys/${made.id}`, { method: 'DELETE' })).status).toBe(204);
    expect(code(await api('/whoami', { key: made.key }))).toEqual([401, 'unauthorized']);
  });

  test('an admin key of one namespace cannot be made, and the last admin key not be deleted', async () => {
    expect(code(await api('/keys', { json: { namespace: 'default', scopes: ['admin'] } }))).toEqual([
      400,
      'bad_request',
    ]);
    const { keys: all } = (await api('/keys')).json() as { keys: ApiKeyRecord[] };
    const admin = all.find((one) => one.scopes.includes('admin'));
    expect(code(await api(`/keys/${admin?.id}`, { method: 'DELETE' }))).toEqual([409, 'conflict']);
  });
});

describe('calling and looking', () => {
  test('an event is handed on as it is, and what the function answers comes back', async () => {
    await deploy('evented');
    handler = (one) => one.result({ status: 202, headers: [['x-own', '1']] }, one.body);
    const response = await api('/functions/default/evented/invoke', { json: { hello: ['wörld'] } });
    expect([response.status, response.headers['x-own']]).toEqual([202, '1']);
    expect(response.headers['x-offshoot-invocation']).toBeDefined();
    expect(response.json()).toEqual({ hello: ['wörld'] });
    expect(call?.meta).toMatchObject({ kind: 'event', method: 'POST' });
    expect(JSON.stringify(call?.meta)).not.toContain(gateway.key);
    const bad = { method: 'POST', body: Buffer.from('{'), headers: { 'content-type': 'application/json' } };
    expect(code(await api('/functions/default/evented/invoke', bad))).toEqual([400, 'bad_request']);
    handler = (one) => one.failed('error', { error: { name: 'E', message: 'm' } });
    expect(code(await api('/functions/default/evented/invoke', { json: null }))).toEqual([500, 'error']);
  });

  test('invocations are listed by namespace and function, newest first', async () => {
    await deploy('listed-a', { manifest: { name: 'listed-a', access: 'public' } });
    await deploy('listed-b', { manifest: { name: 'listed-b', access: 'public' } });
    for (const name of ['listed-a', 'listed-b', 'listed-a'])
      await send(gateway, `/fn/default/${name}/${name}`);
    const list = async (query: string, key = gateway.key): Promise<InvocationDetail[]> =>
      ((await api(`/invocations?${query}`, { key })).json() as { invocations: InvocationDetail[] })
        .invocations;
    await waitFor(async () => (await list('name=listed-a')).length === 2);
    expect((await list('limit=3')).map((one) => one.name)).toEqual(['listed-a', 'listed-b', 'listed-a']);
    expect(await list('namespace=fresh&name=listed-a')).toEqual([]);
    const other = await newKey('other', ['read']);
    expect(await list('', other.key)).toEqual([]);
    const [newest] = await list('limit=1');
    // What belongs to another namespace is not even said to exist.
    expect(code(await api(`/invocations/${newest?.id}`, { key: other.key }))).toEqual([
      404,
      'invocation_not_found',
    ]);
  });

  test('logs are given, since a time, and followed', async () => {
    await deploy('chatty');
    await print('one', 'a', 'b');
    await new Promise((resolve) => setTimeout(resolve, 5));
    const later = Date.now();
    await print('two', 'c');
    expect(texts(await api('/functions/default/chatty/logs'))).toEqual(['a', 'b', 'c']);
    expect(texts(await api(`/functions/default/chatty/logs?since=${later}`))).toEqual(['c']);
    expect((await api('/functions/default/chatty/logs')).json()).toMatchObject({
      logs: [{ invocation: 'one' }, {}, { invocation: 'two' }],
    });

    const first = await follow({});
    expect(first.headers['content-type']).toContain('text/event-stream');
    let received = '';
    first.on('data', (text: string) => (received += text));
    await print('three', 'd', 'e');
    await waitFor(() => received.includes('"e"'));
    expect(received).not.toContain('"c"');
    expect(received.match(/^id: /gm)).toHaveLength(1);
    first.destroy();

    // From where it broke off.
    await print('four', 'f');
    const second = await follow({ 'last-event-id': /^id: (.+)$/m.exec(received)?.[1] ?? '' });
    const [text] = (await once(second, 'data')) as [string];
    expect(text).toContain('"f"');
    expect(text).not.toContain('"e"');
    second.destroy();
  });

  test('workers and health', async () => {
    expect((await api('/workers')).json()).toMatchObject({ workers: [{ id: 'w1', capacity: 64 }] });
    expect((await send(gateway, '/healthz')).json()).toEqual({ status: 'ok', redis: true, workers: 1 });
    await gateway.commands.config('SET', 'maxmemory-policy', 'allkeys-lru');
    const careful = await startGateway(redis, { state: gateway.state });
    await waitFor(async () => (await send(careful, '/healthz')).body.includes('degraded'));
    await gateway.commands.config('SET', 'maxmemory-policy', 'noeviction');
    await careful.close();
  });
});

describe('the documentation', () => {
  test('is an OpenAPI 3.1 document of all routes, and a page that loads nothing', async () => {
    const response = await send(gateway, '/api/v1/openapi.json');
    const document = response.json() as { openapi: string; paths: Record<string, unknown> };
    expect(document.openapi).toBe('3.1.0');
    expect(Object.keys(document.paths)).toContain('/api/v1/functions/{namespace}/{name}/versions');
    expect(document.paths['/api/v1/artifacts/{digest}']).toMatchObject({ head: {}, put: {} });
    expect(document.paths['/api/v1/artifacts/{digest}']).not.toHaveProperty('get');
    // What a receiver of callbacks gets is part of it.
    const told = JSON.stringify(document.paths['/api/v1/functions/{namespace}/{name}/invocations']);
    expect(told).toContain('{$request.header.x-offshoot-callback}');
    expect(told).toContain('"const":"invocation.ended"');
    const page = await send(gateway, '/api/v1/docs');
    expect(page.headers['content-security-policy']).toContain("default-src 'none'");
    expect(page.body.toString()).not.toMatch(/<script|src=|https?:\/\/(?!localhost)/);
    expect(page.body.toString()).toContain('/api/v1/functions/{namespace}/{name}/versions');
  });
});

test('a fault of the platform is told as such and does not end it', async () => {
  // A file where a directory of the store should be. (A really full disk: storage-artifacts.test.ts)
  const other = await startGateway(redis, { state: gateway.state });
  const { bytes, digest } = await archive({ 'a.mjs': 'no room' });
  await writeFile(join(gateway.state, 'artifacts', digest.slice(0, 2)), '').catch(() => undefined);
  const response = await send(other, `/api/v1/artifacts/${digest}`, {
    method: 'PUT',
    body: bytes,
    headers: { 'x-api-key': gateway.key },
  });
  expect([response.status, (response.json() as { error: { code: string } }).error.code]).toEqual([
    500,
    'internal',
  ]);
  expect((await send(other, '/healthz')).status).toBe(200);
  await other.close();
});
