/** A1, A2, A11, K14: an answer's headers agree with its body, a stream begins at once, and other classes are taken or refused. */
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Live } from '../../support/real/live.ts';

let live: Live;
beforeAll(async () => {
  live = await Live.open();
});
afterAll(async () => {
  await live.close();
});

/** A server within the sandbox, which sends `size` bytes in the codings of its path. */
const UPSTREAM = `
  import { createServer } from 'node:http';
  import zlib from 'node:zlib';
  const code = { gzip: zlib.gzipSync, 'x-gzip': zlib.gzipSync, br: zlib.brotliCompressSync, deflate: zlib.deflateSync, zstd: zlib.zstdCompressSync };
  const server = createServer((req, res) => {
    const [, codings, size] = req.url.split('/');
    const whole = Buffer.from('0123456789'.repeat(Number(size) / 10));
    if (codings === 'none') return res.writeHead(200, { 'content-length': whole.length, etag: '"x"' }).end(whole);
    if (codings === 'range') return res.writeHead(206, { 'content-length': 10, 'content-range': 'bytes 0-9/' + size }).end(whole.subarray(0, 10));
    const body = decodeURIComponent(codings).split(', ').reduce((bytes, one) => code[one](bytes), whole);
    res.writeHead(200, { 'content-encoding': decodeURIComponent(codings), 'content-length': body.length, etag: '"x"' }).end(body);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  server.unref();
  const up = 'http://127.0.0.1:' + server.address().port;
`;

