/** /fn/{namespace}/{name}/{path}: rights of callers, bodies over the limit, and streams. */
import { request, type IncomingMessage } from 'node:http';
import { createConnection } from 'node:net';
import { once } from 'node:events';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { STREAM_WINDOW_BYTES } from '#contract/functions/limits.ts';
import { GatewayBench } from '../../../support/gateway/gateway-bench.ts';
import { send, waitFor } from '../../../support/gateway/fixture.ts';

const MAX_BODY = 64 * 1024;

let bench: GatewayBench;

beforeAll(async () => {
  bench = await GatewayBench.start((one) => one.result({ status: 200, headers: [] }, Buffer.from('hello')), {
    OFFSHOOT_MAX_BODY_BYTES: String(MAX_BODY),
  });
  await bench.gateway.add('open');
  await bench.gateway.add('closed', { access: 'key' });
});
beforeEach(() => bench.reset());
afterAll(() => bench.stop());

async function open(path = '/fn/default/open', method = 'GET'): Promise<IncomingMessage> {
  const sent = request({ host: '127.0.0.1', port: bench.gateway.port, path, method, agent: false });
  sent.end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  return response;
}

async function closedStatus(headers: Record<string, string>): Promise<number> {
  return (await send(bench.gateway, '/fn/default/closed', { headers })).status;
}

describe('access', () => {
  test('a public function needs no key and gets the authorization header unchanged', async () => {
    await send(bench.gateway, '/fn/default/open', { headers: { authorization: 'Bearer my-own' } });
    expect(bench.headersOf('authorization')).toEqual(['Bearer my-own']);
  });

  test('any other function needs a key with the scope, of the namespace', async () => {
    expect(await closedStatus({})).toBe(401);
    expect(await closedStatus({ authorization: 'Bearer my-own' })).toBe(401);
    expect(await closedStatus({ authorization: 'Bearer osk_unknown' })).toBe(401);
    expect(await closedStatus({ 'x-api-key': (await bench.newKey('default', ['read', 'deploy'])).key })).toBe(
      403,
    );
    expect(await closedStatus({ 'x-api-key': (await bench.newKey('other', ['invoke'])).key })).toBe(403);
    expect(await closedStatus({ 'x-api-key': (await bench.newKey('default', ['invoke'])).key })).toBe(200);
    expect(await closedStatus({ 'x-api-key': (await bench.newKey('*', ['invoke'])).key })).toBe(200);
    expect(
      await closedStatus({ authorization: `bearer ${(await bench.newKey('default', ['invoke'])).key}` }),
    ).toBe(200);
  });

  test('the key never reaches the function, all other headers do', async () => {
    await send(bench.gateway, '/fn/default/closed', {
      headers: { authorization: `Bearer ${bench.gateway.key}` },
    });
    expect(JSON.stringify(bench.call.meta)).not.toContain(bench.gateway.key);
    expect(bench.headersOf('authorization')).toEqual([]);
    await send(bench.gateway, '/fn/default/closed', {
      headers: { 'x-api-key': bench.gateway.key, authorization: 'Basic abc' },
    });
    expect(JSON.stringify(bench.call.meta)).not.toContain(bench.gateway.key);
    expect(bench.headersOf('authorization')).toEqual(['Basic abc']);
  });

  test('a deleted key is refused at once', async () => {
    const key = (await bench.newKey('default', ['invoke'])).key;
    expect((await send(bench.gateway, '/fn/default/closed', { headers: { 'x-api-key': key } })).status).toBe(
      200,
    );
    const { keys } = (await bench.api('/keys')).json() as { keys: { id: string; last4: string }[] };
    const id = keys.find((one) => one.last4 === key.slice(-4))?.id;
    await send(bench.gateway, `/api/v1/keys/${id}`, {
      method: 'DELETE',
      headers: { 'x-api-key': bench.gateway.key },
    });
    expect((await send(bench.gateway, '/fn/default/closed', { headers: { 'x-api-key': key } })).status).toBe(
      401,
    );
  });
});

