/** /fn/{namespace}/{name}/{path}: what a function gets of a request, and what a caller gets of its answer. */
import { request, type IncomingMessage } from 'node:http';
import { createConnection } from 'node:net';
import { once } from 'node:events';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { InvocationDetail } from '#contract/api.ts';
import { STREAM_WINDOW_BYTES } from '#contract/limits.ts';
import { OUTCOMES } from '#contract/outcome.ts';
import { runSpanId } from '#contract/trace.ts';
import { FakeWorker, type FakeCall, type FakeHandler } from './gateway-fake-worker.ts';
import { PrivateRedis, send, startGateway, waitFor, type TestGateway } from './gateway-fixture.ts';

const MAX_BODY = 64 * 1024;

let redis: PrivateRedis;
let gateway: TestGateway;
let worker: FakeWorker;
let handler: FakeHandler;
let call: FakeCall;

beforeAll(async () => {
  redis = await PrivateRedis.start();
  gateway = await startGateway(redis, { env: { OFFSHOOT_MAX_BODY_BYTES: String(MAX_BODY) } });
  await gateway.add('open');
  await gateway.add('closed', { access: 'key' });
  worker = new FakeWorker(redis.url, 'w1', (one) => {
    call = one;
    handler(one);
  });
  await worker.start();
});
beforeEach(() => {
  handler = (one) => one.result({ status: 200, headers: [] }, Buffer.from('hello'));
});
afterAll(async () => {
  await worker.stop();
  await gateway.close();
  await redis.stop();
});

const headersOf = (name: string): string[] =>
  call.meta.headers.filter(([one]) => one === name).map(([, value]) => value);

async function api(path: string): Promise<unknown> {
  const response = await send(gateway, `/api/v1${path}`, {
    headers: { authorization: `Bearer ${gateway.key}` },
  });
  return response.json();
}

