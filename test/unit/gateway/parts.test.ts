/**
 * Parts of the gateway by themselves: environment, cache, records, heartbeat, traces, and refusals for lack of room.
 */
import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Redis } from 'ioredis';
import type { InvocationRecord } from '#contract/invocations/invocation.ts';
import { keys, RECENT_LENGTH, RECORD_TTL_S } from '#contract/platform/keys.ts';
import { DEFAULT_RETRIES } from '#contract/functions/manifest.ts';
import { spansOf } from '#contract/invocations/trace.ts';
import { connectRedis } from '#storage/redis/redis.ts';
import { Dispatcher } from '../../../gateway/dispatch/dispatch.ts';
import { parseEnvironment } from '../../../gateway/env.ts';
import { FreshCache } from '../../../gateway/functions/fresh-cache.ts';
import type { CallSink, Failure } from '../../../gateway/dispatch/pending.ts';
import { Heartbeat } from '../../../gateway/dispatch/heartbeat.ts';
import { Recorder } from '../../../gateway/dispatch/recorder.ts';
import { parseFunctionPath, rawTarget } from '../../../gateway/call/request.ts';
import { startTelemetry } from '#telemetry/spans.ts';
import { PrivateRedis, QUIET, waitFor } from '../../support/gateway/fixture.ts';

function recordOf(id: string, more: Partial<InvocationRecord> = {}): InvocationRecord {
  return {
    id,
    namespace: 'default',
    name: 'fn',
    version: 1,
    lane: 'sync',
    state: 'done',
    outcome: 'ok',
    status: 200,
    method: 'GET',
    path: '/',
    traceId: '4bf92f3577b34da6a3ce929d0e0e4736',
    spanId: '00f067aa0ba902b7',
    sampled: true,
    startedAt: 1_700_000_000_123.5,
    duration: 10,
    gateway: 1,
    queue: 2,
    requestBytes: 0,
    responseBytes: 0,
    report: {
      outcome: 'ok',
      worker: 'w1',
      acquired: 'cold',
      coldReason: 'first_call',
      timings: { acquire: 3, init: 1, run: 2, total: 6 },
      usage: { cpu: 1.5, memoryPeak: 1e6 },
      logBytes: 0,
      logBytesDropped: 0,
    },
    ...more,
  };
}

describe('the environment', () => {
  test('the environment has defaults that keep a fresh installation off the network', () => {
    expect(parseEnvironment({ OFFSHOOT_STATE: '/var/lib/offshoot', OFFSHOOT_PORT: '' })).toMatchObject({
      OFFSHOOT_HOST: '127.0.0.1',
      OFFSHOOT_PORT: 8787,
      OFFSHOOT_MAX_BODY_BYTES: 1024 * 1024 * 1024,
      OFFSHOOT_INLINE_BODY_BYTES: 1024 * 1024,
      OFFSHOOT_MAX_SPOOL_BYTES: 16 * 1024 * 1024 * 1024,
      OFFSHOOT_QUEUE_TIMEOUT_MS: 10_000,
      OFFSHOOT_TRUST_PROXY: '0',
    });
  });

  test('a bad environment is refused with a line for each variable that is wrong', () => {
    const wrong = { OFFSHOOT_PORT: 'http', REDIS_URL: 'mysql://x', OFFSHOOT_MAX_BODY_BYTES: '-1' };
    expect(() => parseEnvironment(wrong)).toThrow(
      /OFFSHOOT_PORT: [^]*REDIS_URL: "mysql:\/\/x" is not the address[^]*OFFSHOOT_STATE: [^]*OFFSHOOT_MAX_BODY_BYTES: /,
    );
  });
});

describe('paths', () => {
  test.each([
    ['/fn/a/b', 'a', 'b', '/'],
    ['/fn/a/b/', 'a', 'b', '/'],
    ['/fn/a/b?x', 'a', 'b', '/?x'],
    ['/fn/a/b#x', 'a', 'b', '/#x'],
    ['/fn/a/b//c', 'a', 'b', '//c'],
    ['/fn//b', '', 'b', '/'],
  ])('the path %s is split into namespace, name and rest', (path, namespace, name, rest) => {
    expect(parseFunctionPath(path)).toEqual({ namespace, name, rest });
  });
  test('a path without a function is not one', () => expect(parseFunctionPath('/fn/a')).toBeUndefined());
  test.each([
    ['http://h/fn/a/b', '/fn/a/b'],
    ['HTTPS://h', '/'],
    ['http://h?x', '/?x'],
    ['*', '*'],
    ['//fn/a/b', '//fn/a/b'],
  ])('the request target %s is reduced to its path', (url, target) => expect(rawTarget(url)).toBe(target));
});

