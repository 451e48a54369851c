/** Not an example: a fixture that misbehaves in every way that the platform must survive, chosen by the path. */
import { setTimeout as sleep } from 'node:timers/promises';

interface Call {
  readonly request: Request;
  readonly query: URLSearchParams;
  readonly env: OffshootEnv;
  readonly ctx: OffshootContext;
}

/** Kept from one invocation to the next of the same sandbox. */
let calls = 0;

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
  /** The kernel keeps from PID 1 of a namespace what it sends to itself without a handler: this one goes on sleeping. */
  signal: ({ query }) => {
    process.kill(process.pid, query.get('name') ?? 'SIGSEGV');
    return sleep(60_000);
  },
  /** A crash: abort(3) ends the process by a signal in any case. */
  abort: () => process.abort(),
  never: () => new Promise(() => undefined),
  sleep: async ({ query }) => {
    await sleep(Number(query.get('ms') ?? 100));
    return Response.json({ slept: true });
  },
  busy: () => {
    for (;;) calls += 0;
  },
  /** Memory of Buffers, which lies outside of the JavaScript heap. */
  allocate: async () => {
    const kept: Buffer[] = [];
    for (;;) {
      kept.push(Buffer.alloc(8 * 1024 * 1024, kept.length));
      await sleep(1);
    }
  },
  /** Memory of the JavaScript heap. */
  heap: () => {
    const kept: number[][] = [];
    for (;;) kept.push(Array.from({ length: 100_000 }, (_, index) => index + 0.5));
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
  'print-control': () => {
    console.log('\u001b[31mred\u001b[0m \u0007bell \u202ereversed');
    return Response.json({ printed: true });
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
