/** /api/v1: reads, keys, logs; and each mistake gets a clear answer. */
import { createHash } from 'node:crypto';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { request, type IncomingMessage } from 'node:http';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { ApiKeyRecord, InvocationDetail } from '#contract/api/api.ts';
import { keys } from '#contract/platform/keys.ts';
import { packArchive } from '../../../support/platform/archive.ts';
import { GatewayBench, problemOf } from '../../../support/gateway/gateway-bench.ts';
import {
  send,
  startGateway,
  waitFor,
  type RawResponse,
  PrivateRedis,
} from '../../../support/gateway/fixture.ts';

let bench: GatewayBench;

beforeAll(async () => {
  bench = await GatewayBench.start((one) =>
    one.result({ status: 200, headers: [] }, Buffer.from(`v${one.header.version}`)),
  );
});
beforeEach(() => bench.reset());
afterAll(() => bench.stop());

async function print(invocation: string, ...printed: string[]): Promise<void> {
  const lines = printed.map((text) => ({ time: Date.now(), level: 'log', text }));
  await bench.gateway.commands.xadd(
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
    port: bench.gateway.port,
    path,
    headers: { 'x-api-key': bench.gateway.key, ...headers },
  }).end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  return response.setEncoding('utf8');
}

describe('the first key', () => {
  test('the first key is in a file that no other user can read, and may do everything', async () => {
    const file = join(bench.gateway.state, 'admin-key');
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await readFile(file, 'utf8')).toBe(`${bench.gateway.key}\n`);
    expect((await bench.api('/whoami')).json()).toEqual({
      namespace: '*',
      scopes: ['admin', 'deploy', 'read', 'invoke'],
      version: '0.0.0',
    });
  });

  test('the first key is not in Redis, only its hash', async () => {
    const stored = JSON.stringify(await bench.gateway.commands.hgetall(keys.apiKeys()));
    expect(stored).toContain(createHash('sha256').update(bench.gateway.key).digest('hex'));
    expect(stored).not.toContain(bench.gateway.key);
  });

  test('the first key works again after Redis has lost everything', async () => {
    const other = await PrivateRedis.start();
    const first = await startGateway(other, { state: bench.gateway.state });
    expect(first.key).toBe(bench.gateway.key);
    const { status } = await send(first, '/api/v1/whoami', { headers: { 'x-api-key': bench.gateway.key } });
    await first.close();
    await other.stop();
    expect(status).toBe(200);
  });
});

describe('refusals', () => {
  test.each([
    [{ name: 'fn', memory: 1 }, 'bad_manifest', /memory/],
    [{ name: 'fn', timeuot: 5 }, 'bad_manifest', /timeuot.*did you mean "timeout"/],
    [{ name: 'other' }, 'bad_manifest', /"other".*"fn"/],
    [{ name: 'Bad Name' }, 'bad_manifest', /name/],
    [{ name: 'fn', env: { OFFSHOOT_X: '1' } }, 'bad_manifest', /OFFSHOOT_/],
  ])('a deploy is refused with the reason: manifest %j', async (manifest, wanted, message) => {
    const response = await bench.deploy('fn', { manifest });
    expect(problemOf(response)).toEqual([400, wanted]);
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
  ])('a bad request is refused with its reason: %s %s', async (method, path, status, wanted) => {
    expect(problemOf(await bench.api(path, { method }))).toEqual([status, wanted]);
  });

  test('bodies that are not JSON, or not declared as such, are refused', async () => {
    const path = '/functions/default/fn/versions';
    const bad = {
      method: 'POST',
      body: Buffer.from('{"a":'),
      headers: { 'content-type': 'application/json' },
    };
    expect(problemOf(await bench.api(path, bad))).toEqual([400, 'bad_request']);
    expect(problemOf(await bench.api(path, { ...bad, headers: { 'content-type': 'text/plain' } }))).toEqual([
      400,
      'bad_request',
    ]);
    const large = await bench.api('/keys', { json: { namespace: 'a'.repeat(3e6), scopes: [] } });
    expect(problemOf(large)).toEqual([400, 'bad_request']);
    expect(large.body.toString()).toContain('more than 393216 bytes');
    const chunked = await send(bench.gateway, '/api/v1/keys', {
      method: 'POST',
      headers: { 'x-api-key': bench.gateway.key, 'content-type': 'application/json' },
      body: (async function* () {
        for (let sent = 0; sent < 40; sent++) yield Buffer.alloc(64 * 1024, 'x');
      })(),
    });
    expect(problemOf(chunked)).toEqual([400, 'bad_request']);
  });

  test('each route refuses a request without a key, with a wrong one and with one that lacks the scope', async () => {
    const document = (await send(bench.gateway, '/api/v1/openapi.json')).json() as {
      paths: Record<string, Record<string, { security?: unknown[] }>>;
    };
    const nobody = await bench.newKey('nowhere', ['invoke']);
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
          (await send(bench.gateway, target, { method: method.toUpperCase(), headers })).status;
        expect([path, method, await status({})]).toEqual([path, method, 401]);
        expect(await status({ authorization: 'Bearer osk_wrong' })).toBe(401);
        // A key may cancel and replay its own invocations; the existence of others is not revealed.
        const refused = /\{id\}\/(?:cancel|replay|items|seal)$/.test(path) ? 404 : 403;
        if (!path.endsWith('/whoami'))
          expect([path, await status({ 'x-api-key': nobody.key })]).toEqual([path, refused]);
      }
    }
    expect(checked).toBe(39);
  });
});