describe('A1: representation headers never contradict the body', () => {
  const FORMS = {
    itself: '(r) => r',
    'new Response(r.body, r)': '(r) => new Response(r.body, r)',
    'read and copied': 'async (r) => new Response(await r.arrayBuffer(), { headers: r.headers })',
    'text and entries':
      'async (r) => new Response(await r.text(), { headers: Object.fromEntries(r.headers) })',
    'a clone': '(r) => r.clone()',
    transformed: '(r) => new Response(r.body.pipeThrough(new TransformStream()), r)',
  };
  const CODINGS = ['gzip', 'x-gzip', 'deflate', 'br', 'zstd', 'gzip, br'];
  for (const [form, code] of Object.entries(FORMS))
    test(`A1 B01 an answer of fetch that was decoded, passed on as ${form}, in all codings and sizes`, async () => {
      const name = await live.deploy(`${UPSTREAM}
        const form = ${code};
        export default { fetch: async (request) => await form(await fetch(up + new URL(request.url).pathname)) };`);
      for (const coding of CODINGS)
        for (const size of [0, 5_000, 3_000_000]) {
          const answer = await live.call(name, `/${encodeURIComponent(coding)}/${size}`);
          const label = `${coding} ${size}`;
          expect([label, answer.status, answer.bytes.length, answer.broken]).toEqual([
            label,
            200,
            size,
            undefined,
          ]);
          expect(Live.values(answer, 'content-encoding'), label).toEqual([]);
          expect(Live.values(answer, 'etag'), label).toEqual(['"x"']);
        }
    });

  test('A1 B01 a queued call, invoke and a Lambda-style result keep no stale header either', async () => {
    const lambda = await live.deploy(`${UPSTREAM}
      export const handler = async (event) => {
        const r = await fetch(up + '/gzip/5000');
        if (event.rawPath === '/response') return r;
        return { statusCode: r.status, headers: Object.fromEntries(r.headers), body: await r.text() };
      };`);
    for (const path of ['/', '/response']) {
      const answer = await live.call(lambda, path);
      expect([answer.bytes.length, Live.values(answer, 'content-encoding')]).toEqual([5_000, []]);
    }
    const queued = await live.deploy(`${UPSTREAM} export default { fetch: () => fetch(up + '/br/5000') };`);
    const id = await live.platform.queue(queued, {});
    expect((await live.platform.ended(id)).outcome).toBe('ok');
    const result = await live.platform.api(`/invocations/${id}/result`);
    expect(result.headers.get('content-encoding')).toBeNull();
    expect((await result.arrayBuffer()).byteLength).toBe(5_000);
  });

  test('A1 B01 what is right stays: own compression, HEAD, 304, ranges, answers without a coding', async () => {
    const name = await live.deploy(`${UPSTREAM}
      import { gzipSync } from 'node:zlib';
      export default { fetch: async (request) => {
        const { pathname } = new URL(request.url);
        if (pathname === '/own') return new Response(gzipSync('x'.repeat(5000)), { headers: { 'content-encoding': 'gzip' } });
        if (pathname === '/304') return new Response(null, { status: 304, headers: { etag: '"y"', 'content-encoding': 'gzip' } });
        if (request.method === 'HEAD') return fetch(up + pathname, { method: 'HEAD' });
        const r = await fetch(up + pathname);
        if (r.url !== up + pathname || r.redirected || r.type !== 'basic' || (pathname.startsWith('/gzip') && r.clone().url !== r.url)) throw new Error('not like fetch');
        return r;
      } };`);
    const own = await live.call(name, '/own');
    expect([gunzipSync(own.bytes).length, Live.values(own, 'content-encoding')]).toEqual([5_000, ['gzip']]);
    expect(Live.values(await live.call(name, '/304'), 'content-encoding')).toEqual(['gzip']);
    const head = await live.call(name, '/gzip/5000', { method: 'HEAD' });
    expect([
      head.status,
      Live.values(head, 'content-encoding').length,
      Number(Live.values(head, 'content-length')[0]),
    ]).toEqual([200, 1, gzipSync('0123456789'.repeat(500)).length]);
    const range = await live.call(name, '/range/5000');
    expect([range.status, range.text, Live.values(range, 'content-range')]).toEqual([
      206,
      '0123456789',
      ['bytes 0-9/5000'],
    ]);
    const plain = await live.call(name, '/none/3000000');
    expect([plain.bytes.length, Live.values(plain, 'content-length')]).toEqual([3_000_000, ['3000000']]);
    expect((await live.call(name, '/gzip/5000')).bytes.length).toBe(5_000);
  });

  test('A1 B01 a stale length is mended alike on both paths [FN4]', async () => {
    const name = await live.deploy(`
      export default { fetch: (request) => {
        const [, way, length] = new URL(request.url).pathname.split('/');
        const headers = { 'content-length': length };
        if (way === 'whole') return new Response('0123456789', { headers });
        return new Response(new ReadableStream({ async start(c) {
          for (const piece of ['01234', '56789']) { c.enqueue(new TextEncoder().encode(piece)); await new Promise((r) => setTimeout(r, 20)); }
          c.close();
        } }), { headers });
      } };`);
    for (const way of ['whole', 'stream'])
      for (const length of ['4', '10', '40']) {
        const answer = await live.call(name, `/${way}/${length}`);
        expect([way, length, answer.status, answer.text, answer.broken]).toEqual([
          way,
          length,
          200,
          '0123456789',
          undefined,
        ]);
      }
  });

  test('A1 a FixedLengthStream keeps its length, and a wrong one is an error', async () => {
    const name = await live.deploy(`
      export default { fetch: (request) => {
        const { readable, writable } = new FixedLengthStream(Number(new URL(request.url).pathname.slice(1)));
        const writer = writable.getWriter();
        (async () => { for (const p of ['01234', '56789']) { await writer.write(new TextEncoder().encode(p)); await new Promise((r) => setTimeout(r, 30)); } await writer.close(); })().catch(() => {});
        return new Response(readable);
      } };`);
    const right = await live.call(name, '/10');
    expect([right.text, Live.values(right, 'content-length')]).toEqual(['0123456789', ['10']]);
    expect((await live.call(name, '/12')).broken).toBeDefined();
  });

  test('A1 a client that decodes and leaves its headers: got, axios and node-fetch style copies', async () => {
    const name = await live.deploy(
      `${UPSTREAM}
      import got from 'got';
      import nodeFetch from 'node-fetch';
      import axios from 'axios';
      export default { fetch: async (request) => {
        const [, client, coding] = new URL(request.url).pathname.split('/');
        const url = up + '/' + coding + '/5000';
        if (client === 'got') { const r = await got(url, { responseType: 'buffer' }); return new Response(r.body, { headers: r.headers }); }
        if (client === 'axios') { const r = await axios.get(url); return new Response(r.data, { headers: r.headers }); }
        return await nodeFetch(url);
      } };`,
      { packages: ['got@14.6.6', 'node-fetch@3.3.2', 'axios@1.13.2'] },
    );
    for (const [client, codings] of Object.entries({
      got: ['gzip'],
      axios: ['gzip', 'br'],
      'node-fetch': ['gzip', 'br', 'deflate'],
    }))
      for (const coding of codings) {
        const answer = await live.call(name, `/${client}/${coding}`);
        const label = `${client} ${coding}`;
        expect([label, answer.bytes.length, answer.broken, Live.values(answer, 'content-encoding')]).toEqual([
          label,
          5_000,
          undefined,
          [],
        ]);
      }
  });
});