describe('an unknown function', () => {
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
  ])('an unknown function is answered with its reason: %s', async (path, status, code, nearest) => {
    const response = await send(bench.gateway, path);
    expect(response.status).toBe(status);
    expect(response.json()).toMatchObject({ error: { code, ...(nearest && { details: { nearest } }) } });
  });

  test('names of private functions are suggested to key holders only', async () => {
    const anonymous = await send(bench.gateway, '/fn/default/closd');
    expect(anonymous.body.toString()).not.toContain('"closed"');
    const holder = await send(bench.gateway, '/fn/default/closd', {
      headers: { 'x-api-key': bench.gateway.key },
    });
    expect(holder.json()).toMatchObject({ error: { details: { nearest: 'closed' } } });
  });

  test('a function is found as soon as it is deployed', async () => {
    expect((await send(bench.gateway, '/fn/default/late')).status).toBe(404);
    await bench.gateway.add('late');
    await waitFor(async () => (await send(bench.gateway, '/fn/default/late')).status === 200, 500);
  });
});

describe('a body over the limit', () => {
  const problem = { error: { code: 'body_too_large', details: { limit: MAX_BODY } } };

  test('a body over the limit is refused by its announced length alone', async () => {
    const socket = createConnection(bench.gateway.port, '127.0.0.1').setEncoding('utf8');
    socket.write(`POST /fn/default/open HTTP/1.1\r\nHost: a\r\nContent-Length: ${MAX_BODY + 1}\r\n\r\n`);
    const [head] = (await once(socket, 'data')) as [string];
    socket.destroy();
    expect(head).toMatch(/^HTTP\/1\.1 413 /);
    expect(head).toContain(`at most ${MAX_BODY}`);
    expect(head).toContain(String(MAX_BODY + 1));
  });

  test('a chunked body is refused as soon as it exceeds the limit', async () => {
    let sent = 0;
    const endless = (async function* () {
      while (sent < 200) {
        sent++;
        yield Buffer.alloc(16 * 1024);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    })();
    const response = await send(bench.gateway, '/fn/default/open', { method: 'POST', body: endless });
    expect([response.status, response.json()]).toMatchObject([413, problem]);
  });

  test('a body over the limit is refused before it is sent when the client asks first', async () => {
    const sent = request({
      host: '127.0.0.1',
      port: bench.gateway.port,
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

  test('a body at the limit is taken', async () => {
    const body = Buffer.alloc(MAX_BODY);
    expect((await send(bench.gateway, '/fn/default/open', { method: 'POST', body })).status).toBe(200);
    expect(bench.call.body).toHaveLength(MAX_BODY);
  });

  test('an upload that breaks off calls nothing', async () => {
    let called = false;
    bench.handler = () => (called = true);
    const socket = createConnection(bench.gateway.port, '127.0.0.1');
    socket.write('POST /fn/default/open HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf');
    await new Promise((resolve) => setTimeout(resolve, 50));
    socket.destroy();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(called).toBe(false);
  });
});

describe('a streamed response', () => {
  test('a streamed response reaches the caller piece by piece', async () => {
    bench.handler = (one) => one.head({ status: 200, headers: [['content-type', 'text/event-stream']] });
    const response = await open();
    expect(response.headers['content-type']).toBe('text/event-stream');
    expect(response.headers['x-offshoot-invocation']).toBeDefined();
    for (const text of ['data: 1\n\n', 'data: 2\n\n', 'data: 3\n\n']) {
      const arrived = once(response, 'data') as Promise<[Buffer]>;
      bench.call.chunk(Buffer.from(text));
      expect(String((await arrived)[0])).toBe(text);
    }
    const ended = once(response, 'end');
    bench.call.end();
    response.resume();
    await ended;
    const id = String(response.headers['x-offshoot-invocation']);
    await waitFor(
      async () => ((await bench.api(`/invocations/${id}`)).json() as { outcome?: string }).outcome === 'ok',
    );
    expect((await bench.api(`/invocations/${id}`)).json()).toMatchObject({ responseBytes: 27, status: 200 });
  });

  test('a client that does not read earns no credit, and gets all of the response once it reads', async () => {
    const piece = Buffer.alloc(64 * 1024, 'x');
    bench.handler = (one) => one.head({ status: 200, headers: [] });
    const response = await open();
    response.pause();
    // Far more than the buffers of the sockets hold; a real worker would have stopped at the window.
    const total = 400;
    for (let index = 0; index < total; index++) bench.call.chunk(piece);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const early = bench.call.credited;
    expect(early).toBeLessThan(total * piece.length - STREAM_WINDOW_BYTES);
    let bytes = 0;
    response.on('data', (chunk: Buffer) => (bytes += chunk.length)).resume();
    await waitFor(() => bytes === total * piece.length);
    await waitFor(() => bench.call.credited >= total * piece.length - STREAM_WINDOW_BYTES / 2);
    bench.call.end();
    await once(response, 'end');
  });

  test('a client that disconnects from a streamed response cancels its call', async () => {
    bench.handler = (one) => one.head({ status: 200, headers: [] }, Buffer.from('first'));
    const response = await open();
    const id = String(response.headers['x-offshoot-invocation']);
    response.destroy();
    await waitFor(() => bench.call.cancelled);
    await waitFor(
      async () =>
        ((await bench.api(`/invocations/${id}`)).json() as { outcome?: string }).outcome === 'cancelled',
    );
    expect((await bench.api(`/invocations/${id}`)).json()).toMatchObject({
      message: 'the caller disconnected before its answer was complete',
      cancelledBy: { by: 'caller' },
    });
  });

  test('a streamed response that fails half way is cut off, so that it cannot pass for whole', async () => {
    bench.handler = (one) => {
      one.head({ status: 200, headers: [] }, Buffer.from('half'));
      setTimeout(() => one.end({ outcome: 'crashed', exitCause: 'signal SIGSEGV' }), 50);
    };
    const response = await open();
    await expect(response.toArray()).rejects.toThrow(/aborted/);
    const id = String(response.headers['x-offshoot-invocation']);
    await waitFor(
      async () =>
        ((await bench.api(`/invocations/${id}`)).json() as { outcome?: string }).outcome === 'crashed',
    );
  });

  test.each([
    ['longer', 5],
    ['shorter', 500],
  ])('a streamed response that is %s than its content-length is cut off', async (_what, length) => {
    bench.handler = (one) => {
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
      async () =>
        ((await bench.api(`/invocations/${id}`)).json() as { outcome?: string }).outcome === 'bad_response',
    );
  });

  test('a streamed response with a right content-length shows its size', async () => {
    bench.handler = (one) => {
      one.head({ status: 200, headers: [['content-length', '8']] }, Buffer.from('0123'));
      one.chunk(Buffer.from('4567'));
      one.end();
    };
    const response = await open();
    expect(response.headers['content-length']).toBe('8');
    expect(Buffer.concat(await response.toArray()).toString()).toBe('01234567');
  });

  test('a response to a HEAD has no body', async () => {
    bench.handler = (one) => {
      one.head({ status: 200, headers: [] }, Buffer.from('not for you'));
      one.end();
    };
    expect(await (await open('/fn/default/open', 'HEAD')).toArray()).toEqual([]);
  });

  test('a response with bad headers is a bad_response and its function is stopped', async () => {
    bench.handler = (one) => one.head({ status: 200, headers: [['a b', 'c']] });
    const response = await open();
    expect(response.statusCode).toBe(502);
    response.resume();
    await waitFor(() => bench.call.cancelled);
  });
});
