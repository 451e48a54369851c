/** /fn/{namespace}/{name}/{path}: the request that a function gets, and the answer that its caller gets. */
import { createConnection } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { InvocationDetail } from '#contract/api/api.ts';
import { nextWith } from '#contract/invocations/next.ts';
import { OUTCOMES } from '#contract/invocations/outcome.ts';
import { runSpanId } from '#contract/invocations/trace.ts';
import { GatewayBench } from '../../../support/gateway/gateway-bench.ts';
import { send, startGateway, waitFor } from '../../../support/gateway/fixture.ts';

let bench: GatewayBench;

beforeAll(async () => {
  bench = await GatewayBench.start((one) => one.result({ status: 200, headers: [] }, Buffer.from('hello')));
  await bench.gateway.add('open');
  await bench.gateway.add('closed', { access: 'key' });
});
beforeEach(() => bench.reset());
afterAll(() => bench.stop());

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
  ])('a function sees the right URL for the path %s', async (path, seen) => {
    const { status } = await send(bench.gateway, path, { headers: { host: 'my.host:80' } });
    expect(status).toBe(200);
    expect(bench.call.meta.url).toBe(`http://my.host:80${seen}`);
  });

  test.each(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD', 'QUERY'])(
    'a function can be called by the method %s',
    async (method) => {
      await send(bench.gateway, '/fn/default/open', { method });
      expect(bench.call.meta).toMatchObject({ kind: 'http', method });
    },
  );

  test('headers keep their order, case of value and repetition', async () => {
    await send(bench.gateway, '/fn/default/open', {
      headers: { Cookie: 'a=1; b=2', 'X-Many': ['One', 'two'], 'X-Empty': '', 'x-latin': 'caf\u00e9' },
    });
    expect(bench.headersOf('x-many')).toEqual(['One', 'two']);
    expect(bench.headersOf('cookie')).toEqual(['a=1; b=2']);
    expect(bench.headersOf('x-empty')).toEqual(['']);
    expect(bench.headersOf('x-latin')).toEqual(['caf\u00e9']);
  });

  test('hop-by-hop headers are not passed on, also those that Connection names', async () => {
    await send(bench.gateway, '/fn/default/open', {
      headers: {
        connection: 'close, X-Private',
        'x-private': '1',
        te: 'trailers',
        'keep-alive': '5',
        'x-kept': '1',
      },
    });
    const names = bench.call.meta.headers.map(([name]) => name);
    expect(names).toContain('x-kept');
    for (const name of ['connection', 'x-private', 'te', 'keep-alive']) expect(names).not.toContain(name);
  });

  test('forwarding headers describe the real connection, and not the claims of the caller', async () => {
    await send(bench.gateway, '/fn/default/open/x', {
      headers: {
        host: 'real.example',
        'x-forwarded-for': '1.2.3.4',
        'x-forwarded-host': 'evil',
        'x-forwarded-proto': 'https',
      },
    });
    expect(bench.headersOf('x-forwarded-for')).toEqual(['127.0.0.1']);
    expect(bench.headersOf('x-forwarded-host')).toEqual(['real.example']);
    expect(bench.headersOf('x-forwarded-proto')).toEqual(['http']);
    expect(bench.headersOf('x-forwarded-prefix')).toEqual(['/fn/default/open']);
  });

  test('forwarding headers of a trusted proxy are used', async () => {
    const proxied = await startGateway(bench.redis, {
      state: bench.gateway.state,
      env: { OFFSHOOT_TRUST_PROXY: '1' },
    });
    await send(proxied, '/fn/default/open/x', {
      headers: {
        'x-forwarded-for': '1.2.3.4',
        'x-forwarded-host': 'public.example',
        'x-forwarded-proto': 'https',
      },
    });
    await proxied.close();
    expect(bench.headersOf('x-forwarded-for')).toEqual(['1.2.3.4, 127.0.0.1']);
    expect(bench.call.meta.url).toBe('https://public.example/x');
  });

  test('a binary body arrives unchanged, with a length and in chunks', async () => {
    const bytes = Buffer.from(Array.from({ length: 5_000 }, (_, index) => index % 256));
    await send(bench.gateway, '/fn/default/open', { method: 'POST', body: bytes });
    expect(bench.call.body.equals(bytes)).toBe(true);
    const pieces = (async function* () {
      yield bytes.subarray(0, 1);
      yield bytes.subarray(1, 4_000);
      yield bytes.subarray(4_000);
    })();
    await send(bench.gateway, '/fn/default/open', { method: 'POST', body: pieces });
    expect(bench.call.body.equals(bytes)).toBe(true);
    expect(bench.headersOf('content-length')).toEqual(['5000']);
    expect(bench.headersOf('transfer-encoding')).toEqual([]);
  });

  test('an invalid Host is refused', async () => {
    const response = await send(bench.gateway, '/fn/default/open', { headers: { host: 'a/b@c' } });
    expect([response.status, response.json()]).toMatchObject([400, { error: { code: 'bad_request' } }]);
  });
});