describe('A2: a stream begins when there is a stream', () => {
  test('A2 B02 status and headers come at once, the bytes when they are made [FN5]', async () => {
    const name = await live.deploy(`
      export default { fetch: (request) => new Response(new ReadableStream({ async start(c) {
        await new Promise((r) => setTimeout(r, 800));
        if (new URL(request.url).pathname === '/fails') return c.error(new Error('broken'));
        if (new URL(request.url).pathname !== '/empty') c.enqueue(new TextEncoder().encode('late'));
        c.close();
      } }), { status: 201, headers: { 'x-a': '1' } }) };`);
    await live.call(name);
    const answer = await live.call(name);
    expect([answer.status, answer.text, Live.values(answer, 'x-a')]).toEqual([201, 'late', ['1']]);
    expect(answer.headAt).toBeLessThan(500);
    expect(answer.endAt).toBeGreaterThan(750);
    const empty = await live.call(name, '/empty');
    expect([empty.status, empty.text, empty.broken]).toEqual([201, '', undefined]);
    // The head is gone by then, so an error can only break the answer off.
    const fails = await live.call(name, '/fails');
    expect([fails.status, fails.broken === undefined]).toEqual([201, false]);
    const head = await live.call(name, '/', { method: 'HEAD' });
    expect([head.status, head.endAt < 500]).toEqual([201, true]);
  });

  test('A2 B02 an error before the first byte in the same turn is a clean 500, and an empty body is one frame', async () => {
    const name = await live.deploy(`
      export default { fetch: (request) => new Response(new ReadableStream({ start(c) {
        if (new URL(request.url).pathname === '/fails') c.error(new Error('at once')); else c.close();
      } })) };`);
    expect((await live.call(name, '/fails')).status).toBe(500);
    const empty = await live.call(name, '/');
    expect([empty.status, Live.values(empty, 'content-length')]).toEqual([200, ['0']]);
  });

  test('A2 B02 streamIdleTimeout counts from the head', async () => {
    const name = await live.deploy(
      `export default { fetch: () => new Response(new ReadableStream({ start() {} })) };`,
      {
        manifest: { streamIdleTimeout: 1, timeout: 20 },
      },
    );
    const begun = performance.now();
    const answer = await live.call(name);
    expect([answer.status, answer.broken === undefined]).toEqual([200, false]);
    expect(performance.now() - begun).toBeLessThan(5_000);
  });

  test('A2 B02 hono streamSSE tells its first event when it comes, and its head before', async () => {
    const name = await live.deploy(
      `import { Hono } from 'hono'; import { streamSSE } from 'hono/streaming';
      const app = new Hono();
      app.get('/', (c) => streamSSE(c, async (s) => { await s.sleep(700); await s.writeSSE({ data: 'one' }); }));
      export default app;`,
      { packages: ['hono@4.13.19'] },
    );
    await live.call(name);
    const answer = await live.call(name);
    expect(answer.text).toBe('data: one\n\n');
    expect([answer.headAt < 450, answer.endAt > 650]).toEqual([true, true]);
  });
});