/** A cache of three entries over a value that the test sets, and the number of reads. */
class Counted {
  value: string | undefined = 'v1';
  readonly read = vi.fn(async () => this.value);
  readonly cache = new FreshCache<string>(this.read, 3);
}

describe('FreshCache', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['performance'] });
    return () => vi.useRealTimers();
  });

  test('FreshCache reads once, again in the background when the value grows old, and waits when it is too old', async () => {
    const counted = new Counted();
    const { cache, read } = counted;
    expect(cache.peek('a')).toBeUndefined();
    await Promise.all([cache.get('a'), cache.get('a')]);
    expect(cache.peek('a')).toBe('v1');
    counted.value = 'v2';
    vi.advanceTimersByTime(1_500);
    expect(cache.peek('a')).toBe('v1');
    await vi.waitFor(() => expect(cache.peek('a')).toBe('v2'));
    counted.value = 'v3';
    vi.advanceTimersByTime(60_000);
    expect(cache.peek('a')).toBeUndefined();
    expect(await cache.get('a')).toBe('v3');
    expect(read.mock.calls.length).toBeLessThanOrEqual(4);
  });

  test('FreshCache never uses a value that was announced as changed, even when a read was under way', async () => {
    const slow = Promise.withResolvers<string>();
    const answers = [Promise.resolve('v1'), slow.promise, Promise.resolve('v3')];
    const cache = new FreshCache<string>(async () => await answers.shift(), 3);
    await cache.get('a');
    cache.invalidate('a');
    const second = cache.get('a');
    cache.invalidate('a');
    slow.resolve('v2: read before the change');
    await second;
    expect(cache.peek('a')).toBeUndefined();
    expect(await cache.get('a')).toBe('v3');
  });

  test('FreshCache remembers missing values, and keeps to its size', async () => {
    const counted = new Counted();
    const { cache, read } = counted;
    counted.value = undefined;
    expect([await cache.get('a'), await cache.get('a')]).toEqual([undefined, undefined]);
    expect(read).toHaveBeenCalledTimes(1);
    for (const key of ['b', 'c', 'd']) await cache.get(key);
    await cache.get('a');
    expect(read).toHaveBeenCalledTimes(5);
  });

  test('FreshCache returns the last known value while it cannot read', async () => {
    let fail = false;
    const cache = new FreshCache<string>(async () => {
      if (fail) throw new Error('away');
      return 'v1';
    }, 3);
    await cache.get('a');
    fail = true;
    vi.advanceTimersByTime(60_000);
    expect(await cache.get('a')).toBe('v1');
    await expect(cache.get('b')).rejects.toThrow('away');
  });
});

