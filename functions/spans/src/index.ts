/** What `@opentelemetry/api` may be asked for, by path. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  context,
  createContextKey,
  propagation,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  type Span,
} from '@opentelemetry/api';

const tracer = trace.getTracer('spans');
/** As `@opentelemetry/core` has it. */
const SUPPRESS = createContextKey('OpenTelemetry SDK Context Key SUPPRESS_TRACING');
const MESSAGE = { traceId: '1'.repeat(32), spanId: '2'.repeat(16), traceFlags: 1 };

interface Context {
  waitUntil(promise: Promise<unknown>): void;
}

type Scenario = (request: Request, ctx: Context) => Promise<object | Response> | object;

const scenarios: Readonly<Record<string, Scenario>> = {
  '/parts': () => {
    const span = tracer.startSpan('parts', {
      kind: SpanKind.CONSUMER,
      links: [{ context: MESSAGE, attributes: { message: 'first' } }],
    });
    span.addEvent('cache.miss', { key: 'a' }, new Date(1_700_000_000_500));
    span.addEvent('timed', [1_700_000_000, 250_000_000]);
    span.recordException(new TypeError('bad input'));
    span.recordException('only words');
    span.addLink({ context: { ...MESSAGE, spanId: '3'.repeat(16) } });
    span.addLink({ context: { ...MESSAGE, spanId: '0'.repeat(16) } });
    span
      .setStatus({ code: SpanStatusCode.OK })
      .setStatus({ code: SpanStatusCode.ERROR, message: 'too late' });
    const before = span.isRecording();
    span.end();
    span.end();
    span.setAttribute('after', true).addEvent('after');
    return { before, after: span.isRecording() };
  },

  '/capped': () => {
    const span = tracer.startSpan('capped');
    for (let index = 0; index < 100; index++) {
      span.setAttribute(`a${index}`, index).addEvent(`e${index}`);
      span.addLink({ context: MESSAGE });
    }
    span.setAttribute('a0', 'again').end();
    const wide = tracer.startSpan('wide');
    for (let index = 0; index < 5; index++) wide.addEvent('\u0001'.repeat(1_000));
    wide.end();
    return {};
  },

  '/contexts': async () => {
    const key = createContextKey('own');
    const seen: Record<string, unknown> = { run: trace.getActiveSpan()?.spanContext().spanId };
    await tracer.startActiveSpan('one', async (one) => {
      await sleep(1);
      seen['one'] = trace.getActiveSpan() === one;
      tracer.startActiveSpan('two', { attributes: { a: 1 } }, (two) => {
        seen['two'] = trace.getActiveSpan() === two;
        two.end();
      });
      const own = context.active().setValue(key, 'value');
      tracer.startActiveSpan('three', { kind: SpanKind.PRODUCER }, own, (three) => {
        seen['three'] = context.active().getValue(key);
        three.end();
      });
      await context.with(own, async () => {
        await sleep(1);
        seen['with'] = [context.active().getValue(key), trace.getActiveSpan() === one];
      });
      seen['bound'] = context.bind(own, () => context.active().getValue(key))();
      seen['without'] = context.active().getValue(key) ?? null;
      tracer.startSpan('root', { root: true }).end();
      tracer.startSpan('of the root context', {}, ROOT_CONTEXT).end();
      await context.with(context.active().setValue(SUPPRESS, true), async () => {
        const silent = tracer.startSpan('silent');
        const carrier: Record<string, string> = {};
        propagation.inject(trace.setSpan(context.active(), silent), carrier);
        seen['silent'] = [silent.isRecording(), trace.isSpanContextValid(silent.spanContext()), carrier];
        silent.end();
        await fetch('http://127.0.0.1:9/').catch(() => undefined);
      });
      one.end();
    });
    return seen;
  },

  '/times': () => {
    const at = Date.now() - 5_000;
    const seconds = Math.floor(at / 1_000);
    const hrTime: [number, number] = [seconds, (at - seconds * 1_000) * 1e6];
    tracer.startSpan('hrtime', { startTime: hrTime }).end([seconds + 1, hrTime[1]]);
    tracer.startSpan('date', { startTime: new Date(at) }).end(new Date(at + 1_000));
    tracer.startSpan('number', { startTime: at }).end(at + 1_000);
    const now = performance.now();
    tracer.startSpan('performance', { startTime: now }).end(now + 1_000);
    tracer.startSpan('backwards', { startTime: at }).end(at - 1_000);
    tracer.startSpan('nonsense', { startTime: new Date(Number.NaN) }).end(Number.POSITIVE_INFINITY);
    return { at, now: Date.now() };
  },

  '/open': () => {
    const open = tracer.startSpan('open', { attributes: { early: true } });
    open.setAttribute('later', true).addEvent('on the way');
    tracer.startSpan('child', {}, trace.setSpan(context.active(), open)).end();
    // Nobody waits for it.
    setTimeout(() => open.end(), 200);
    return {};
  },

  '/stream': () => {
    const span = tracer.startSpan('streamed');
    const left = tracer.startSpan('left');
    const body = new ReadableStream({
      async start(controller) {
        for (let index = 0; index < 3; index++) {
          controller.enqueue(new TextEncoder().encode('piece '));
          await sleep(20);
        }
        left.addEvent('while streaming');
        controller.close();
        span.end();
      },
    });
    return new Response(body);
  },

  '/wait': (_, ctx) => {
    const before = tracer.startSpan('begun before');
    ctx.waitUntil(
      sleep(50).then(async () => {
        before.end();
        await tracer.startActiveSpan('begun after', async (after) => {
          await sleep(10);
          tracer.startSpan('its child').end();
          after.end();
        });
        tracer.startSpan('never ended');
      }),
    );
    return {};
  },

  '/spin': () =>
    tracer.startActiveSpan('spins', { attributes: { why: 'a loop' } }, () => {
      tracer.startSpan('ended before').end();
      for (;;);
    }),

  '/uncaught': async () => {
    const span = tracer.startSpan('throws elsewhere');
    span.setAttribute('later', true);
    setTimeout(() => {
      throw new Error('nobody catches it');
    });
    await sleep(1_000);
    span.end();
    return {};
  },

  '/memory': () =>
    tracer.startActiveSpan('grows', () => {
      const held: Buffer[] = [];
      for (;;) held.push(Buffer.alloc(8 * 1024 * 1024, 1));
    }),

  '/many': async () =>
    await tracer.startActiveSpan('parent', async (parent: Span) => {
      for (let index = 0; index < 1_000; index++) tracer.startActiveSpan(`s${index}`, (span) => span.end());
      await sleep(1);
      parent.end();
      return {};
    }),

  '/echo': async (request) => {
    const seen = Object.fromEntries(request.headers);
    const handed = trace.getActiveSpan()?.spanContext().traceState?.get('vendor');
    const server = createServer((asked, answer) => answer.end(JSON.stringify(asked.headers)));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const fetched = (await (await fetch(`http://127.0.0.1:${port}/`)).json()) as object;
    const asked = new Request(`http://127.0.0.1:${port}/by-request`, {
      method: 'PUT',
      headers: { 'x-own': 'kept' },
      body: 'body',
    });
    const byRequest = (await (await fetch(asked)).json()) as object;
    server.close();
    return { seen, handed, fetched, byRequest };
  },

  '/fetches': async () => {
    const server = createServer((request, response) => {
      if (request.url === '/redirect') response.writeHead(302, { location: '/' }).end();
      else if (request.url === '/missing') response.writeHead(404).end();
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const at = (path: string): string => `http://127.0.0.1:${port}${path}`;
    const outcomes = await Promise.allSettled([
      fetch(at('/aborted'), { signal: AbortSignal.timeout(20) }),
      fetch(new Request(at('/redirect'), { redirect: 'error' })),
      fetch(at('/missing')),
    ]);
    server.closeAllConnections();
    server.close();
    return { outcomes: outcomes.map(({ status }) => status) };
  },

  '/consume': () => {
    const carrier = { traceparent: `00-${MESSAGE.traceId}-${MESSAGE.spanId}-01`, tracestate: 'vendor=2' };
    const sender = propagation.extract(context.active(), carrier);
    const remote = trace.getSpanContext(sender);
    tracer.startSpan('consumer', { kind: SpanKind.CONSUMER }, sender).end();
    const handedOn: Record<string, string> = {};
    propagation.inject(sender, handedOn);
    const none = propagation.extract(ROOT_CONTEXT, { traceparent: 'nonsense' });
    return {
      handedOn,
      isRemote: remote?.isRemote,
      vendor: remote?.traceState?.get('vendor'),
      none: trace.getSpanContext(none) === undefined,
    };
  },
};

export default {
  async fetch(request: Request, _env: object, ctx: Context): Promise<Response> {
    const scenario = scenarios[new URL(request.url).pathname];
    if (!scenario) return new Response('no such scenario\n', { status: 404 });
    const answer = await scenario(request, ctx);
    return answer instanceof Response ? answer : Response.json(answer);
  },
};
