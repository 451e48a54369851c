/** A5: output belongs to the invocation that printed it, wherever in the code of a module that is. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Live } from '../../support/real/live.ts';
import { called, lines, recordOf } from '../../support/real/logs.ts';

let live: Live;
beforeAll(async () => {
  live = await Live.open();
});
afterAll(async () => {
  await live?.close();
});

test('A5 B24 callbacks of a connection of the module belong to the one invocation that runs [OB31]', async () => {
  const name = await live.deploy(
    `import net from 'node:net'; import { EventEmitter } from 'node:events';
     const server = net.createServer((socket) => socket.on('data', (data) => socket.write(data))).listen(4000);
     await new Promise((done) => server.on('listening', done));
     const socket = net.connect(4000); await new Promise((done) => socket.on('connect', done));
     const events = new EventEmitter();
     socket.on('data', (data) => { console.log('got ' + data); console.error('err ' + data); process.stdout.write('out ' + data + '\\n'); process.stderr.write('std ' + data + '\\n'); events.emit('x', data); });
     let wake; events.on('x', (data) => { console.warn('event ' + data); wake(); });
     export default { async fetch(request) {
       const n = new URL(request.url).searchParams.get('n');
       console.log('begin ' + n);
       await new Promise((done) => { wake = done; socket.write(n); });
       console.log('end ' + n);
       return new Response('ok');
     } };`,
  );
  for (const n of ['1', '2', '3']) {
    const { id } = await called(live, name, `/?n=${n}`);
    const { logs } = await recordOf(live, id);
    expect(logs.map(({ text }) => text)).toEqual([
      `begin ${n}`,
      `got ${n}`,
      `err ${n}`,
      `out ${n}`,
      `std ${n}`,
      `event ${n}`,
      `end ${n}`,
    ]);
    expect(logs.filter(({ origin }) => origin !== undefined)).toEqual([]);
  }
});

test('A5 B24 a timer of the module prints for the one invocation that runs, and for none while it is idle or several run', async () => {
  const name = await live.deploy(
    `setInterval(() => console.log('tick ' + running), 60); let running = 0;
     export default { async fetch() { running++; await new Promise((done) => setTimeout(done, 400)); running--; return new Response('ok'); } };`,
    { manifest: { concurrency: 2 } },
  );
  const first = await called(live, name);
  await new Promise((done) => setTimeout(done, 300));
  await Promise.all([called(live, name), called(live, name)]);
  const found = await lines(live, name, 12);
  const ticks = (text: string): typeof found => found.filter((line) => line.text === text);
  expect(ticks('tick 1').filter(({ invocation }) => invocation === first.id).length).toBeGreaterThan(2);
  expect(ticks('tick 0').length).toBeGreaterThan(2);
  expect(ticks('tick 0').filter(({ origin }) => origin !== 'unclaimed').length).toBeLessThan(2);
  expect(ticks('tick 2').length).toBeGreaterThan(2);
  expect(
    new Set(
      ticks('tick 2')
        .slice(1, -1)
        .map(({ origin }) => origin),
    ),
  ).toEqual(new Set(['unclaimed']));
});

test('A5 B25 X3 what a call leaves behind prints under its own id, with a mark, while idle too', async () => {
  const name = await live.deploy(
    `export default { fetch() { setTimeout(() => { console.log('mail refused'); console.error(new Error('refused')); }, 200); return new Response('ok'); } };`,
  );
  const { id } = await called(live, name);
  const found = await lines(live, name, 2);
  const line = found.find(({ text }) => text === 'mail refused');
  expect(line).toMatchObject({ invocation: id, origin: 'late' });
});

test('A5 X5 bytes on descriptor 1 after the answer are not under the next call', async () => {
  const name = await live.deploy(
    `import fs from 'node:fs';
     export default { async fetch(request) {
       if (request.url.endsWith('/late')) setTimeout(() => { console.log('late console'); fs.writeSync(1, 'late fd1\\n'); }, 150);
       else await new Promise((done) => setTimeout(done, 500));
       return new Response('ok');
     } };`,
  );
  const first = await called(live, name, '/late');
  const second = await called(live, name, '/slow');
  const found = await lines(live, name, 2);
  expect(found.map(({ text }) => text)).toEqual(['late console', 'late fd1']);
  for (const line of found) expect(line).toMatchObject({ invocation: first.id, origin: 'late' });
  expect((await recordOf(live, second.id)).logs).toEqual([]);
});

test('A5 a child that inherits the output and outlives the answer loses no line', async () => {
  const name = await live.deploy(
    `import { spawn } from 'node:child_process';
     export default { fetch() { spawn('/bin/sh', ['-c', 'echo one; sleep 0.2; echo two >&2'], { stdio: 'inherit' }); return new Response('ok'); } };`,
  );
  await called(live, name);
  const found = await lines(live, name, 2);
  expect(found.map(({ text }) => text)).toEqual(['one', 'two']);
});

test('A5 X15 order between console and descriptors is kept', async () => {
  const name = await live.deploy(
    `import fs from 'node:fs';
     export default { fetch() { for (let at = 0; at < 8; at++) { fs.writeSync(1, 'a' + at + '\\n'); fs.writeSync(2, 'b' + at + '\\n'); console.log('c' + at); process.stderr.write('d' + at + '\\n'); } return new Response('ok'); } };`,
  );
  await called(live, name);
  const wanted = Array.from({ length: 8 }, (_, at) => [`a${at}`, `b${at}`, `c${at}`, `d${at}`]).flat();
  expect((await lines(live, name, 32)).map(({ text }) => text)).toEqual(wanted);
});

test('A5 B28 output of listeners to a signal and to exit is kept', async () => {
  const name = await live.deploy(
    `process.on('SIGTERM', () => console.log('bye')); process.on('exit', () => console.log('exit listener'));
     export default { async fetch(request) {
       if (request.url.endsWith('/exit')) process.exit(3);
       process.kill(process.pid, 'SIGTERM'); await new Promise((done) => setTimeout(done, 50)); return new Response('ok');
     } };`,
  );
  const { id } = await called(live, name);
  const other = await called(live, name, '/exit');
  const found = await lines(live, name, 2);
  expect(found.map(({ text, invocation }) => [text, invocation])).toEqual([
    ['bye', id],
    ['exit listener', other.id],
  ]);
});

test('A13 X6 warnings of the process are shown as warn [OB41]', async () => {
  const name = await live.deploy(
    `import { EventEmitter } from 'node:events';
     process.emitWarning('at load');
     export default { fetch() {
       process.emitWarning('my warning'); process.emitWarning('old', 'DeprecationWarning', 'DEP9');
       const events = new EventEmitter(); for (let at = 0; at < 12; at++) events.on('x', () => undefined);
       return new Response(String(process.listenerCount('warning')));
     } };`,
  );
  const { id, answer } = await called(live, name);
  expect(answer.text).toBe('1');
  const found = (await lines(live, name, 4)).filter(({ level }) => level === 'warn');
  const texts = found.map(({ text }) => text).join('\n');
  for (const part of [
    'Warning: at load',
    'Warning: my warning',
    '[DEP9] DeprecationWarning: old',
    'MaxListenersExceededWarning: Possible EventEmitter memory leak',
  ])
    expect(texts).toContain(part);
  // The check of the deploy has loaded the module.
  const own = found.filter(({ text }) => text.includes('Warning: ') && !text.includes('at load'));
  expect(new Set(own.map(({ invocation }) => invocation))).toEqual(new Set([id]));
});

test('A13 X19 console.dir, table, group and count have the level and the indentation of Node [OB41]', async () => {
  const name = await live.deploy(
    `export default { fetch() {
       console.dir({ a: { b: { c: { d: 1 } } } }, { depth: 0 }); console.group('outer'); console.log('in\\nside'); console.group(); console.warn('deep'); console.groupEnd(); console.groupEnd();
       console.log('out'); console.count('n'); console.assert(false, 'not so'); console.table([{ a: 1 }]); console.dirxml({ x: 1 });
       return new Response('ok');
     } };`,
  );
  await called(live, name);
  const found = (await lines(live, name, 13)).map(({ text, level }) => `${level}|${text}`);
  expect(found.slice(0, 8)).toEqual([
    'log|{ a: [Object] }',
    'log|outer',
    'log|  in',
    'log|  side',
    'warn|    deep',
    'log|out',
    'log|n: 1',
    'warn|Assertion failed: not so',
  ]);
  expect(found.slice(8).every((line) => line.startsWith('log|'))).toBe(true);
});
