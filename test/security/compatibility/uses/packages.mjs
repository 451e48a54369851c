/** Honest uses of npm packages that the checkout has anyway, bundled as a deploy would bundle them. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { trace } from '@opentelemetry/api';
import { BatchSpanProcessor } from '@opentelemetry/sdk-trace';
import { Queue } from 'bullmq';
import { Command } from 'commander';
import { Hono } from 'hono';
import { jsx } from 'hono/jsx';
import { sign, verify } from 'hono/jwt';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import * as tar from 'tar';
import { pack, extract } from 'tar-stream';
import { z } from 'zod';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';

export const uses = {
  'hono: routes, JSX, JWT': async () => {
    const app = new Hono().get('/:name', (context) => context.json({ hello: context.req.param('name') }));
    assert.deepEqual(await (await app.request('/you')).json(), { hello: 'you' });
    assert.equal(String(jsx('b', {}, 'bold')), '<b>bold</b>');
    const token = await sign({ a: 1 }, 'secret', 'HS256');
    assert.equal((await verify(token, 'secret', 'HS256')).a, 1);
  },
  zod: () => {
    const schema = z.object({ id: z.uuid(), list: z.array(z.coerce.number()).max(3) });
    assert.equal(schema.safeParse({ id: crypto.randomUUID(), list: ['1', 2] }).success, true);
    assert.equal(schema.safeParse({ id: 'x', list: [] }).success, false);
  },
  pino: () => {
    const lines = [];
    pino({ level: 'debug' }, { write: (line) => lines.push(line) }).debug({ a: 1 }, 'said');
    assert.equal(JSON.parse(lines[0]).msg, 'said');
  },
  commander: () => {
    const command = new Command().option('-a <value>').exitOverride();
    assert.equal(command.parse(['-a', '5'], { from: 'user' }).opts().a, '5');
  },
  'tar: files to an archive and back': async () => {
    mkdirSync('/tmp/tar/out', { recursive: true });
    writeFileSync('/tmp/tar/a.txt', 'archived');
    await tar.create({ file: '/tmp/tar/a.tgz', gzip: true, cwd: '/tmp/tar' }, ['a.txt']);
    await tar.extract({ file: '/tmp/tar/a.tgz', cwd: '/tmp/tar/out' });
    assert.equal(readFileSync('/tmp/tar/out/a.txt', 'utf8'), 'archived');
  },
  'tar-stream': async () => {
    const packed = pack();
    packed.entry({ name: 'a' }, 'streamed');
    packed.finalize();
    const names = [];
    const reader = extract();
    packed.pipe(reader);
    for await (const entry of reader) {
      names.push(entry.header.name);
      entry.resume();
    }
    assert.deepEqual(names, ['a']);
  },
  'ioredis and bullmq: no server, a clean error': async () => {
    const redis = new Redis(6379, '127.0.0.1', {
      lazyConnect: true,
      retryStrategy: null,
      maxRetriesPerRequest: 0,
    });
    redis.on('error', () => undefined);
    await assert.rejects(redis.connect());
    assert.equal(typeof Queue, 'function');
  },
  opentelemetry: async () => {
    assert.equal(trace.getTracer('test').startSpan('work').isRecording(), false);
    await new BatchSpanProcessor({
      exporter: { export: () => undefined, shutdown: async () => undefined },
    }).shutdown();
  },
  'esbuild: a program in Go, as a child process': async () => {
    const child = spawn('/var/task/esbuild', ['--loader=ts', '--minify']);
    child.stdin.end('const a: number = 1 + 1; console.log(a)');
    let text = '';
    child.stdout.on('data', (chunk) => (text += chunk));
    assert.deepEqual(await once(child, 'close'), [0, null]);
    assert.match(text, /console\.log/);
  },
};
