/** Forms of a module without a framework: which are taken, and how the others are refused. */
import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Live } from '../../support/real/live.ts';

let live: Live;
beforeAll(async () => {
  live = await Live.open();
});
afterAll(async () => {
  await live.close();
});

describe('forms that are taken', () => {
  test.each([
    ['one parameter', 'export default async (req) => new Response(req.method + new URL(req.url).pathname);'],
    [
      'a named function',
      'export default function handle(request) { return new Response(request.method + new URL(request.url).pathname); }',
    ],
    [
      'request and context',
      'export default async (request, context) => new Response(request.method + new URL(request.url).pathname);',
    ],
    [
      'request, env and ctx',
      "export default (r, env, ctx) => { ctx.waitUntil(Promise.resolve()); return new Response(r.method + new URL(r.url).pathname + (env.X ?? '')); };",
    ],
    [
      'an async arrow without parentheses',
      'export default async req => new Response(req.method + new URL(req.url).pathname);',
    ],
    [
      'a second parameter taken apart',
      'export default (req, { X } = {}) => new Response(req.method + new URL(req.url).pathname);',
    ],
    [
      'a bound function',
      'export default (function (req) { return new Response(req.method + new URL(req.url).pathname + this.x); }).bind({ x: "" });',
    ],
    [
      'a named export fetch',
      'export const fetch = (req) => new Response(req.method + new URL(req.url).pathname);',
    ],
    [
      'a promise of a router',
      'export default Promise.resolve({ fetch: (req) => new Response(req.method + new URL(req.url).pathname) });',
    ],
  ])('shapes: a default (Request) => Response, %s', async (_form, source) => {
    const name = await live.deploy(source);
    expect((await live.call(name, '/a', { method: 'PUT' })).text).toBe('PUT/a');
  });

  test.each([
    ['(req, res)', "export default (req, res) => { res.statusCode = 201; res.end('node'); };"],
    ['minified names', "export default (a, b) => { b.statusCode = 201; b.end('node'); };"],
    ['async (_req, res)', "export default async (_req, res) => { res.writeHead(201); res.end('node'); };"],
    ['(req, res, next)', "export default (req, res, next) => { res.writeHead(201); res.end('node'); };"],
  ])('shapes: a listener of Node, %s', async (_form, source) => {
    const answer = await live.call(await live.deploy(source));
    expect([answer.status, answer.text]).toEqual([201, 'node']);
  });

  test('shapes: other exports beside a handler are its helpers', async () => {
    const name = await live.deploy(
      "export const fetch = () => 1; export const GET = () => 2; export default (x) => x; export const handler = async () => 'the handler';",
    );
    expect((await live.call(name)).text).toBe('the handler');
  });

  test('shapes: next(error) of a listener is an error, next() is 404', async () => {
    const name = await live.deploy(
      "export default (req, res, next) => { setTimeout(() => next(req.url === '/e' ? new Error('bad') : undefined), 5); };",
    );
    expect((await live.call(name, '/e')).status).toBe(500);
    expect((await live.call(name, '/n')).status).toBe(404);
  });

  test('shapes: GET and POST exports of a route [FN2]', async () => {
    const name = await live.deploy(`
      export const runtime = 'nodejs';
      export async function GET(request, { params }) { return Response.json({ q: new URL(request.url).searchParams.get('q'), params: await params }); }
      export const POST = async (request, context) => new Response(await request.text() + typeof context.waitUntil, { status: 201 });`);
    expect((await live.call(name, '/?q=1')).text).toBe('{"q":"1","params":{}}');
    expect((await live.call(name, '/', { method: 'POST', body: 'x' })).text).toBe('xfunction');
    const head = await live.call(name, '/', { method: 'HEAD' });
    expect([head.status, head.text, Live.values(head, 'content-type')]).toEqual([
      200,
      '',
      ['application/json'],
    ]);
    const refused = await live.call(name, '/', { method: 'DELETE' });
    expect([refused.status, Live.values(refused, 'allow')]).toEqual([405, ['GET, POST, HEAD, OPTIONS']]);
    const options = await live.call(name, '/', { method: 'OPTIONS' });
    expect([options.status, Live.values(options, 'allow')]).toEqual([204, ['GET, POST, HEAD, OPTIONS']]);
  });
});