describe('in Redis', () => {
  let server: PrivateRedis;
  let commands: Redis;
  beforeAll(async () => {
    server = await PrivateRedis.start();
    commands = connectRedis(server.url, 'commands', QUIET);
    await waitFor(() => commands.status === 'ready');
  });
  afterAll(async () => {
    commands.disconnect();
    await server.stop();
  });

  test('records have their time to live, and a function keeps its newest ten thousand', async () => {
    const recorder = new Recorder(commands, QUIET, RECENT_LENGTH);
    const count = RECENT_LENGTH + 200;
    for (let index = 0; index < count; index++) {
      recorder.add(recordOf(`id-${index}`, { startedAt: index }));
      // No more than it takes in at once.
      if (index % 5_000 === 4_999) await recorder.close();
    }
    await recorder.close();
    const ttl = await commands.ttl(keys.invocation(`id-${count - 1}`));
    expect(ttl).toBeGreaterThan(RECORD_TTL_S - 10);
    expect(await commands.zcard(keys.recent('default', 'fn'))).toBe(RECENT_LENGTH);
    expect(await commands.zrange(keys.recent('default', 'fn'), 0, '0')).toEqual(['id-200']);
    expect(JSON.parse((await commands.get(keys.invocation('id-205'))) ?? '')).toEqual(
      recordOf('id-205', { startedAt: 205 }),
    );
    expect(await commands.exists(keys.invocation('id-195'))).toBe(0);
  });

  test('records that Redis does not take are dropped and counted, and do not pile up', async () => {
    const away = connectRedis('unix:///nonexistent/redis.sock', 'background', QUIET);
    const recorder = new Recorder(away, QUIET, 1_000);
    for (let index = 0; index < 10_500; index++) recorder.add(recordOf(`id-${index}`));
    await recorder.close();
    expect(recorder.dropped).toBe(10_500);
    away.disconnect();
  });

  test('the lists of dead gateways and workers are cleared away, those of living ones are not', async () => {
    const now = Date.now();
    await commands.zadd(keys.workers(), now - 120_000, 'dead', now - 5_000, 'alive', 1, 'forgotten');
    for (const id of ['dead', 'alive']) await commands.rpush(keys.control(id), 'frame');
    await commands.zadd(keys.gateways(), now - 120_000, 'dead', now - 5_000, 'alive', 1, 'forgotten');
    for (const id of ['dead', 'alive']) await commands.rpush(keys.replies(id), 'frame');
    const own = connectRedis(server.url, 'commands', QUIET);
    const heartbeat = new Heartbeat(own, 'me', QUIET);
    heartbeat.start();
    await waitFor(async () => (await commands.exists(keys.replies('dead'))) === 0);
    expect(await commands.exists(keys.replies('alive'))).toBe(1);
    await waitFor(async () => (await commands.zscore(keys.gateways(), 'forgotten')) === null);
    expect(await commands.zscore(keys.gateways(), 'me')).not.toBeNull();
    await waitFor(async () => (await commands.zrange(keys.workers(), 0, '-1')).join() === 'dead,alive');
    expect(await commands.exists(keys.control('dead'))).toBe(0);
    expect(await commands.exists(keys.control('alive'))).toBe(1);
    await heartbeat.stop();
    expect(await commands.zscore(keys.gateways(), 'me')).toBeNull();
    own.disconnect();
  });

  test('calls beyond the limit are refused as overloaded', async () => {
    const dispatcher = new Dispatcher({
      gatewayId: 'full',
      lane: connectRedis(server.url, 'lane', QUIET),
      blocking: connectRedis(server.url, 'blocking', QUIET),
      commands,
      queueTimeoutMs: 60_000,
      log: QUIET,
    });
    const failures: Failure[] = [];
    const sink: CallSink = {
      result: () => undefined,
      head: () => undefined,
      chunk: () => undefined,
      end: () => undefined,
      failed: (failure) => failures.push(failure),
    };
    const target = {
      namespace: 'full',
      name: 'fn',
      version: 1,
      isPublic: true,
      lane: keys.lane('full'),
      runMs: 1_000,
      requestMb: 100,
      retries: DEFAULT_RETRIES,
      queueMs: 1_000,
      batchSize: undefined,
      quota: undefined,
    };
    const body = Buffer.alloc(200 * 1024 * 1024);
    for (const id of ['a', 'b', 'c']) {
      dispatcher.invoke({ id, target, operation: 'fetch', traceparent: '', payload: [body] }, sink);
    }
    await waitFor(() => failures.length > 0);
    expect(failures).toEqual([{ outcome: 'overloaded', backlog: { waiting: 2, endedPerSecond: 0 } }]);
    await dispatcher.stop();
    expect(failures.map((failure) => failure.outcome)).toEqual(['overloaded', 'cancelled', 'cancelled']);
    expect(failures.at(-1)).toMatchObject({ cancelledBy: { by: 'shutdown' } });
  });
});