describe('keys', () => {
  test('keys are made, listed without themselves, and deleted', async () => {
    const made = await bench.newKey('default', ['invoke', 'invoke']);
    expect(made).toMatchObject({ namespace: 'default', scopes: ['invoke'], last4: made.key.slice(-4) });
    expect(made.key).toMatch(/^osk_[\w-]{43}$/);
    const listed = await bench.api('/keys');
    expect(listed.body.toString()).toContain(made.id);
    expect(listed.body.toString()).not.toContain(made.key);
    expect((await bench.api(`/keys/${made.id}`, { method: 'DELETE' })).status).toBe(204);
    expect(problemOf(await bench.api('/whoami', { key: made.key }))).toEqual([401, 'unauthorized']);
  });

  test('an admin key of one namespace cannot be made, and the last admin key cannot be deleted', async () => {
    expect(
      problemOf(await bench.api('/keys', { json: { namespace: 'default', scopes: ['admin'] } })),
    ).toEqual([400, 'bad_request']);
    const { keys: all } = (await bench.api('/keys')).json() as { keys: ApiKeyRecord[] };
    const admin = all.find((one) => one.scopes.includes('admin'));
    expect(problemOf(await bench.api(`/keys/${admin?.id}`, { method: 'DELETE' }))).toEqual([409, 'conflict']);
  });
});