async function newKey(namespace: string, scopes: string[]): Promise<string> {
  const response = await send(gateway, '/api/v1/keys', {
    method: 'POST',
    headers: { authorization: `Bearer ${gateway.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ namespace, scopes }),
  });
  return (response.json() as { key: string }).key;
}

async function open(path = '/fn/default/open', method = 'GET'): Promise<IncomingMessage> {
  const sent = request({ host: '127.0.0.1', port: gateway.port, path, method, agent: false });
  sent.end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  return response;
}

async function closedStatus(headers: Record<string, string>): Promise<number> {
  return (await send(gateway, '/fn/default/closed', { headers })).status;
}

describe('the request, as the function sees it', () => {
  test.each([
    ['/fn/default/open', '/'],
    ['/fn/default/open/', '/'],
    ['/fn/default/open?a=1&a=2', '/?a=1&a=2'],
    ['/fn/default/open/a/b?q=%20x#frag', '/a/b?q=%20x#frag'],
    ['/fn/default/open//double//slash', '//double//slash'],
    ['/fn/default/open/../../../api/v1/keys', '/../../../api/v1/keys'],
    ['/fn/default/open/%2e%2e/%2F/%C3%A4', '/%2e%2e/%2F/%C3%A4'],
    ['http://other.example/fn/default/open/absolute', '/absolute'],
  ])('path %s', async (path, seen) => {
    const { status } = await send(gateway, path, { headers: { host: 'my.host:80' } });
    expect(status).toBe(200);
    expect(call.meta.url).toBe(`http://my.host:80${seen}`);
  });

  test.each(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD', 'QUERY'])(
    'method %s',
    async (method) => {
      await send(gateway, '/fn/default/open', { method });
      expect(call.meta).toMatchObject({ kind: 'http', method });
    },
  );

  test('headers keep their order, case of value and repetition', async () => {
    await send(gateway, '/fn/default/open', {
      headers: { Cookie: 'a=1; b=2', 'X-Many': ['One', 'two'], 'X-Empty': '', 'x-latin': 'caf\u00e9' },
    });
    expect(headersOf('x-many')).toEqual(['One', 'two']);
    expect(headersOf('cookie')).toEqual(['a=1; b=2']);
    expect(headersOf('x-empty')).toEqual(['']);
    expect(headersOf('x-latin')).toEqual(['caf\u00e9']);
  });

  test('hop-by-hop headers stay behind, also those that Connection names', async () => {
    await send(gateway, '/fn/default/open', {
      headers: {
        connection: 'close, X-Private',
        'x-private': '1',
        te: 'trailers',
        'keep-alive': '5',
        'x-kept': '1',
      },
    });
    const names = call.meta.headers.map(([name]) => name);
    expect(names).toContain('x-kept');
    for (const name of ['connection', 'x-private', 'te', 'keep-alive']) expect(names).not.toContain(name);
  });

  test('the way it came is told, and not what the caller claims of it', async () => {
    await send(gateway, '/fn/default/open/x', {
      headers: {
        host: 'real.example',
        'x-forwarded-for': '1.2.3.4',
        'x-forwarded-host': 'evil',
        'x-forwarded-proto': 'https',
      },
    });
    expect(headersOf('x-forwarded-for')).toEqual(['127.0.0.1']);
    expect(headersOf('x-forwarded-host')).toEqual(['real.example']);
    expect(headersOf('x-forwarded-proto')).toEqual(['http']);
    expect(headersOf('x-forwarded-prefix')).toEqual(['/fn/default/open']);
  });

  test('the way it came is believed behind a proxy that is trusted', async () => {
    const proxied = await startGateway(redis, { state: gateway.state, env: { OFFSHOOT_TRUST_PROXY: '1' } });
    await send(proxied, '/fn/default/open/x', {
      headers: {
        'x-forwarded-for': '1.2.3.4',
        'x-forwarded-host': 'public.example',
        'x-forwarded-proto': 'https',
      },
    });
    await proxied.close();
    expect(headersOf('x-forwarded-for')).toEqual(['1.2.3.4, 127.0.0.1']);
    expect(call.meta.url).toBe('https://public.example/x');
  });

  test('a binary body, with a length and in chunks', async () => {
    const bytes = Buffer.from(Array.from({ length: 5_000 }, (_, index) => index % 256));
    await send(gateway, '/fn/default/open', { method: 'POST', body: bytes });
    expect(call.body.equals(bytes)).toBe(true);
    const pieces = (async function* () {
      yield bytes.subarray(0, 1);
      yield bytes.subarray(1, 4_000);
      yield bytes.subarray(4_000);
    })();
    await send(gateway, '/fn/default/open', { method: 'POST', body: pieces });
    expect(call.body.equals(bytes)).toBe(true);
    expect(headersOf('content-length')).toEqual(['5000']);
    expect(headersOf('transfer-encoding')).toEqual([]);
  });

  test('a Host that is none is refused', async () => {
    const response = await send(gateway, '/fn/default/open', { headers: { host: 'a/b@c' } });
    expect([response.status, response.json()]).toMatchObject([400, { error: { code: 'bad_request' } }]);
  });
});

