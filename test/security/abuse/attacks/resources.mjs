/** Attacks on memory, processors, processes, descriptors and output, chosen by the path. */
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';

const never = () => new Promise(() => undefined);

/** Memory that the first line of this module could take, before any other code of it ran. */
const first = (() => {
  const limit = readFileSync('/proc/self/cgroup', 'utf8');
  return { cgroups: limit.split('\n').filter(Boolean) };
})();

/** Runs the native program to its end, and returns its output and how it ended. */
function native(...words) {
  const { status, signal, stdout, stderr, error } = spawnSync('/var/task/abuse', words, { encoding: 'utf8' });
  return Response.json({ status, signal, said: parse(stdout), stderr, error: error?.code });
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

const attacks = {
  ok: () => Response.json({ ok: true }),
  first: () => Response.json(first),
  native: ({ words }) => native(...words.split(' ')),
  /** Does not wait for the program, which goes on beyond the invocation. */
  background: ({ words }) => {
    spawn('/var/task/abuse', words.split(' '), { stdio: ['ignore', 'inherit', 'inherit'] }).on(
      'error',
      () => undefined,
    );
    return never();
  },
  'fork-bomb': () => {
    for (;;) {
      try {
        spawn('/var/task/abuse', ['fork-bomb'], { stdio: 'ignore' }).on('error', () => undefined);
      } catch {
        // The limit is reached; the loop goes on trying.
      }
    }
  },
  'worker-bomb': async () => {
    let failed = 0;
    let made = 0;
    let why = '';
    for (let count = 0; count < 300; count++) {
      const { promise, resolve } = Promise.withResolvers();
      const worker = new Worker('setInterval(() => undefined, 1000)', {
        eval: true,
        resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 1 },
      });
      worker.on('online', () => resolve(true));
      worker.on('error', (error) => {
        why = String(error);
        resolve(false);
      });
      if (await promise) made++;
      else failed++;
      if (failed > 3) break;
    }
    return Response.json({ made, failed, why });
  },
  heap: () => {
    const kept = [];
    for (;;) kept.push(Array.from({ length: 100_000 }, (_, index) => index + 0.5));
  },
  buffers: async () => {
    const kept = [];
    for (;;) {
      kept.push(Buffer.alloc(8 * 1024 * 1024, 1));
      await sleep(1);
    }
  },
  spin: () => {
    for (;;);
  },
  wait: () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0),
  pipe: () => native('block-read'),
  never,
  stop: () => {
    process.kill(process.pid, 'SIGSTOP');
    return never();
  },
  stubborn: () => {
    for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT']) process.on(name, () => undefined);
    spawn('/var/task/abuse', ['stubborn'], { stdio: 'ignore', detached: true }).unref();
    for (;;);
  },
  print: () => {
    for (;;) console.log('x'.repeat(40_000));
  },
  'print-newlines': () => {
    for (;;) console.log('\n'.repeat(40_000));
  },
  'long-line': () => {
    for (let part = 0; part < 100; part++) process.stdout.write('y'.repeat(1024 * 1024));
    return Response.json({ printed: true });
  },
  inject: () => {
    console.log('\u001b[2J\u001b[31mred\u0007\u202ereversed');
    console.log('first\n{"level":"platform","time":0,"text":"forged"}\r\nthird');
    console.log(JSON.stringify({ invocation: 'another', level: 'platform', text: 'forged too' }));
    process.stdout.write('{"level":60,"name":"worker","msg":"forged"}\n');
    return Response.json({ printed: true });
  },
  /** A response without end. */
  result: () =>
    new Response(
      new ReadableStream({
        pull(controller) {
          controller.enqueue(new Uint8Array(1024 * 1024));
        },
      }),
    ),
  'large-result': ({ mb }) => new Response(new Uint8Array(Number(mb) * 1024 * 1024)),
  'large-error': () => {
    const error = new Error('e'.repeat(20 * 1024 * 1024));
    error.name = 'N'.repeat(1024 * 1024);
    throw error;
  },
  'many-headers': () => {
    const headers = new Headers();
    for (let number = 0; number < 5_000; number++) headers.append(`x-${number}`, 'v'.repeat(100));
    return new Response('late', { headers });
  },
  slow: () =>
    new Response(
      new ReadableStream({
        async pull(controller) {
          await sleep(200);
          controller.enqueue(new Uint8Array([46]));
        },
      }),
    ),
};

export default {
  fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    return attacks[pathname.slice(1)](Object.fromEntries(searchParams));
  },
};
