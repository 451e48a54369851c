/** A7, A8, B12 to B21: functions written for AWS Lambda, deployed as they are. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Live, type LiveAnswer } from '../../support/real/live.ts';

let live: Live;
beforeAll(async () => {
  live = await Live.open();
});
afterAll(async () => {
  await live.close();
});

const cjs = (source: string): { 'src/index.cjs': string } => ({ 'src/index.cjs': source });

describe('ways in which a handler gives its result', () => {
  test.each([
    ['async', 'async (e, c) => ({ statusCode: 201, body: "x" })'],
    ['async with an unused callback', 'async (e, c, cb) => ({ statusCode: 201, body: "x" })'],
    ['a promise', '(e) => new Promise((r) => setTimeout(r, 10, { statusCode: 201, body: "x" }))'],
    ['a value', '(e) => ({ statusCode: 201, body: "x" })'],
    [
      'B15 a late callback',
      '(e, c, cb) => { setTimeout(() => cb(null, { statusCode: 201, body: "x" }), 50); }',
    ],
    ['B15 a callback at once', '(e, c, cb) => cb(null, { statusCode: 201, body: "x" })'],
    [
      'B15 a callback after several steps',
      '(e, c, cb) => { setTimeout(() => setImmediate(() => require("fs").readFile("/proc/version", () => process.nextTick(cb, null, { statusCode: 201, body: "x" }))), 30); }',
    ],
    [
      'B15 a callback of a fetch',
      `(e, c, cb) => { const s = require("http").createServer((q, r) => setTimeout(() => r.end(), 100)).listen(0, () => fetch("http://127.0.0.1:" + s.address().port).then(() => { s.close(); s.closeAllConnections(); cb(null, { statusCode: 201, body: "x" }); })); }`,
    ],
    ['B16 succeed later', '(e, c) => { setImmediate(() => c.succeed({ statusCode: 201, body: "x" })); }'],
    ['B16 succeed at once', '(e, c) => { c.succeed({ statusCode: 201, body: "x" }); }'],
    ['B16 done', '(e, c) => { setTimeout(() => c.done(null, { statusCode: 201, body: "x" }), 20); }'],
    [
      'an object of a class while the callback is to come',
      '(e, c) => { setTimeout(() => c.succeed({ statusCode: 201, body: "x" }), 20); return new (require("events"))(); }',
    ],
  ])('A7 %s', async (_how, handler) => {
    const name = await live.deploy(cjs(`exports.handler = ${handler};`));
    for (let times = 0; times < 3; times++) {
      const answer = await live.call(name);
      expect([answer.status, answer.text]).toEqual([201, 'x']);
    }
    expect((await live.platform.cli('logs', name)).stdout).not.toContain('Error');
  });

  test.each([
    ['B15 cb(error)', '(e, c, cb) => { setTimeout(() => cb(new Error("bad")), 10); }'],
    ['B15 cb(text)', '(e, c, cb) => { cb("bad"); }'],
    ['B16 fail', '(e, c) => { setTimeout(() => c.fail(new Error("bad")), 10); }'],
    ['B16 done(error)', '(e, c) => { c.done(new Error("bad")); }'],
    ['a throw', '(e, c, cb) => { throw new Error("bad"); }'],
  ])('A7 %s is the error of the invocation, in both lanes', async (_how, handler) => {
    const name = await live.deploy(cjs(`exports.handler = ${handler};`), {
      manifest: { retries: { attempts: 1 } },
    });
    const answer = await live.call(name);
    expect([answer.status, Live.values(answer, 'x-offshoot-outcome')]).toEqual([500, ['error']]);
    expect((await live.platform.cli('logs', name)).stdout).toContain('bad');
    expect((await live.platform.ended(await live.platform.queue(name, {}))).outcome).toBe('error');
  });

  test('A7 B15 a callback that is never called is no success, in either lane [FN8]', async () => {
    const name = await live.deploy(
      cjs('exports.handler = (event, context, callback) => { if (event.never) callback(null, 1); };'),
    );
    const answer = await live.call(name);
    expect([answer.status, answer.text]).toEqual([
      502,
      expect.stringContaining('has not called its callback'),
    ]);
    expect((await live.platform.ended(await live.platform.queue(name, {}))).outcome).toBe('bad_response');
  });

  test('A7 without a callback, nothing returned is null once the event loop is empty', async () => {
    const name = await live.deploy(
      cjs('exports.handler = () => { setTimeout(() => console.log("done"), 60); };'),
    );
    expect((await live.call(name)).text).toBe('null');
    expect((await live.platform.cli('logs', name)).stdout).toContain('done');
  });

  test('A7 callbackWaitsForEmptyEventLoop: what the callback leaves is part of the invocation, unless it is false', async () => {
    const source = (wait: string): string =>
      `let running = 0;
      exports.handler = (event, context, callback) => {
        ${wait}
        const before = running++;
        setTimeout(() => running--, 400);
        callback(null, { statusCode: 200, body: String(before) });
      };`;
    const waiting = await live.deploy(cjs(source('')));
    const answers: LiveAnswer[] = [];
    for (let times = 0; times < 2; times++) answers.push(await live.call(waiting));
    expect(answers.map(({ text }) => text)).toEqual(['0', '0']);
    const loose = await live.deploy(cjs(source('context.callbackWaitsForEmptyEventLoop = false;')));
    await live.call(loose);
    expect((await live.call(loose)).text).toBe('1');
  });
});

describe('the context', () => {
  test('A8 B14 remaining times are whole numbers, in both styles', async () => {
    const check =
      '(ms) => [Number.isInteger(ms), typeof BigInt(ms), AbortSignal.timeout(ms - 500).aborted, ms > 20000]';
    const wanted = '[true,"bigint",false,true]';
    const lambda = await live.deploy(
      `const check = ${check}; export const handler = async (e, c) => check(c.getRemainingTimeInMillis());`,
    );
    expect((await live.call(lambda)).text).toBe(wanted);
    const style = await live.deploy(
      `const check = ${check}; export default { fetch: (r, e, ctx) => Response.json(check(ctx.remainingMs())) };`,
    );
    expect((await live.call(style)).text).toBe(wanted);
  });
});

describe('events of HTTP requests as they arrive', () => {
  test('A7 B12 B13 B19 query, cookies, bytes and prototype names through the gateway [FN7]', async () => {
    const name = await live.deploy(
      'export const handler = async (event) => ({ statusCode: 200, body: JSON.stringify(event) });',
    );
    const event = async (path: string, request = {}): Promise<Record<string, unknown>> =>
      JSON.parse((await live.call(name, path, request)).text) as Record<string, unknown>;
    expect(
      await event('/a%2Fb?tag=a&tag=b&x=%2C', {
        headers: ['Cookie', 'a=1; b=2', 'Cookie', 'c=3', 'constructor', 'x'],
      }),
    ).toMatchObject({
      rawPath: '/a%2Fb',
      rawQueryString: 'tag=a&tag=b&x=%2C',
      queryStringParameters: { tag: 'a,b', x: ',' },
      cookies: ['a=1', 'b=2', 'c=3'],
      headers: { constructor: 'x' },
      requestContext: { http: { method: 'GET', path: '/a%2Fb', sourceIp: '127.0.0.1' } },
    });
    const plain = await event('/');
    expect(['queryStringParameters', 'cookies', 'body'].filter((member) => member in plain)).toEqual([]);
    const bytes = randomBytes(1_000);
    for (const type of [
      'application/x-www-form-urlencoded',
      'application/json',
      'text/plain',
      'application/xml',
    ]) {
      const made = await event('/', { method: 'POST', headers: ['content-type', type], body: bytes });
      expect([
        type,
        made['isBase64Encoded'],
        Buffer.from(made['body'] as string, 'base64').equals(bytes),
      ]).toEqual([type, true, true]);
    }
  });

  test('A7 payload format 1.0 by a setting', async () => {
    const source = `exports.handler = (event, context, callback) => callback(null, {
      statusCode: 200,
      headers: { 'x-single': event.queryStringParameters.x },
      multiValueHeaders: { 'Set-Cookie': ['a=1', 'b=2'], 'x-all': event.multiValueQueryStringParameters.x },
      body: event.httpMethod + event.path + event.multiValueHeaders['x-own'].join('|'),
    });`;
    const name = await live.deploy(cjs(source), { manifest: { payloadFormat: '1.0' } });
    const answer = await live.call(name, '/p?x=1&x=2', {
      method: 'PUT',
      headers: ['x-own', 'a', 'x-own', 'b'],
    });
    expect([answer.status, answer.text]).toEqual([200, 'PUT/pa|b']);
    expect([
      Live.values(answer, 'x-single'),
      Live.values(answer, 'x-all'),
      Live.values(answer, 'set-cookie'),
    ]).toEqual([['2'], ['1', '2'], ['a=1', 'b=2']]);
  });
});

describe('streams', () => {
  test('B17 awslambda.streamifyResponse with HttpResponseStream.from [FN8]', async () => {
    const name = await live.deploy(`
      import { pipeline } from 'node:stream/promises';
      import { Readable } from 'node:stream';
      export const handler = awslambda.streamifyResponse(async (event, stream, context) => {
        if (event.rawPath === '/plain') { stream.setContentType('text/x-own'); stream.write('a'); stream.end('b'); return; }
        if (event.rawPath === '/boom') throw new Error('boom');
        if (event.rawPath === '/half') { stream.write('half'); await new Promise((r) => setTimeout(r, 50)); throw new Error('half'); }
        if (event.rawPath === '/large') { await pipeline(Readable.from((function* () { for (let i = 0; i < 80; i++) yield Buffer.alloc(100_000, i); })()), stream); return; }
        if (event.rawPath === '/open') { stream.write('never ended'); return; }
        stream = awslambda.HttpResponseStream.from(stream, { statusCode: 201, headers: { 'Content-Type': 'text/plain', 'X-A': '1' }, cookies: ['a=1', 'b=2'] });
        await new Promise((r) => setTimeout(r, 300));
        stream.write('one ');
        await new Promise((r) => setTimeout(r, 300));
        stream.end('two');
      });`);
    const answer = await live.call(name);
    expect([answer.status, answer.text]).toEqual([201, 'one two']);
    expect([
      Live.values(answer, 'x-a'),
      Live.values(answer, 'content-type'),
      Live.values(answer, 'set-cookie'),
    ]).toEqual([['1'], ['text/plain'], ['a=1', 'b=2']]);
    expect(answer.endAt - answer.headAt).toBeGreaterThan(400);
    const plain = await live.call(name, '/plain');
    expect([plain.status, plain.text, Live.values(plain, 'content-type')]).toEqual([
      200,
      'ab',
      ['text/x-own'],
    ]);
    expect((await live.call(name, '/boom')).status).toBe(500);
    expect((await live.call(name, '/half')).broken).toBeDefined();
    expect((await live.call(name, '/large')).bytes.length).toBe(8_000_000);
    expect((await live.call(name, '/open')).text).toBe('never ended');
    const head = await live.call(name, '/', { method: 'HEAD' });
    expect([head.status, head.text]).toEqual([201, '']);
  });

  test('B17 hono streamHandle and handle, with a binary body', async () => {
    const source = (handle: string): string => `
      import { Hono } from 'hono'; import { ${handle} } from 'hono/aws-lambda'; import { stream } from 'hono/streaming'; import { setCookie } from 'hono/cookie';
      const app = new Hono();
      app.get('/', (c) => { setCookie(c, 'a', '1'); setCookie(c, 'b', '2'); return c.text('hono ' + c.req.query('q'), 201); });
      app.post('/', async (c) => c.body(await c.req.arrayBuffer(), 200, { 'content-type': 'application/octet-stream' }));
      app.get('/stream', (c) => stream(c, async (s) => { await s.write('one '); await s.sleep(300); await s.write('two'); }));
      export const handler = ${handle}(app);`;
    for (const handle of ['handle', 'streamHandle']) {
      const name = await live.deploy(source(handle), { packages: ['hono@4.13.19'] });
      const answer = await live.call(name, '/?q=x');
      expect([handle, answer.status, answer.text]).toEqual([handle, 201, 'hono x']);
      expect(Live.values(answer, 'set-cookie')).toEqual(['a=1; Path=/', 'b=2; Path=/']);
      const bytes = randomBytes(1_000);
      const echo = await live.call(name, '/', { method: 'POST', body: bytes });
      expect([handle, echo.bytes.equals(bytes)]).toEqual([handle, true]);
      const streamed = await live.call(name, '/stream');
      expect(streamed.text).toBe('one two');
      if (handle === 'streamHandle') expect(streamed.endAt - streamed.headAt).toBeGreaterThan(200);
    }
  });
});

describe('packages for Lambda', () => {
  test('B20 middy and powertools', async () => {
    const name = await live.deploy(
      `import middy from '@middy/core';
      import httpHeaderNormalizer from '@middy/http-header-normalizer';
      import httpJsonBodyParser from '@middy/http-json-body-parser';
      import httpErrorHandler from '@middy/http-error-handler';
      import { Logger } from '@aws-lambda-powertools/logger';
      import { injectLambdaContext } from '@aws-lambda-powertools/logger/middleware';
      const logger = new Logger({ serviceName: 'orders' });
      export const handler = middy()
        .use(injectLambdaContext(logger, { logEvent: false }))
        .use(httpHeaderNormalizer()).use(httpJsonBodyParser()).use(httpErrorHandler({ logger: false }))
        .handler(async (event) => { logger.info('called'); return { statusCode: 201, body: JSON.stringify(event.body) }; });`,
      {
        packages: [
          '@middy/core@6.4.5',
          '@middy/http-header-normalizer@6.4.5',
          '@middy/http-json-body-parser@6.4.5',
          '@middy/http-error-handler@6.4.5',
          '@aws-lambda-powertools/logger@2.36.0',
        ],
      },
    );
    const post = (body: string): Promise<LiveAnswer> =>
      live.call(name, '/', { method: 'POST', headers: ['content-type', 'application/json'], body });
    const answer = await post('{"a":1}');
    expect([answer.status, answer.text]).toEqual([201, '{"a":1}']);
    expect((await post('{')).status, 'as middy answers what is no JSON').toBe(415);
    const { stdout } = await live.platform.cli('logs', name);
    expect(stdout).toContain('"function_request_id"');
  });

  test('B20 middy with streamifyResponse', async () => {
    const name = await live.deploy(
      `import middy from '@middy/core';
      import { Readable } from 'node:stream';
      export const handler = middy({ streamifyResponse: true }).handler(async () => ({ statusCode: 201, headers: { 'content-type': 'text/plain' }, body: Readable.from(['a', 'b']) }));`,
      { packages: ['@middy/core@6.4.5'] },
    );
    const answer = await live.call(name);
    expect([answer.status, answer.text, Live.values(answer, 'content-type')]).toEqual([
      201,
      'ab',
      ['text/plain'],
    ]);
  });

  const ADAPTERS: Readonly<Record<string, { packages: string[]; source: string }>> = {
    'serverless-http': {
      packages: ['express@5.3.0', 'serverless-http@4.0.0'],
      source: "import serverless from 'serverless-http'; export const handler = serverless(app);",
    },
    '@codegenie/serverless-express': {
      packages: ['express@5.3.0', '@codegenie/serverless-express@4.17.1'],
      source:
        "import serverlessExpress from '@codegenie/serverless-express'; export const handler = serverlessExpress({ app });",
    },
    'aws-serverless-express, by context.succeed': {
      packages: ['express@5.3.0', 'aws-serverless-express@3.4.0'],
      source:
        "import ase from 'aws-serverless-express'; const server = ase.createServer(app); export const handler = (event, context) => { ase.proxy(server, event, context); };",
    },
  };
  for (const [adapter, { packages, source }] of Object.entries(ADAPTERS))
    test(`B21 express by ${adapter}`, async () => {
      const isOld = adapter.startsWith('aws-');
      const name = await live.deploy(
        `import express from 'express'; const app = express(); app.use(express.json());
        app.get('/a', (req, res) => { res.cookie('a', '1'); res.cookie('b', '2'); res.json(req.query); });
        app.post('/b', (req, res) => res.status(201).json(req.body)); ${source}`,
        { packages, manifest: isOld ? { payloadFormat: '1.0' } : {} },
      );
      for (let times = 0; times < 2; times++) {
        const answer = await live.call(name, '/a?x=1&y=%20');
        expect([answer.status, answer.text]).toEqual([200, '{"x":"1","y":" "}']);
        if (!isOld) expect(Live.values(answer, 'set-cookie')).toEqual(['a=1; Path=/', 'b=2; Path=/']);
        const echo = await live.call(name, '/b', {
          method: 'POST',
          headers: ['content-type', 'application/json'],
          body: '{"n":[1]}',
        });
        expect([echo.status, echo.text]).toEqual([201, '{"n":[1]}']);
      }
    });

  test('B20 fastify by @fastify/aws-lambda', async () => {
    const name = await live.deploy(
      `import awsLambdaFastify from '@fastify/aws-lambda'; import Fastify from 'fastify';
      const app = Fastify(); app.get('/a', async (request) => ({ query: request.query })); export const handler = awsLambdaFastify(app);`,
      { packages: ['fastify@5.12.8', '@fastify/aws-lambda@6.4.1'] },
    );
    expect((await live.call(name, '/a?x=1')).text).toBe('{"query":{"x":"1"}}');
  });
});