describe('the response, as the caller sees it', () => {
  test('status, repeated set-cookie, binary body', async () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, index) => index));
    handler = (one) =>
      one.result(
        {
          status: 418,
          headers: [
            ['set-cookie', 'a=1; Path=/'],
            ['x-a', 'b'],
            ['set-cookie', 'b=2'],
            ['content-length', '9'],
          ],
        },
        bytes,
      );
    const response = await send(gateway, '/fn/default/open');
    expect(response.status).toBe(418);
    expect(response.headers['set-cookie']).toEqual(['a=1; Path=/', 'b=2']);
    expect(response.headers['content-length']).toBe('256');
    expect(response.body.equals(bytes)).toBe(true);
    expect(response.headers['x-offshoot-invocation']).toMatch(/^[0-9a-f]{32}$/);
    expect(response.headers['server-timing']).toMatch(/^gateway;dur=[\d.]+, queue;dur=[\d.]+, acquire;dur=/);
  });

  test('hop-by-hop and platform headers of the function stay behind', async () => {
    handler = (one) =>
      one.result({
        status: 200,
        headers: [
          ['connection', 'x-mine'],
          ['x-mine', '1'],
          ['transfer-encoding', 'chunked'],
          ['x-offshoot-invocation', 'forged'],
          ['server-timing', 'own;dur=1'],
        ],
      });
    const { headers } = await send(gateway, '/fn/default/open');
    expect(headers['x-mine']).toBeUndefined();
    expect(headers['transfer-encoding']).toBeUndefined();
    expect(headers['x-offshoot-invocation']).not.toBe('forged');
    expect(headers['server-timing']).toMatch(/^own;dur=1, gateway;/);
  });

  test.each([204, 205, 304])('%i has no body, whatever the function sends', async (status) => {
    handler = (one) => one.result({ status, headers: [] }, Buffer.from('should not be here'));
    // On one connection, so that a stray body would be taken for the next response.
    const socket = createConnection(gateway.port, '127.0.0.1');
    const text = socket.setEncoding('utf8').toArray();
    const line = 'GET /fn/default/open HTTP/1.1\r\nHost: a\r\n';
    socket.write(`${line}\r\n${line}Connection: close\r\n\r\n`);
    const all = (await text).join('');
    expect(all.match(/HTTP\/1\.1 /g)).toHaveLength(2);
    expect(all).not.toContain('should not');
  });

  test('HEAD has the headers of the answer and no body', async () => {
    handler = (one) =>
      one.result({
        status: 200,
        headers: [
          ['content-length', '1234'],
          ['etag', '"x"'],
        ],
      });
    const response = await send(gateway, '/fn/default/open', { method: 'HEAD' });
    expect(response.headers).toMatchObject({ 'content-length': '1234', etag: '"x"' });
    expect(response.body).toHaveLength(0);
  });

  test.each([
    ['a status out of range', { status: 199, headers: [] }],
    ['a status that is no number', { status: '200', headers: [] }],
    ['no status', { headers: [] }],
    ['a header that smuggles another one in', { status: 200, headers: [['x', 'a\r\nset-cookie: evil=1']] }],
    ['a header name that is none', { status: 200, headers: [['x y', 'a']] }],
    ['a character that headers cannot carry', { status: 200, headers: [['x', 'snow\u2603man']] }],
    ['a header that is no pair', { status: 200, headers: [5] }],
    ['headers that are no list', { status: 200, headers: { a: 'b' } }],
    [
      'too many headers',
      { status: 200, headers: Array.from({ length: 300 }, (_, index) => [`h${index}`, 'x']) },
    ],
    ['headers that are too long', { status: 200, headers: [['x', 'y'.repeat(70_000)]] }],
    ['null', null],
  ])('%s is a bad_response', async (_what, meta) => {
    const json = Buffer.from(JSON.stringify(meta));
    const prefix = Buffer.alloc(4);
    prefix.writeUInt32LE(json.length);
    handler = (one) => one.raw(Buffer.concat([prefix, json]));
    const response = await send(gateway, '/fn/default/open');
    expect(response.status).toBe(OUTCOMES.bad_response.status);
    expect(response.headers['x-offshoot-outcome']).toBe('bad_response');
    expect(response.json()).toMatchObject({ error: { code: 'bad_response' } });
  });

  test.each([
    ['nothing', Buffer.alloc(0)],
    ['lengths that do not add up', Buffer.from([255, 0, 0, 0, 1])],
    ['a length of gigabytes', Buffer.from([255, 255, 255, 255, 1])],
    ['no JSON', Buffer.from([2, 0, 0, 0, 123, 123])],
  ])('a payload of %s is a bad_response', async (_what, payload) => {
    handler = (one) => one.raw(payload);
    expect((await send(gateway, '/fn/default/open')).status).toBe(502);
  });

  test.each(Object.keys(OUTCOMES).filter((outcome) => outcome !== 'ok'))('outcome %s', async (outcome) => {
    handler = (one) =>
      one.failed(outcome as keyof typeof OUTCOMES, {
        error: { name: 'TypeError', message: 'it broke', stack: 'TypeError: it broke\n at secret.ts:1' },
        exitCause: 'signal SIGSEGV',
      });
    const facts = OUTCOMES[outcome as keyof typeof OUTCOMES];
    const response = await send(gateway, '/fn/default/open', { headers: { 'x-api-key': gateway.key } });
    const id = String(response.headers['x-offshoot-invocation']);
    expect(response.status).toBe(facts.status);
    expect(response.headers['x-offshoot-outcome']).toBe(outcome);
    // No more is in front of it than what this test calls.
    if (facts.status === 503) expect(response.headers['retry-after']).toBe('1');
    else expect(response.headers['retry-after']).toBeUndefined();
    expect(response.json()).toMatchObject({
      error: {
        code: outcome,
        message: expect.stringContaining(facts.meaning) as string,
        details: { invocation: id, error: { stack: expect.any(String) as string } },
      },
    });
    const anonymous = await send(gateway, '/fn/default/open');
    expect(anonymous.json()).toMatchObject({ error: { details: { error: { message: 'it broke' } } } });
    expect(anonymous.body.toString()).not.toContain('secret.ts');
  });
});