describe('A11: other classes are taken, or refused with a sentence', () => {
  test('A11 B05 Responses of node-fetch 3 and undici, with text, streams, nothing and cookies', async () => {
    const name = await live.deploy(
      `import { Response as NodeResponse } from 'node-fetch';
      import { Response as UndiciResponse } from 'undici';
      import { Readable } from 'node:stream';
      export default { fetch: (request) => {
        const [, library, body] = new URL(request.url).pathname.split('/');
        const R = library === 'undici' ? UndiciResponse : NodeResponse;
        const bodies = { text: () => 'hi', stream: () => library === 'undici' ? new ReadableStream({ start(c) { c.enqueue(Buffer.from('hi')); c.close(); } }) : Readable.from([Buffer.from('h'), Buffer.from('i')]), none: () => null };
        const r = new R(bodies[body](), { status: 201 });
        r.headers.append('set-cookie', 'a=1'); r.headers.append('set-cookie', 'b=2');
        return r;
      } };`,
      { packages: ['node-fetch@3.3.2', 'undici@7.30.0'] },
    );
    for (const library of ['node-fetch', 'undici'])
      for (const [body, text] of [
        ['text', 'hi'],
        ['stream', 'hi'],
        ['none', ''],
      ]) {
        const answer = await live.call(name, `/${library}/${body}`);
        expect([library, body, answer.status, answer.text, Live.values(answer, 'set-cookie')]).toEqual([
          library,
          body,
          201,
          text,
          ['a=1', 'b=2'],
        ]);
      }
  });

  test('A11 B05 bodies and headers of any kind that can be sent [FN6]', async () => {
    const name = await live.deploy(`
      import { Readable } from 'node:stream';
      const bodies = {
        string: () => 'hi', buffer: () => Buffer.from('hi'), view: () => new Uint16Array([0x6968]), arraybuffer: () => new TextEncoder().encode('hi').buffer,
        node: () => Readable.from(['h', Buffer.from('i')]), iterable: () => (async function* () { yield 'h'; yield new Uint8Array([105]); })(), blob: () => new Blob(['hi']),
        dataview: () => new DataView(new TextEncoder().encode('hi').buffer),
      };
      const headers = { headers: new Headers({ 'x-a': '1' }), map: new Map([['x-a', '1']]), object: { 'X-A': 1 }, pairs: [['x-a', '1']] };
      export default { fetch: (request) => {
        const [, body, head] = new URL(request.url).pathname.split('/');
        return { status: 200, headers: headers[head], body: bodies[body]() };
      } };`);
    for (const body of ['string', 'buffer', 'view', 'arraybuffer', 'node', 'iterable', 'blob', 'dataview'])
      for (const head of ['headers', 'map', 'object', 'pairs']) {
        const answer = await live.call(name, `/${body}/${head}`);
        expect([body, head, answer.status, answer.text, Live.values(answer, 'x-a')]).toEqual([
          body,
          head,
          200,
          'hi',
          ['1'],
        ]);
      }
  });

  test.each([
    ['X12 locked', 'const r = new Response("x"); r.body.getReader(); return r;', 'locked'],
    ['X12 read', 'const r = new Response("x"); await r.text(); return r;', 'has been read already'],
    [
      'X12 a chunk that is an object',
      'return new Response(new ReadableStream({ start(c) { c.enqueue({}); c.close(); } }));',
      'a chunk of the response body is a plain object',
    ],
    ['a string', 'return "hi";', 'return new Response(value)'],
    ['a plain object', 'return { a: 1 };', 'Response.json(value)'],
    ['a Lambda result', 'return { statusCode: 200, body: "" };', 'Lambda'],
    ['nothing', '', 'returned nothing'],
    [
      'a header that is no text',
      'return { status: 200, headers: { "x-a": {} }, body: "" };',
      'the header x-a',
    ],
    [
      'a body that is none',
      'return { status: 200, headers: {}, body: { a: 1 } };',
      'the body of the response is a plain object',
    ],
    ['a status that ends nothing', 'return { status: 101, headers: {}, body: "" };', 'use 200 to 599'],
  ])('A11 %s is bad_response with a sentence [FN6]', async (_what, code, part) => {
    const name = await live.deploy(`export default { fetch: async () => { ${code} } };`);
    const answer = await live.call(name);
    expect([answer.status, Live.values(answer, 'x-offshoot-outcome')]).toEqual([502, ['bad_response']]);
    expect(answer.text).toContain(part);
  });
});

describe('K14: a body that a Request cannot have', () => {
  test('K14 B55 GET and HEAD with a body: neither body nor its headers, and a line in the log', async () => {
    const name = await live.deploy(`
      export default { fetch: async (request) => Response.json({ text: await request.text(), headers: [...request.headers.keys()].filter((name) => /^(content|transfer|expect)/.test(name)) }) };`);
    for (const headers of [
      ['content-type', 'application/json'],
      ['content-type', 'a/b', 'transfer-encoding', 'chunked'],
      ['content-encoding', 'gzip'],
    ]) {
      const answer = await live.call(name, '/', { headers, body: '{"q":1}' });
      expect(JSON.parse(answer.text)).toEqual({ text: '', headers: [] });
    }
    const { stdout } = await live.platform.cli('logs', name);
    expect(stdout).toContain('the body of this GET request');
    const plain = await live.call(name, '/', { headers: ['content-type', 'a/b'] });
    expect(JSON.parse(plain.text)).toEqual({ text: '', headers: ['content-type'] });
  });

  test('K14 B55 a handler and an app read it', async () => {
    const lambda = await live.deploy('export const handler = async (event) => event.body;');
    expect((await live.call(lambda, '/', { body: '{"q":1}' })).text).toBe('{"q":1}');
    const app = await live.deploy(
      `export default async (req, res) => { let text = ''; for await (const piece of req) text += piece; res.end(req.headers['content-length'] + text); };`,
    );
    for (const headers of [[], ['transfer-encoding', 'chunked']])
      expect((await live.call(app, '/', { headers, body: '{"q":1}' })).text).toBe('7{"q":1}');
  });
});