describe('the response, as the caller sees it', () => {
  test('status, repeated set-cookie and a binary body reach the caller', async () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, index) => index));
    bench.handler = (one) =>
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
    const response = await send(bench.gateway, '/fn/default/open');
    expect(response.status).toBe(418);
    expect(response.headers['set-cookie']).toEqual(['a=1; Path=/', 'b=2']);
    expect(response.headers['content-length']).toBe('256');
    expect(response.body.equals(bytes)).toBe(true);
    expect(response.headers['x-offshoot-invocation']).toMatch(/^[0-9a-f]{32}$/);
    expect(response.headers['server-timing']).toMatch(/^gateway;dur=[\d.]+, queue;dur=[\d.]+, acquire;dur=/);
  });

  test('hop-by-hop and platform headers of the function are not passed on', async () => {
    bench.handler = (one) =>
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
    const { headers } = await send(bench.gateway, '/fn/default/open');
    expect(headers['x-mine']).toBeUndefined();
    expect(headers['transfer-encoding']).toBeUndefined();
    expect(headers['x-offshoot-invocation']).not.toBe('forged');
    expect(headers['server-timing']).toMatch(/^own;dur=1, gateway;/);
  });

  test.each([204, 205, 304])(
    'a response with status %i has no body, whatever the function sends',
    async (status) => {
      bench.handler = (one) => one.result({ status, headers: [] }, Buffer.from('should not be here'));
      // Sent on one connection, so that a stray body would be taken for the next response.
      const socket = createConnection(bench.gateway.port, '127.0.0.1');
      const text = socket.setEncoding('utf8').toArray();
      const line = 'GET /fn/default/open HTTP/1.1\r\nHost: a\r\n';
      socket.write(`${line}\r\n${line}Connection: close\r\n\r\n`);
      const all = (await text).join('');
      expect(all.match(/HTTP\/1\.1 /g)).toHaveLength(2);
      expect(all).not.toContain('should not');
    },
  );

  test('a HEAD request gets the headers of the answer and no body', async () => {
    bench.handler = (one) =>
      one.result({
        status: 200,
        headers: [
          ['content-length', '1234'],
          ['etag', '"x"'],
        ],
      });
    const response = await send(bench.gateway, '/fn/default/open', { method: 'HEAD' });
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
  ])('a response with %s is a bad_response', async (_what, meta) => {
    const json = Buffer.from(JSON.stringify(meta));
    const prefix = Buffer.alloc(4);
    prefix.writeUInt32LE(json.length);
    bench.handler = (one) => one.raw(Buffer.concat([prefix, json]));
    const response = await send(bench.gateway, '/fn/default/open');
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
    bench.handler = (one) => one.raw(payload);
    expect((await send(bench.gateway, '/fn/default/open')).status).toBe(502);
  });

  test.each(Object.keys(OUTCOMES).filter((outcome) => outcome !== 'ok'))(
    'the outcome %s is answered with the status of its table [CA3]',
    async (outcome) => {
      bench.handler = (one) =>
        one.failed(outcome as keyof typeof OUTCOMES, {
          error: { name: 'TypeError', message: 'it broke', stack: 'TypeError: it broke\n at secret.ts:1' },
          exitCause: 'signal SIGSEGV',
        });
      const facts = OUTCOMES[outcome as keyof typeof OUTCOMES];
      const response = await send(bench.gateway, '/fn/default/open', {
        headers: { 'x-api-key': bench.gateway.key },
      });
      const id = String(response.headers['x-offshoot-invocation']);
      expect(response.status).toBe(facts.status);
      expect(response.headers['x-offshoot-outcome']).toBe(outcome);
      // Only this test calls, so nothing waits in front.
      if (facts.status === 503) expect(response.headers['retry-after']).toBe('1');
      else expect(response.headers['retry-after']).toBeUndefined();
      expect(response.json()).toMatchObject({
        error: {
          code: outcome,
          message: expect.stringContaining(facts.meaning) as string,
          next: nextWith(facts.next, id),
          details: { invocation: id, error: { stack: expect.any(String) as string } },
        },
      });
      const anonymous = await send(bench.gateway, '/fn/default/open');
      expect(anonymous.json()).toMatchObject({ error: { details: { error: { message: 'it broke' } } } });
      expect(anonymous.body.toString()).not.toContain('secret.ts');
    },
  );
});

describe('trace and record', () => {
  const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';

  test('a trace is continued, and the function becomes a child of the run phase [OB23]', async () => {
    const response = await send(bench.gateway, '/fn/default/open/some/path?secret=1', {
      method: 'POST',
      headers: { traceparent: `00-${traceId}-00f067aa0ba902b7-00`, tracestate: 'vendor=1' },
      body: 'four',
    });
    const id = String(response.headers['x-offshoot-invocation']);
    let record: InvocationDetail | undefined;
    await waitFor(async () => {
      record = (await bench.api(`/invocations/${id}`)).json() as InvocationDetail;
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
    expect(bench.call.header.traceparent).toBe(handed);
    expect(bench.headersOf('traceparent')).toEqual([handed]);
    expect(bench.headersOf('tracestate')).toEqual(['vendor=1']);
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

  test('a trace is begun where the request has none, or a malformed one', async () => {
    for (const traceparent of ['nonsense', `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`]) {
      await send(bench.gateway, '/fn/default/open', { headers: { traceparent, tracestate: 'vendor=1' } });
      expect(bench.call.header.traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
      expect(bench.call.header.traceparent).not.toContain('0'.repeat(32));
      expect(bench.headersOf('tracestate')).toEqual([]);
    }
  });
});