describe('traces', () => {
  let collector: Server;
  let received: { path: string | undefined; body: { resourceSpans: OtlpResource[] } }[] = [];
  beforeAll(async () => {
    collector = createServer((request, response) => {
      void request.toArray().then((chunks: Buffer[]) => {
        received.push({
          path: request.url,
          body: JSON.parse(Buffer.concat(chunks).toString()) as { resourceSpans: OtlpResource[] },
        });
        response.end('{}');
      });
    });
    collector.listen(0, '127.0.0.1');
    await once(collector, 'listening');
  });
  beforeEach(() => {
    received = [];
  });
  afterAll(() => collector.close());

  const exporter = (): OTLPTraceExporter => {
    const { port } = collector.address() as AddressInfo;
    return new OTLPTraceExporter({ url: `http://127.0.0.1:${port}/v1/traces` });
  };

  test('traces arrive at a collector with the ids and times of the record', async () => {
    const telemetry = startTelemetry('my-offshoot', '1.2.3', { exporter: exporter() });
    const record = recordOf('one', { outcome: 'crashed', parentSpanId: 'aaaaaaaaaaaaaaaa' });
    telemetry.export(record);
    telemetry.export(recordOf('two', { sampled: false }));
    await telemetry.close();
    expect(received).toHaveLength(1);
    expect(received[0]?.path).toBe('/v1/traces');
    const resource = received[0]?.body.resourceSpans[0];
    expect(resource?.resource.attributes).toContainEqual({
      key: 'service.name',
      value: { stringValue: 'my-offshoot' },
    });
    const spans = resource?.scopeSpans[0]?.spans ?? [];
    const wanted = spansOf(record);
    expect(spans.map((span) => span.spanId)).toEqual(wanted.map((span) => span.spanId));
    expect(spans.map((span) => span.name)).toEqual([
      'default/fn',
      ...wanted.slice(1).map((span) => span.name),
    ]);
    const [root, gateway] = spans;
    expect(root).toMatchObject({
      traceId: record.traceId,
      parentSpanId: 'aaaaaaaaaaaaaaaa',
      kind: 2,
      startTimeUnixNano: '1700000000123500000',
      endTimeUnixNano: '1700000000133500000',
      status: { code: 2 },
    });
    expect(root?.attributes).toContainEqual({ key: 'offshoot.outcome', value: { stringValue: 'crashed' } });
    expect(gateway).toMatchObject({ parentSpanId: record.spanId, kind: 1 });
  });

  test('an unsampled trace arrives when its call failed or was slow', async () => {
    const telemetry = startTelemetry('my-offshoot', '1.2.3', { exporter: exporter(), slowMs: 500 });
    const ids = ['good', 'crashed', 'bad', 'slow', 'late'].map(
      (id, at) => [id, `${at + 1}`.repeat(32)] as const,
    );
    const traces = new Map(ids);
    const unsampled = (id: string, more: Partial<InvocationRecord> = {}): void =>
      void telemetry.export(recordOf(id, { traceId: traces.get(id) ?? '', sampled: false, ...more }));
    unsampled('good');
    unsampled('crashed', { outcome: 'crashed' });
    unsampled('bad', { status: 500 });
    unsampled('slow', { duration: 500, tracestate: 'vendor=1' });
    const span = { name: 'late', spanId: '1'.repeat(16), parentSpanId: '2'.repeat(16), kind: 0 };
    const late = { ...span, startedAt: 1, duration: 1 };
    const call = { id: 'late', traceparent: `00-${traces.get('late')}-${'2'.repeat(16)}-00`, failed: false };
    telemetry.lateSpans(call, [late]);
    telemetry.lateSpans(call, [{ ...late, error: 'it failed' }]);
    await telemetry.close();
    const spans = received.flatMap(({ body }) =>
      body.resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap((scope) => scope.spans)),
    );
    const arrived = new Set(spans.map((one) => one.traceId));
    expect(ids.filter(([, traceId]) => arrived.has(traceId)).map(([id]) => id)).toEqual([
      'crashed',
      'bad',
      'slow',
      'late',
    ]);
    expect(spans.filter(({ name }) => name === 'late')).toHaveLength(1);
    expect(spans.find((one) => one.traceId === traces.get('slow'))?.traceState).toBe('vendor=1');
  });
});

interface OtlpSpan {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly traceState?: string;
  readonly attributes: unknown[];
}

interface OtlpResource {
  readonly resource: { readonly attributes: unknown[] };
  readonly scopeSpans: { readonly spans: OtlpSpan[] }[];
}