describe('what cannot be taken is named, with the way out', () => {
  test.each([
    [
      'X13 fetch that is no function',
      "export default { fetch: 'no' };",
      ['fetch', 'a string', 'must be a function'],
    ],
    ['a class', 'export default class Worker { fetch() {} }', ['a class', 'new Worker()']],
    [
      'a handler of another name',
      'export const lambdaHandler = async (event) => event;',
      ['export { lambdaHandler as handler }'],
    ],
    [
      'an app under another name',
      "import { createServer } from 'node:http'; export const app = createServer(() => {});",
      ['export default app'],
    ],
    ['nothing', 'console.log(1);', ['exports nothing', 'export default { fetch']],
    ['a value', 'export default 5;', ['a number']],
    [
      'X13 no __esModule in the list',
      'exports.a = 1; Object.defineProperty(exports, "__esModule", { value: true });',
      ['it exports'],
    ],
    ['an interval only', 'setInterval(() => {}, 1000);', ['exports nothing']],
  ])('shapes: %s [FN2]', async (_what, source, parts) => {
    const file = source.startsWith('exports.') ? 'src/index.cjs' : 'src/index.js';
    const { result } = await live.tryDeploy({ [file]: source }, { manifest: { initTimeout: 2 } });
    expect(result.code).toBe(1);
    for (const part of parts) expect(result.stderr).toContain(part);
    expect(result.stderr).not.toContain('__esModule');
  });
});

describe('K11: a call that has no handler', () => {
  test('K11 B50 a schedule without scheduled() is refused at deploy [FN3]', async () => {
    const schedule = { cron: '0 3 * * *' };
    const { result } = await live.tryDeploy("export default { fetch: () => new Response('x') };", {
      manifest: { schedule },
    });
    expect(result.code).toBe(1);
    expect(result.stderr).toContain('scheduled(event, env, ctx)');
    for (const source of ['export default { scheduled() {} };', 'export const handler = async () => 1;'])
      expect((await live.tryDeploy(source, { manifest: { schedule } })).result.code).toBe(0);
  });

  test('K11 X6 a request to a function with only scheduled() is an outcome of its own, as JSON', async () => {
    const name = await live.deploy('export default { scheduled() {} };');
    const answer = await live.call(name);
    expect(answer.status).toBe(501);
    expect(JSON.parse(answer.text)).toMatchObject({
      error: {
        code: 'no_handler',
        message: expect.stringContaining('has only scheduled()') as string,
        next: expect.any(String) as string,
      },
    });
    const invoked = await live.platform.cli('invoke', name, '--data', '{}');
    expect(invoked.code).not.toBe(0);
  });

  test('K11 X5 items of a batch that no handler takes fail once, and are not tried again [FN3]', async () => {
    const name = await live.deploy('export default { scheduled() {} };');
    const file = `${live.platform.state}/items.ndjson`;
    await writeFile(file, '1\n2\n');
    const results = `${live.platform.state}/results.ndjson`;
    const { code } = await live.platform.cli('batch', 'run', file, '--function', name, '--output', results);
    expect(code).not.toBe(0);
    const lines = (await readFile(results, 'utf8')).trim().split('\n');
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual(
      [0, 1].map((index) => ({
        index,
        ok: false,
        outcome: 'no_handler',
        tries: 1,
        error: expect.objectContaining({ message: expect.stringContaining('queue()') as string }) as object,
      })),
    );
  });

  test('K11 B50 an item or an event is a POST to /, and 404 is no success of an item', async () => {
    const name = await live.deploy(`export default { fetch: async (request) => {
      const { pathname } = new URL(request.url);
      const item = await request.json();
      return pathname === '/' && item !== 'bad' ? Response.json(item) : new Response('no', { status: 404 });
    } };`);
    const invoked = await live.platform.cli('invoke', name, '--data', '{"a":1}');
    expect([invoked.code, invoked.stdout.trim()]).toEqual([0, '{"a":1}']);
    const refused = await live.platform.cli('invoke', name, '--path', '/nowhere', '--data', '{}');
    expect([refused.code, refused.stdout.trim()]).toEqual([5, 'no']);
    const file = `${live.platform.state}/mixed.ndjson`;
    await writeFile(file, '1\n"bad"\n');
    const batch = await live.platform.cli('batch', 'run', file, '--function', name);
    expect(batch.code).not.toBe(0);
    expect(batch.stdout + batch.stderr).toContain('1 of 2');
  });
});