describe('access', () => {
  test('a public function needs no key and gets the authorization header as it is', async () => {
    await send(gateway, '/fn/default/open', { headers: { authorization: 'Bearer my-own' } });
    expect(headersOf('authorization')).toEqual(['Bearer my-own']);
  });

  test('any other needs one, with the scope, of the namespace', async () => {
    expect(await closedStatus({})).toBe(401);
    expect(await closedStatus({ authorization: 'Bearer my-own' })).toBe(401);
    expect(await closedStatus({ authorization: 'Bearer osk_unknown' })).toBe(401);
    expect(await closedStatus({ 'x-api-key': await newKey('default', ['read', 'deploy']) })).toBe(403);
    expect(await closedStatus({ 'x-api-key': await newKey('other', ['invoke']) })).toBe(403);
    expect(await closedStatus({ 'x-api-key': await newKey('default', ['invoke']) })).toBe(200);
    expect(await closedStatus({ 'x-api-key': await newKey('*', ['invoke']) })).toBe(200);
    expect(await closedStatus({ authorization: `bearer ${await newKey('default', ['invoke'])}` })).toBe(200);
  });

  test('the key never reaches the function, the rest does', async () => {
    await send(gateway, '/fn/default/closed', { headers: { authorization: `Bearer ${gateway.key}` } });
    expect(JSON.stringify(call.meta)).not.toContain(gateway.key);
    expect(headersOf('authorization')).toEqual([]);
    await send(gateway, '/fn/default/closed', {
      headers: { 'x-api-key': gateway.key, authorization: 'Basic abc' },
    });
    expect(JSON.stringify(call.meta)).not.toContain(gateway.key);
    expect(headersOf('authorization')).toEqual(['Basic abc']);
  });

  test('a deleted key is refused at once', async () => {
    const key = await newKey('default', ['invoke']);
    expect((await send(gateway, '/fn/default/closed', { headers: { 'x-api-key': key } })).status).toBe(200);
    const { keys } = (await api('/keys')) as { keys: { id: string; last4: string }[] };
    const id = keys.find((one) => one.last4 === key.slice(-4))?.id;
    await send(gateway, `/api/v1/keys/${id}`, { method: 'DELETE', headers: { 'x-api-key': gateway.key } });
    expect((await send(gateway, '/fn/default/closed', { headers: { 'x-api-key': key } })).status).toBe(401);
  });
});

describe('a function that is not there', () => {
  test.each([
    ['/fn/default/opne', 404, 'function_not_found', 'open'],
    ['/fn/defalt/open', 404, 'namespace_not_found', 'default'],
    ['/fn/default/nothing-like-it', 404, 'function_not_found', undefined],
    ['/fn/default/Open', 400, 'bad_name', undefined],
    ['/fn/default/op%65n', 400, 'bad_name', undefined],
    ['/fn/DEFAULT/open', 400, 'bad_name', undefined],
    ['/fn/default/', 400, 'bad_name', undefined],
    ['/fn/default', 404, 'not_found', undefined],
    ['//fn/default/open', 404, 'not_found', undefined],
    ['/api/v1/../../fn/default/open', 404, 'not_found', undefined],
  ])('%s', async (path, status, code, nearest) => {
    const response = await send(gateway, path);
    expect(response.status).toBe(status);
    expect(response.json()).toMatchObject({ error: { code, ...(nearest && { details: { nearest } }) } });
  });

  test('names of closed functions are told to key holders only', async () => {
    const anonymous = await send(gateway, '/fn/default/closd');
    expect(anonymous.body.toString()).not.toContain('"closed"');
    const holder = await send(gateway, '/fn/default/closd', { headers: { 'x-api-key': gateway.key } });
    expect(holder.json()).toMatchObject({ error: { details: { nearest: 'closed' } } });
  });

  test('is found as soon as it is there', async () => {
    expect((await send(gateway, '/fn/default/late')).status).toBe(404);
    await gateway.add('late');
    await waitFor(async () => (await send(gateway, '/fn/default/late')).status === 200, 500);
  });
});

