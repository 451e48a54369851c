/** Not an example: a fixture that misbehaves in every way that the platform must survive, chosen by the path. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';

interface Call {
  readonly request: Request;
  readonly query: URLSearchParams;
  readonly env: OffshootEnv;
  readonly ctx: OffshootContext;
}

/** Kept from one invocation to the next of the same sandbox. */
let calls = 0;

for (let line = 0; line < Number(process.env['PRINT_AT_LOAD'] ?? 0); line++)
  console.log('the module is being loaded');
const loadMs = Number(process.env['LOAD_MS'] ?? 0);
if (loadMs > 0) await sleep(loadMs);

// As native code and child processes do, which write bytes, and not lines or characters.
for (const byte of Buffer.from(process.env['PIECES_AT_LOAD'] ?? '')) {
  writeSync(1, Buffer.of(byte));
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
}

/** How often `step` works, and the code of the error that ends it. */
function fillUntilError(step: (index: number) => unknown): [number, string | undefined] {
  for (let index = 0; ; index++) {
    try {
      step(index);
    } catch (error) {
      return [index, (error as NodeJS.ErrnoException).code];
    }
  }
}

const faults: Record<string, (call: Call) => unknown> = {
  ok: () => Response.json({ ok: true }),
  throw: () => {
    throw new TypeError('thrown on purpose');
  },
  'throw-value': () => {
    // oxlint-disable-next-line no-throw-literal, typescript/only-throw-error -- that this is survived is the point
    throw 'not an Error';
  },
  reject: () => Promise.reject(new RangeError('rejected on purpose')),
  'late-throw': () => {
    setTimeout(() => {
      throw new Error('thrown on purpose, outside of any promise');
    }, 5);
    return sleep(60_000);
  },
  nothing: () => undefined,
  'no-response': () => ({ status: 200, text: 'an object is not a Response' }),
  'bad-status': () => new Proxy(new Response(), { get: (_, key) => (key === 'status' ? 99 : undefined) }),
  exit: ({ query }) => process.exit(Number(query.get('code') ?? 3)),
  /** The kernel keeps from PID 1 of a namespace what it sends to itself without a handler; the runtime obeys in its place. */
  signal: ({ query }) => {
    process.kill(process.pid, query.get('name') ?? 'SIGSEGV');
    return sleep(60_000);
  },
  /** A crash: abort(3) ends the process by a signal in any case. */
  abort: () => process.abort(),
  /** A system call that no sandbox may make. */
  refused: () => {
    try {
      process.setuid?.(1000);
    } catch (error) {
      return Response.json({ code: (error as NodeJS.ErrnoException).code });
    }
    return Response.json({ code: 'done' });
  },
  never: () => new Promise(() => undefined),
  sleep: async ({ query }) => {
    await sleep(Number(query.get('ms') ?? 100));
    return Response.json({ slept: true });
  },
  busy: () => {
    for (;;) calls += 0;
  },
  /** Processor time, measured as such. */
  spin: ({ query }) => {
    const start = process.cpuUsage();
    const spentMs = (): number => {
      const { user, system } = process.cpuUsage(start);
      return (user + system) / 1_000;
    };
    while (spentMs() < Number(query.get('ms') ?? 100)) calls += 0;
    return Response.json({ spun: true });
  },
  /** Memory of Buffers, which lies outside of the JavaScript heap. */
  allocate: async () => {
    const kept: Buffer[] = [];
    for (;;) {
      kept.push(Buffer.alloc(8 * 1024 * 1024, kept.length));
      await sleep(1);
    }
  },
  /** So much memory at once, and no more. */
  /** Live objects up to the limit of V8's heap, which is below that of the sandbox. */
  'fill-heap': () => {
    const live: object[] = [];
    for (;;) live.push({ number: live.length });
  },
  /** The same in a thread, whose end the main thread survives. */
  'fill-thread': async () => {
    await once(
      new Worker('const live = []; for (;;) live.push({ number: live.length });', { eval: true }),
      'exit',
    );
  },
  hold: ({ query }) => {
    const held = Buffer.alloc(Number(query.get('mb') ?? 1) * 1024 * 1024, 1);
    return Response.json({ bytes: held.length });
  },
  /** Memory of the JavaScript heap. */
  heap: () => {
    const kept: number[][] = [];
    for (;;) kept.push(Array.from({ length: 100_000 }, (_, index) => index + 0.5));
  },
  /** Child processes until one is refused. */
  spawn: async ({ query }) => {
    const children: ChildProcess[] = [];
    try {
      for (;;) {
        const child = spawn('/bin/sleep', ['60'], { stdio: 'ignore' });
        await once(child, 'spawn');
        children.push(child);
      }
    } catch (error) {
      for (const child of children) child.kill('SIGKILL');
      if (query.get('caught') === null) throw error;
      return Response.json({ spawned: children.length });
    }
  },
  /** A child process that takes memory until the kernel ends it; the function itself lives on where it may. */
  'child-memory': async () => {
    const child = spawn('/usr/bin/tail', ['/dev/zero'], { stdio: 'ignore' });
    const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
    return Response.json({ code, signal });
  },
  threads: async () => {
    for (;;) await once(new Worker('setInterval(() => undefined, 1000)', { eval: true }), 'online');
  },
  /** Bytes and files that /tmp takes. */
  'fill-tmp': () => {
    const block = Buffer.alloc(64 * 1024);
    const [bytes, stoppedBy] = fillUntilError((index) => writeFileSync(`/tmp/block-${index}`, block));
    for (const name of readdirSync('/tmp')) unlinkSync(`/tmp/${name}`);
    const [files, filesStoppedBy] = fillUntilError((index) => writeFileSync(`/tmp/empty-${index}`, ''));
    for (const name of readdirSync('/tmp')) unlinkSync(`/tmp/${name}`);
    return Response.json({ bytes: bytes * block.length, stoppedBy, files, filesStoppedBy });
  },
  'own-limits': () => new Response(readFileSync('/proc/self/limits', 'utf8')),
  'open-files': () => {
    const fds: number[] = [];
    const [count, stoppedBy] = fillUntilError(() => fds.push(openSync('/dev/null', 'r')));
    for (const fd of fds) closeSync(fd);
    return Response.json({ count, stoppedBy });
  },
  print: async () => {
    for (let line = 0; ; line++) {
      console.log(`line ${line} ${'x'.repeat(1_000)}`);
      if (line % 1_000 === 0) await sleep(0);
    }
  },
  'print-some': ({ query }) => {
    const lines = Number(query.get('lines') ?? 3);
    for (let line = 0; line < lines; line++) console.log(`line ${line}`);
    console.error('to the error level');
    process.stdout.write('written to stdout\n');
    return Response.json({ lines });
  },
  'print-long': ({ query }) => {
    const lines = Number(query.get('lines') ?? 3);
    for (let line = 0; line < lines; line++) console.log('z'.repeat(16_000));
    return Response.json({ lines });
  },
  'print-control': () => {
    console.log('\u001b[31mred\u001b[0m \u0007bell \u202ereversed');
    return Response.json({ printed: true });
  },
  /** All that a terminal acts on: controls of both kinds, an address behind text, text that runs backwards, half a character. */
  'print-hostile': () => {
    const text =
      '\u001b]8;;http://evil.example\u001b\\\\a\u009b31mb\u009cc\u0000d\u202ee\u2066f\u061cg\u2028h\ud800i\u007f\rj';
    console.log(text);
    process.stdout.write(`${text}\n`);
    writeSync(2, `${text}\n`);
    const error = new Error(text);
    error.name = text;
    throw error;
  },
  /** Lines that come in pieces, a character among them, by both ways. */
  'print-pieces': async () => {
    for (const piece of ['by the ', 'runtime\nnext', '\n']) process.stdout.write(piece);
    // What a child process prints is piped on like this.
    for (const byte of Buffer.from('as bÿtes\n')) process.stdout.write(Buffer.of(byte));
    for (const byte of Buffer.from('déscriptor\n')) writeSync(1, Buffer.of(byte));
    // By the descriptor itself, past the runtime.
    const cat = spawn('/bin/cat', [], { stdio: ['pipe', 'inherit', 'inherit'] });
    for (const byte of Buffer.from('nätive\nunended')) {
      cat.stdin.write(Buffer.of(byte));
      await sleep(1);
    }
    cat.stdin.end();
    await once(cat, 'exit');
    return Response.json({ printed: true });
  },
  'print-half': () => {
    writeSync(1, Buffer.from('half ä').subarray(0, -1));
    return Response.json({ printed: true });
  },
  /** Prints after its answer what is over its limit. */
  'print-late': ({ ctx, query }) => {
    const print = async (): Promise<void> => {
      await sleep(50);
      for (let line = 0; line < Number(query.get('lines') ?? 100_000); line++) console.log(`late ${line}`);
    };
    ctx.waitUntil(print());
    return Response.json({ printed: false });
  },
  'large-response': ({ query }) =>
    new Response(new Uint8Array(Number(query.get('bytes') ?? 20 * 1024 * 1024))),
  'broken-stream': () =>
    new Response(
      new ReadableStream({
        async start(controller) {
          controller.enqueue(new TextEncoder().encode('the beginning\n'));
          await sleep(20);
          controller.error(new Error('broken on purpose in the middle of the response'));
        },
      }),
    ),
  'wait-until': ({ ctx, query }) => {
    const late = async (): Promise<void> => {
      await sleep(Number(query.get('ms') ?? 200));
      console.log('done after the response');
    };
    ctx.waitUntil(late());
    return Response.json({ accepted: true });
  },
  /** What a sandbox can say of its own isolation. */
  isolation: () =>
    Response.json({
      namespaces: Object.fromEntries(
        ['user', 'pid', 'mnt', 'net', 'ipc', 'uts', 'cgroup'].map((name) => [
          name,
          Number(/\d+/.exec(readlinkSync(`/proc/self/ns/${name}`))?.[0]),
        ]),
      ),
      uidMap: readFileSync('/proc/self/uid_map', 'utf8').trim().split(/ +/).map(Number),
    }),
  count: () => Response.json({ calls }),
  process: () =>
    Response.json({
      pid: process.pid,
      uid: process.getuid?.(),
      gid: process.getgid?.(),
      groups: process.getgroups?.(),
      cwd: process.cwd(),
      argv: process.argv,
      env: process.env,
      version: process.version,
    }),
  env: ({ env }) => Response.json(env),
  random: () =>
    Response.json({
      math: Math.random(),
      uuid: crypto.randomUUID(),
      values: Array.from(crypto.getRandomValues(new Uint32Array(4))),
    }),
  context: ({ ctx }) =>
    Response.json({ id: ctx.invocationId, traceparent: ctx.traceparent, remainingMs: ctx.remainingMs() }),
  request: async ({ request }) =>
    Response.json({
      method: request.method,
      url: request.url,
      headers: [...request.headers],
      body: Buffer.from(await request.arrayBuffer()).toString('base64'),
    }),
  cookies: () =>
    new Response(null, {
      status: 204,
      headers: [
        ['set-cookie', 'a=1'],
        ['set-cookie', 'b=2; Path=/'],
      ],
    }),
  binary: () =>
    new Response(
      Uint8Array.from({ length: 256 }, (_, index) => index),
      {
        headers: { 'content-type': 'application/octet-stream' },
      },
    ),
};

export default {
  fetch(request: Request, env: OffshootEnv, ctx: OffshootContext): unknown {
    calls++;
    const { pathname, searchParams } = new URL(request.url);
    const fault = faults[pathname.slice(1)];
    if (fault) return fault({ request, query: searchParams, env, ctx });
    return Response.json({ faults: Object.keys(faults) }, { status: pathname === '/' ? 200 : 404 });
  },
};
