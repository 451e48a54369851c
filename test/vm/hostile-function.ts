/**
 * Source of the function that goes against every limit, chosen by the path. Plain JavaScript: the sandbox runs it
 * unchanged.
 */
export const HOSTILE = `
import { spawn } from 'node:child_process';
import { closeSync, openSync, writeSync } from 'node:fs';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { Worker } from 'node:worker_threads';
const MB = 1024 * 1024;
const kept = [];
const run = (script, options) => { const child = spawn('/bin/sh', ['-c', script], { stdio: 'ignore', ...options }); child.on('error', () => {}); child.unref(); };
const until = (work) => { for (let count = 0; ; count++) { try { work(count); } catch (error) { return { count, code: error.code }; } } };
const deeds = {
  '/ok': () => 'fine',
  '/fork-bomb': () => { run('f() { f | f & }; f'); return 'lit'; },
  '/thread-bomb': () => new Promise((resolve) => {
    const more = () => { const worker = new Worker('setInterval(() => {}, 1000)', { eval: true });
      worker.on('online', () => { kept.push(worker); more(); }).on('error', (error) => resolve({ code: error.code, threads: kept.length })); };
    more(); }),
  '/mem-bomb-js': () => { for (;;) kept.push(Array.from({ length: 100000 }, (_, index) => index + 0.5)); },
  '/mem-bomb-buffers': async () => { for (;;) { kept.push(Buffer.alloc(8 * MB, 1)); await new Promise((resolve) => setTimeout(resolve, 1)); } },
  '/mem-bomb-child': () => { run('sleep 600 & tail /dev/zero'); return new Promise(() => {}); },
  '/fill-tmp': () => { const fd = openSync('/tmp/big', 'w'); const block = Buffer.alloc(MB, 1); return until(() => writeSync(fd, block)); },
  '/fill-sockets': async () => {
    const server = createServer((socket) => kept.push(socket.pause()));
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const block = Buffer.alloc(64 * 1024);
    for (;;) { const socket = connect(server.address().port, '127.0.0.1'); await once(socket, 'connect'); kept.push(socket);
      while (socket.writableLength === 0) socket.write(block); }
  },
  '/fill-inodes': () => until((count) => closeSync(openSync('/tmp/' + count, 'w'))),
  '/spin': () => { for (let each = 0; each < 3; each++) run('while :; do :; done'); return 'spinning'; },
  '/block': () => { run('trap "" TERM INT HUP; while :; do sleep 1; done'); run('kill -STOP $$'); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); },
  '/daemons': () => { for (let each = 0; each < 8; each++) run('trap "" TERM HUP; (while :; do sleep 5; done) & wait', { detached: true }); return 'hidden'; },
  '/open-files': () => { const result = until(() => kept.push(openSync('/dev/null'))); for (const fd of kept.splice(0)) closeSync(fd); return result; },
};
export default { async fetch(request) { return Response.json(await deeds[new URL(request.url).pathname]()); } };`;