describe('calling and looking', () => {
  test('an event is passed on unchanged, and the answer of the function comes back', async () => {
    await bench.deploy('evented');
    bench.handler = (one) => one.result({ status: 202, headers: [['x-own', '1']] }, one.body);
    const response = await bench.api('/functions/default/evented/invoke', { json: { hello: ['wörld'] } });
    expect([response.status, response.headers['x-own']]).toEqual([202, '1']);
    expect(response.headers['x-offshoot-invocation']).toBeDefined();
    expect(response.json()).toEqual({ hello: ['wörld'] });
    expect(bench.call.meta).toMatchObject({ kind: 'event', method: 'POST' });
    expect(JSON.stringify(bench.call.meta)).not.toContain(bench.gateway.key);
    const bad = { method: 'POST', body: Buffer.from('{'), headers: { 'content-type': 'application/json' } };
    expect(problemOf(await bench.api('/functions/default/evented/invoke', bad))).toEqual([
      400,
      'bad_request',
    ]);
    bench.handler = (one) => one.failed('error', { error: { name: 'E', message: 'm' } });
    expect(problemOf(await bench.api('/functions/default/evented/invoke', { json: null }))).toEqual([
      500,
      'error',
    ]);
  });

  test('invocations are listed by namespace and function, newest first', async () => {
    await bench.deploy('listed-a', { manifest: { name: 'listed-a', access: 'public' } });
    await bench.deploy('listed-b', { manifest: { name: 'listed-b', access: 'public' } });
    for (const name of ['listed-a', 'listed-b', 'listed-a'])
      await send(bench.gateway, `/fn/default/${name}/${name}`);
    const list = async (query: string, key = bench.gateway.key): Promise<InvocationDetail[]> =>
      ((await bench.api(`/invocations?${query}`, { key })).json() as { invocations: InvocationDetail[] })
        .invocations;
    await waitFor(async () => (await list('name=listed-a')).length === 2);
    expect((await list('limit=3')).map((one) => one.name)).toEqual(['listed-a', 'listed-b', 'listed-a']);
    expect(await list('namespace=fresh&name=listed-a')).toEqual([]);
    const other = await bench.newKey('other', ['read']);
    expect(await list('', other.key)).toEqual([]);
    const [newest] = await list('limit=1');
    // The existence of invocations of another namespace is not revealed.
    expect(problemOf(await bench.api(`/invocations/${newest?.id}`, { key: other.key }))).toEqual([
      404,
      'invocation_not_found',
    ]);
  });

  test('logs are returned, from a time on, and followed', async () => {
    await bench.deploy('chatty');
    await print('one', 'a', 'b');
    await new Promise((resolve) => setTimeout(resolve, 5));
    const later = Date.now();
    await print('two', 'c');
    expect(texts(await bench.api('/functions/default/chatty/logs'))).toEqual(['a', 'b', 'c']);
    expect(texts(await bench.api(`/functions/default/chatty/logs?since=${later}`))).toEqual(['c']);
    expect((await bench.api('/functions/default/chatty/logs')).json()).toMatchObject({
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

    // It continues where it broke off.
    await print('four', 'f');
    const second = await follow({ 'last-event-id': /^id: (.+)$/m.exec(received)?.[1] ?? '' });
    const [text] = (await once(second, 'data')) as [string];
    expect(text).toContain('"f"');
    expect(text).not.toContain('"e"');
    second.destroy();
  });

  test('workers and health can be read', async () => {
    expect((await bench.api('/workers')).json()).toMatchObject({ workers: [{ id: 'w1', capacity: 64 }] });
    expect((await send(bench.gateway, '/healthz')).json()).toEqual({ status: 'ok', redis: true, workers: 1 });
    await bench.gateway.commands.config('SET', 'maxmemory-policy', 'allkeys-lru');
    const careful = await startGateway(bench.redis, { state: bench.gateway.state });
    await waitFor(async () => (await send(careful, '/healthz')).body.includes('degraded'));
    await bench.gateway.commands.config('SET', 'maxmemory-policy', 'noeviction');
    await careful.close();
  });
});

describe('the documentation', () => {
  test('the documentation is an OpenAPI 3.1 document of all routes, and a page that loads nothing from elsewhere', async () => {
    const response = await send(bench.gateway, '/api/v1/openapi.json');
    const document = response.json() as { openapi: string; paths: Record<string, unknown> };
    expect(document.openapi).toBe('3.1.0');
    expect(Object.keys(document.paths)).toContain('/api/v1/functions/{namespace}/{name}/versions');
    expect(document.paths['/api/v1/artifacts/{digest}']).toMatchObject({ head: {}, put: {} });
    expect(document.paths['/api/v1/artifacts/{digest}']).not.toHaveProperty('get');
    // The body of a callback is part of the document.
    const told = JSON.stringify(document.paths['/api/v1/functions/{namespace}/{name}/invocations']);
    expect(told).toContain('{$request.header.x-offshoot-callback}');
    expect(told).toContain('"const":"invocation.ended"');
    const page = await send(bench.gateway, '/api/v1/docs');
    expect(page.headers['content-security-policy']).toContain("default-src 'none'");
    expect(page.body.toString()).not.toMatch(/<script|src=|https?:\/\/(?!localhost)/);
    expect(page.body.toString()).toContain('/api/v1/functions/{namespace}/{name}/versions');
  });
});

test('an internal error is reported as such and does not end the gateway', async () => {
  // A file where a directory of the store should be. (A really full disk: artifacts/artifacts.test.ts)
  const other = await startGateway(bench.redis, { state: bench.gateway.state });
  const { bytes, digest } = await packArchive({ 'a.mjs': 'no room' });
  await writeFile(join(bench.gateway.state, 'artifacts', digest.slice(0, 2)), '').catch(() => undefined);
  const response = await send(other, `/api/v1/artifacts/${digest}`, {
    method: 'PUT',
    body: bytes,
    headers: { 'x-api-key': bench.gateway.key },
  });
  expect([response.status, (response.json() as { error: { code: string } }).error.code]).toEqual([
    500,
    'internal',
  ]);
  expect((await send(other, '/healthz')).status).toBe(200);
  await other.close();
});