describe('a body over the limit', () => {
  const problem = { error: { code: 'body_too_large', details: { limit: MAX_BODY } } };

  test('is refused by its announced length alone', async () => {
    const socket = createConnection(gateway.port, '127.0.0.1').setEncoding('utf8');
    socket.write(`POST /fn/default/open HTTP/1.1\r\nHost: a\r\nContent-Length: ${MAX_BODY + 1}\r\n\r\n`);
    const [head] = (await once(socket, 'data')) as [string];
    socket.destroy();
    expect(head).toMatch(/^HTTP\/1\.1 413 /);
    expect(head).toContain(`at most ${MAX_BODY}`);
    expect(head).toContain(String(MAX_BODY + 1));
  });

  test('is refused in chunks as soon as it is passed', async () => {
    let sent = 0;
    const endless = (async function* () {
      while (sent < 200) {
        sent++;
        yield Buffer.alloc(16 * 1024);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    })();
    const response = await send(gateway, '/fn/default/open', { method: 'POST', body: endless });
    expect([response.status, response.json()]).toMatchObject([413, problem]);
  });

  test('is refused before it is sent when the client asks first', async () => {
    const sent = request({
      host: '127.0.0.1',
      port: gateway.port,
      path: '/fn/default/open',
      method: 'POST',
      headers: { expect: '100-continue', 'content-length': String(MAX_BODY + 1) },
    });
    let asked = false;
    sent.on('continue', () => (asked = true));
    sent.flushHeaders();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    sent.on('error', () => undefined).destroy();
    expect([response.statusCode, asked]).toEqual([413, false]);
  });

  test('at the limit is taken', async () => {
    const body = Buffer.alloc(MAX_BODY);
    expect((await send(gateway, '/fn/default/open', { method: 'POST', body })).status).toBe(200);
    expect(call.body).toHaveLength(MAX_BODY);
  });

  test('an upload that breaks off calls nothing', async () => {
    let called = false;
    handler = () => (called = true);
    const socket = createConnection(gateway.port, '127.0.0.1');
    socket.write('POST /fn/default/open HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf');
    await new Promise((resolve) => setTimeout(resolve, 50));
    socket.destroy();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(called).toBe(false);
  });
});

describe('a streamed response', () => {
  test('reaches the caller piece by piece', async () => {
    handler = (one) => one.head({ status: 200, headers: [['content-type', 'text/event-stream']] });
    const response = await open();
    expect(response.headers['content-type']).toBe('text/event-stream');
    expect(response.headers['x-offshoot-invocation']).toBeDefined();
    for (const text of ['data: 1\n\n', 'data: 2\n\n', 'data: 3\n\n']) {
      const arrived = once(response, 'data') as Promise<[Buffer]>;
      call.chunk(Buffer.from(text));
      expect(String((await arrived)[0])).toBe(text);
    }
    const ended = once(response, 'end');
    call.end();
    response.resume();
    await ended;
    const id = String(response.headers['x-offshoot-invocation']);
    await waitFor(async () => ((await api(`/invocations/${id}`)) as { outcome?: string }).outcome === 'ok');
    expect(await api(`/invocations/${id}`)).toMatchObject({ responseBytes: 27, status: 200 });
  });

  test('to a client that does not read earns no credit, and all of it once it reads', async () => {
    const piece = Buffer.alloc(64 * 1024, 'x');
    handler = (one) => one.head({ status: 200, headers: [] });
    const response = await open();
    response.pause();
    // Far more than the buffers of the sockets hold; a real worker would have stopped at the window.
    const total = 400;
    for (let index = 0; index < total; index++) call.chunk(piece);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const early = call.credited;
    expect(early).toBeLessThan(total * piece.length - STREAM_WINDOW_BYTES);
    let bytes = 0;
    response.on('data', (chunk: Buffer) => (bytes += chunk.length)).resume();
    await waitFor(() => bytes === total * piece.length);
    await waitFor(() => call.credited >= total * piece.length - STREAM_WINDOW_BYTES / 2);
    call.end();
    await once(response, 'end');
  });

  test('whose client goes away is cancelled', async () => {
    handler = (one) => one.head({ status: 200, headers: [] }, Buffer.from('first'));
    const response = await open();
    const id = String(response.headers['x-offshoot-invocation']);
    response.destroy();
    await waitFor(() => call.cancelled);
    await waitFor(
      async () => ((await api(`/invocations/${id}`)) as { outcome?: string }).outcome === 'cancelled',
    );
  });

  test('that fails half way is cut off, so that nobody takes it for whole', async () => {
    handler = (one) => {
      one.head({ status: 200, headers: [] }, Buffer.from('half'));
      setTimeout(() => one.end({ outcome: 'crashed', exitCause: 'signal SIGSEGV' }), 50);
    };
    const response = await open();
    await expect(response.toArray()).rejects.toThrow(/aborted/);
    const id = String(response.headers['x-offshoot-invocation']);
    await waitFor(
      async () => ((await api(`/invocations/${id}`)) as { outcome?: string }).outcome === 'crashed',
    );
  });

  test.each([
    ['longer', 5],
    ['shorter', 500],
  ])('that is %s than its content-length is cut off', async (_what, length) => {
    handler = (one) => {
      one.head({ status: 200, headers: [['content-length', String(length)]] }, Buffer.from('0123'));
      one.chunk(Buffer.from('HTTP/1.1 200 OK\r\n\r\nforged response'));
      one.end();
    };
    const response = await open();
    const received: Buffer[] = [];
    response.on('data', (chunk: Buffer) => received.push(chunk));
    await expect(once(response, 'end')).rejects.toThrow(/aborted/);
    expect(Buffer.concat(received).length).toBeLessThanOrEqual(length);
    const id = String(response.headers['x-offshoot-invocation']);
    await waitFor(
      async () => ((await api(`/invocations/${id}`)) as { outcome?: string }).outcome === 'bad_response',
    );
  });

  test('with a right content-length shows its size', async () => {
    handler = (one) => {
      one.head({ status: 200, headers: [['content-length', '8']] }, Buffer.from('0123'));
      one.chunk(Buffer.from('4567'));
      one.end();
    };
    const response = await open();
    expect(response.headers['content-length']).toBe('8');
    expect(Buffer.concat(await response.toArray()).toString()).toBe('01234567');
  });

  test('to a HEAD has no body', async () => {
    handler = (one) => {
      one.head({ status: 200, headers: [] }, Buffer.from('not for you'));
      one.end();
    };
    expect(await (await open('/fn/default/open', 'HEAD')).toArray()).toEqual([]);
  });

  test('with bad headers is a bad_response and its function is stopped', async () => {
    handler = (one) => one.head({ status: 200, headers: [['a b', 'c']] });
    const response = await open();
    expect(response.statusCode).toBe(502);
    response.resume();
    await waitFor(() => call.cancelled);
  });
});

describe('trace and record', () => {
  const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';

  test('a trace is continued, and the function becomes a child of the run phase', async () => {
    const response = await send(gateway, '/fn/default/open/some/path?secret=1', {
      method: 'POST',
      headers: { traceparent: `00-${traceId}-00f067aa0ba902b7-00`, tracestate: 'vendor=1' },
      body: 'four',
    });
    const id = String(response.headers['x-offshoot-invocation']);
    let record: InvocationDetail | undefined;
    await waitFor(async () => {
      record = (await api(`/invocations/${id}`)) as InvocationDetail;
      return record.outcome === 'ok';
    });
    expect(record).toMatchObject({
      id,
      namespace: 'default',
      name: 'open',
      version: 1,
      lane: 'sync',
      status: 200,
      method: 'POST',
      path: '/some/path',
      traceId,
      parentSpanId: '00f067aa0ba902b7',
      sampled: false,
      requestBytes: 4,
      responseBytes: 5,
      report: { worker: 'w1' },
      logs: [],
    });
    const handed = `00-${traceId}-${runSpanId(record?.spanId ?? '')}-00`;
    expect(call.header.traceparent).toBe(handed);
    expect(headersOf('traceparent')).toEqual([handed]);
    expect(headersOf('tracestate')).toEqual(['vendor=1']);
    expect(record?.spans.map((span) => span.name)).toEqual([
      'invoke',
      'gateway',
      'queue',
      'acquire',
      'run',
      'reply',
    ]);
    const sum = (record?.gateway ?? 0) + (record?.queue ?? 0) + (record?.report?.timings.total ?? 0);
    expect(sum).toBeLessThanOrEqual((record?.duration ?? 0) + 0.5);
  });

  test('without one, or with one that is malformed, a trace is begun', async () => {
    for (const traceparent of ['nonsense', `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`]) {
      await send(gateway, '/fn/default/open', { headers: { traceparent, tracestate: 'vendor=1' } });
      expect(call.header.traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
      expect(call.header.traceparent).not.toContain('0'.repeat(32));
      expect(headersOf('tracestate')).toEqual([]);
    }
  });
});
