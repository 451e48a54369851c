/** Shapes of a handler: each is deployed as its author has it, and answers as on a host. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Live } from '../../support/real/live.ts';

let live: Live;
beforeAll(async () => {
  live = await Live.open();
});
afterAll(async () => {
  await live.close();
});

const EXPRESS = `
  import express from 'express';
  const app = express();
  app.use(express.json());
  app.get('/hello', (req, res) => res.json({ hello: req.query.name, ip: req.ip, host: req.hostname }));
  app.post('/echo', (req, res) => res.status(201).set('x-own', 'a').cookie('a', '1').cookie('b', '2').json(req.body));
  app.get('/stream', (req, res) => { res.type('text'); res.write('one '); setTimeout(() => res.end('two'), 300); });
  app.get('/boom', () => { throw new Error('boom'); });
`;

async function expectExpress(name: string): Promise<void> {
  const hello = await live.call(name, '/hello?name=Ada');
  expect(hello.status).toBe(200);
  expect(JSON.parse(hello.text)).toEqual({ hello: 'Ada', ip: '127.0.0.1', host: '127.0.0.1' });
  const echo = await live.call(name, '/echo', {
    method: 'POST',
    headers: ['content-type', 'application/json'],
    body: '{"a":[1,2]}',
  });
  expect([echo.status, echo.text]).toEqual([201, '{"a":[1,2]}']);
  expect(Live.values(echo, 'set-cookie')).toEqual(['a=1; Path=/', 'b=2; Path=/']);
  expect(Live.values(echo, 'x-own')).toEqual(['a']);
  const stream = await live.call(name, '/stream');
  expect(stream.text).toBe('one two');
  expect(stream.endAt - stream.headAt, 'head and first piece come before the rest').toBeGreaterThan(200);
  expect((await live.call(name, '/nowhere')).status).toBe(404);
  expect((await live.call(name, '/boom')).status).toBe(500);
}

describe('apps of frameworks', () => {
  for (const version of ['5.3.0', '4.22.3'])
    test(`shapes: express ${version} as the default export`, async () => {
      const name = await live.deploy(`${EXPRESS} export default app;`, { packages: [`express@${version}`] });
      await expectExpress(name);
    });

  test('shapes: express that calls listen() is called at its port [FN1]', async () => {
    const name = await live.deploy(
      `${EXPRESS} app.listen(process.env.PORT, () => console.log('listening'));`,
      { packages: ['express@5.3.0'] },
    );
    await expectExpress(name);
  });

  test('shapes: express of CommonJS by module.exports', async () => {
    const source = `
      const express = require('express');
      const app = express();
      app.get('/', (req, res) => res.send('cjs'));
      module.exports = app;`;
    const name = await live.deploy({ 'src/index.cjs': source }, { packages: ['express@5.3.0'] });
    expect((await live.call(name)).text).toBe('cjs');
  });

  test('shapes: koa [FN1]', async () => {
    const source = `
      import Koa from 'koa';
      const app = new Koa();
      app.use(async (ctx) => {
        if (ctx.path === '/boom') throw new Error('boom');
        ctx.cookies.set('a', '1');
        ctx.body = { path: ctx.path, query: ctx.query, method: ctx.method, ip: ctx.ip };
      });
      export default app;`;
    const name = await live.deploy(source, { packages: ['koa@3.3.0'] });
    const answer = await live.call(name, '/x?a=1&a=2');
    expect(JSON.parse(answer.text)).toEqual({
      path: '/x',
      query: { a: ['1', '2'] },
      method: 'GET',
      ip: '127.0.0.1',
    });
    expect((await live.call(name, '/boom')).status).toBe(500);
  });

  const FASTIFY = `
    import Fastify from 'fastify';
    const app = Fastify({ logger: false });
    app.post('/sum', { schema: { body: { type: 'object', properties: { a: { type: 'number' } }, required: ['a'] } } },
      async (request) => ({ sum: request.body.a + 1, ip: request.ip }));
  `;
  async function expectFastify(name: string): Promise<void> {
    const post = (body: string): ReturnType<Live['call']> =>
      live.call(name, '/sum', { method: 'POST', headers: ['content-type', 'application/json'], body });
    expect(JSON.parse((await post('{"a":1}')).text)).toEqual({ sum: 2, ip: '127.0.0.1' });
    expect((await post('{}')).status).toBe(400);
    expect((await live.call(name, '/nowhere')).status).toBe(404);
  }
  test('shapes: fastify as the default export', async () => {
    await expectFastify(
      await live.deploy(`${FASTIFY} export default app;`, { packages: ['fastify@5.12.8'] }),
    );
  });
  test('shapes: fastify that listens', async () => {
    const source = `${FASTIFY} await app.listen({ port: 3000 });`;
    await expectFastify(await live.deploy(source, { packages: ['fastify@5.12.8'] }));
  });

  test('shapes: nest, compiled, whose bootstrap() listens some turns later', async () => {
    const source = `
      require('reflect-metadata');
      const { NestFactory } = require('@nestjs/core');
      const { Module, Controller, Get } = require('@nestjs/common');
      class Cats { all() { return ['tom']; } }
      Reflect.decorate([Controller('cats')], Cats);
      Reflect.decorate([Get()], Cats.prototype, 'all', Object.getOwnPropertyDescriptor(Cats.prototype, 'all'));
      class App {}
      Reflect.decorate([Module({ controllers: [Cats] })], App);
      async function bootstrap() {
        const app = await NestFactory.create(App, { logger: false });
        await app.listen(process.env.PORT ?? 3000);
      }
      bootstrap();`;
    const name = await live.deploy(
      { 'src/index.cjs': source },
      {
        packages: [
          '@nestjs/core@12.5.1',
          '@nestjs/common@12.5.1',
          '@nestjs/platform-express@12.5.1',
          'reflect-metadata@0.2.2',
          'rxjs@7.8.2',
        ],
        manifest: { memory: 256 },
      },
    );
    expect((await live.call(name, '/cats')).text).toBe('["tom"]');
    expect((await live.call(name, '/dogs')).status).toBe(404);
  });
});

describe('further frameworks, as their default export', () => {
  const OTHERS: Readonly<Record<string, string>> = {
    'connect@3.7.0':
      "import connect from 'connect'; const app = connect(); app.use('/a', (req, res) => res.end('hi ' + req.url)); export default app;",
    'polka@0.5.2':
      "import polka from 'polka'; export default polka().get('/a/:x', (req, res) => res.end('hi /' + req.params.x));",
    '@hapi/hapi@21.4.10': `import Hapi from '@hapi/hapi'; const server = Hapi.server(); server.route({ method: 'GET', path: '/a/{x}', handler: (request) => 'hi /' + request.params.x }); export default server;`,
    'h3@2.0.8':
      "import { H3 } from 'h3'; const app = new H3(); app.get('/a/:x', (event) => 'hi /' + event.context.params.x); export default app;",
  };
  for (const [name, source] of Object.entries(OTHERS))
    test(`shapes: ${name}`, async () => {
      const fn = await live.deploy(source, { packages: [name] });
      expect((await live.call(fn, '/a/b')).text).toBe('hi /b');
      expect((await live.call(fn, '/nowhere')).status).toBe(404);
    });

  test('shapes: an app and an event handler of h3 1 are refused with the lines that wrap them', async () => {
    for (const source of [
      "import { createApp, eventHandler } from 'h3'; export default createApp().use('/', eventHandler(() => 'x'));",
      "import { eventHandler } from 'h3'; export default eventHandler((event) => 'x');",
    ]) {
      const { result } = await live.tryDeploy(source, { packages: ['h3@1.15.11'] });
      expect([result.code, result.stderr.includes('toWebHandler')]).toEqual([1, true]);
    }
  });

  test('shapes: apps answer events, items and queued calls by a POST to /', async () => {
    const name = await live.deploy(
      "export default async (req, res) => res.status(req.body === 'bad' ? 404 : 200).json({ method: req.method, url: req.url, body: req.body });",
    );
    const wanted = { method: 'POST', url: '/', body: { a: 1 } };
    const invoked = await live.platform.cli('invoke', name, '--data', '{"a":1}');
    expect(JSON.parse(invoked.stdout)).toEqual(wanted);
    const id = await live.platform.queue(name, { a: 1 });
    expect((await live.platform.ended(id)).outcome).toBe('ok');
    expect(await (await live.platform.api(`/invocations/${id}/result`)).json()).toEqual(wanted);
  });

  test('shapes: requests that run at the same time each have their own answer and log', async () => {
    const name = await live.deploy(
      "export default async (req, res) => { console.log('line of ' + req.query.n); await new Promise((r) => setTimeout(r, 30)); console.log('end of ' + req.query.n); res.end(req.query.n); };",
      { manifest: { concurrency: 8 } },
    );
    const answers = await Promise.all(Array.from({ length: 16 }, (_, n) => live.call(name, `/?n=${n}`)));
    expect(answers.map(({ text }) => text)).toEqual(Array.from({ length: 16 }, (_, n) => String(n)));
    const id = answers[5]?.headers.find(([header]) => header === 'x-offshoot-invocation')?.[1] ?? '';
    const { stdout } = await live.platform.cli('logs', name, '--invocation', id);
    expect(
      stdout
        .split('\n')
        .filter((line) => /(line|end) of/.test(line))
        .map((line) => /(line|end) of \d+/.exec(line)?.[0]),
    ).toEqual(['line of 5', 'end of 5']);
  });
});

describe('plain Node', () => {
  test('shapes: (req, res) with the helpers of hosts for single functions', async () => {
    const name = await live.deploy(`
      export default (req, res) => {
        if (req.url === '/none') return;
        res.status(200).json({ method: req.method, query: req.query, cookies: req.cookies, body: req.body ?? null });
      };`);
    const answer = await live.call(name, '/a?x=1&x=2&y=3', {
      method: 'POST',
      headers: ['content-type', 'application/json', 'cookie', 'a=1; b=%20'],
      body: '{"n":1}',
    });
    expect(JSON.parse(answer.text)).toEqual({
      method: 'POST',
      query: { x: ['1', '2'], y: '3' },
      cookies: { a: '1', b: ' ' },
      body: { n: 1 },
    });
  });

  test('shapes: async (request, response) of plain Node reads its body as a stream, and its errors are the invocation’s', async () => {
    const name = await live.deploy(`
      export default async function (request, response) {
        if (request.url === '/boom') throw new Error('boom');
        if (request.url === '/half') { response.write('half'); await new Promise((r) => setTimeout(r, 50)); throw new Error('half'); }
        if (request.url === '/gone') return request.socket.destroy();
        let bytes = 0;
        for await (const piece of request) bytes += piece.length;
        response.setHeader('set-cookie', ['a=1', 'b=2']);
        response.writeHead(202, { 'content-type': 'text/plain' });
        response.end(String(bytes));
      }`);
    const large = Buffer.alloc(12 * 1024 * 1024, 7);
    for (const body of [Buffer.alloc(0), Buffer.from('x'), large]) {
      const answer = await live.call(name, '/', { method: 'PUT', body });
      expect([answer.status, answer.text]).toEqual([202, String(body.length)]);
      expect(Live.values(answer, 'set-cookie')).toEqual(['a=1', 'b=2']);
    }
    const boom = await live.call(name, '/boom');
    expect([boom.status, Live.values(boom, 'x-offshoot-outcome')]).toEqual([500, ['error']]);
    expect((await live.call(name, '/half')).broken).toBeDefined();
    const gone = await live.call(name, '/gone');
    expect([gone.status, gone.text]).toEqual([
      502,
      expect.stringContaining('closed the connection without an answer'),
    ]);
    expect((await live.call(name, '/', { method: 'PUT', body: 'after' })).text).toBe('5');
  });

  test('shapes: an http server as the default export, and one that listens', async () => {
    const body = `(req, res) => { res.writeHead(200, ['X-A', '1', 'X-A', '2']); res.end(req.url + ' ' + req.headers.host); }`;
    for (const source of [
      `import { createServer } from 'node:http'; export default createServer(${body});`,
      `import { createServer } from 'node:http'; createServer(${body}).listen(0);`,
      `import { createServer } from 'node:http'; setTimeout(() => createServer(${body}).listen(8080), 60);`,
    ]) {
      const name = await live.deploy(source);
      const answer = await live.call(name, '/a%2Fb/../c?d=%20');
      expect(answer.text).toMatch(/^\/a%2Fb\/\.\.\/c\?d=%20 127\.0\.0\.1:\d+$/);
      expect(Live.values(answer, 'x-a')).toEqual(['1', '2']);
      const head = await live.call(name, '/', { method: 'HEAD' });
      expect([head.status, head.text]).toEqual([200, '']);
    }
  });

  test('shapes: a large answer of an app comes whole, and a slow one at once', async () => {
    const name = await live.deploy(`
      import { Readable } from 'node:stream';
      export default (req, res) => {
        if (req.url === '/slow') { res.writeHead(200); res.flushHeaders(); setTimeout(() => res.end('late'), 400); return; }
        res.writeHead(200, { 'content-length': 20 * 1024 * 1024 });
        Readable.from((function* () { for (let i = 0; i < 320; i++) yield Buffer.alloc(65536, i & 255); })()).pipe(res);
      };`);
    const answer = await live.call(name);
    expect([answer.bytes.length, answer.broken]).toEqual([20 * 1024 * 1024, undefined]);
    expect(Live.values(answer, 'content-length')).toEqual([String(20 * 1024 * 1024)]);
    const slow = await live.call(name, '/slow');
    expect(slow.text).toBe('late');
    expect(slow.endAt - slow.headAt).toBeGreaterThan(250);
  });
});
