/** The tree of a trace: each span below the one that made it, whatever functions and callers claim. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { FunctionSpan, InvocationRecord, OpenInvocation } from '#contract/invocations/invocation.ts';
import { keys } from '#contract/platform/keys.ts';
import { runSpanId } from '#contract/invocations/trace.ts';
import { MAX_TRACE_SPANS, WholeTrace, type TraceSpan } from '#contract/invocations/whole-trace.ts';
import { traceOf } from '../../../../gateway/records/whole-trace.ts';
import {
  PrivateRedis,
  send,
  startGateway,
  type RawResponse,
  type TestGateway,
} from '../../../support/gateway/fixture.ts';

const TRACE = 'a'.repeat(32);
const ROOT = '1111111111111111';
const CALLER = '00f067aa0ba902b7';
const OTHER = '2222222222222222';
const START = 1_800_000_000_000;

const identity = {
  namespace: 'default',
  version: 1,
  lane: 'sync',
  method: 'GET',
  path: '/',
  traceId: TRACE,
  sampled: true,
  requestBytes: 0,
} as const;

function done(name: string, spanId: string, changes: Partial<InvocationRecord> = {}): InvocationRecord {
  return {
    ...identity,
    id: `id-${name}`,
    name,
    spanId,
    startedAt: START,
    state: 'done',
    outcome: 'ok',
    status: 200,
    duration: 20,
    gateway: 1,
    queue: 2,
    responseBytes: 0,
    ...changes,
  };
}

function report(spans: FunctionSpan[] = []): NonNullable<InvocationRecord['report']> {
  const timings = { acquire: 4, init: 0, run: 10, total: 14 };
  return { outcome: 'ok', worker: 'w', timings, logBytes: 0, logBytesDropped: 0, spans };
}

function own(name: string, spanId: string, parentSpanId: string): FunctionSpan {
  return { name, spanId, parentSpanId, kind: 0, startedAt: START + 8, duration: 4 };
}

/** Each span as its name, indented by its depth. */
function drawn(spans: readonly TraceSpan[]): string[] {
  return spans.map(({ name, depth }) => '.'.repeat(depth) + name);
}

describe('the tree', () => {
  const fetched = 'f'.repeat(16);
  const first = done('first', ROOT, {
    parentSpanId: CALLER,
    report: report([
      { ...own('GET', fetched, 'e'.repeat(16)), kind: 2 },
      own('work', 'e'.repeat(16), runSpanId(ROOT)),
    ]),
  });
  const second = done('second', OTHER, {
    parentSpanId: fetched,
    startedAt: START + 9,
    duration: 3,
    outcome: 'error',
    status: 502,
  });

  test('an invocation lies below the span of the function that called it, the first one below its caller', () => {
    const trace = traceOf(TRACE, [second, first]);
    expect(WholeTrace.parse(trace)).toEqual(trace);
    expect(drawn(trace.spans)).toEqual([
      'caller',
      '.default/first',
      '..gateway',
      '..queue',
      '..acquire',
      '..run',
      '...work',
      '....GET',
      '.....default/second',
      '......gateway',
      '......queue',
      '..reply',
    ]);
    expect(trace).toMatchObject({ startedAt: START, duration: 20, spansCut: 0, invocationsCut: 0 });
    expect(trace.invocations.map(({ name, start }) => [name, start])).toEqual([
      ['first', 0],
      ['second', 9],
    ]);
  });

  test('each span says where it ran; the times of the caller are not known', () => {
    const { spans } = traceOf(TRACE, [first, second]);
    expect(spans[0]).toEqual({
      name: 'caller',
      spanId: CALLER,
      depth: 0,
      process: 'caller',
      kind: 'client',
      attributes: {},
    });
    const processes = spans.map(({ name, process }) => `${name} ${process}`);
    for (const one of ['default/first gateway', 'queue queue', 'run worker', 'work function'])
      expect(processes).toContain(one);
    expect(spans.find(({ name }) => name === 'GET')).toMatchObject({ kind: 'client', start: 8, duration: 4 });
    expect(spans.find(({ name }) => name === 'default/second')).toMatchObject({
      kind: 'server',
      start: 9,
      invocation: 'id-second',
      error: 'the function threw an error or rejected its promise',
    });
  });

  test('a caller of two invocations is one span, and two callers are two', () => {
    const also = done('also', OTHER, { parentSpanId: CALLER, startedAt: START + 30 });
    const apart = done('apart', '3333333333333333', { parentSpanId: '4'.repeat(16), startedAt: START - 5 });
    const names = drawn(traceOf(TRACE, [first, also, apart]).spans).filter((name) => /^\.?[cd]/.test(name));
    expect(names).toEqual(['caller', '.default/apart', 'caller', '.default/first', '.default/also']);
  });

  test('an invocation without a parent is a root', () => {
    expect(drawn(traceOf(TRACE, [done('alone', ROOT)]).spans)).toEqual([
      'default/alone',
      '.gateway',
      '.queue',
    ]);
  });
});

describe('open invocations', () => {
  const open: OpenInvocation = {
    ...identity,
    id: 'o',
    name: 'open',
    spanId: ROOT,
    startedAt: START,
    state: 'running',
  };

  test('an open invocation has no end; invocations that it calls lie below its run', () => {
    const called = done('called', OTHER, { parentSpanId: runSpanId(ROOT), startedAt: START + 4 });
    const { spans } = traceOf(TRACE, [open, called]);
    expect(drawn(spans).slice(0, 3)).toEqual(['default/open', '.run', '..default/called']);
    expect(spans[0]).not.toHaveProperty('duration');
    expect(spans[1]).not.toHaveProperty('duration');
  });

  test('an open invocation shows its failed attempts', () => {
    const attempts = [
      { startedAt: START + 1, endedAt: START + 3, worker: 'w', outcome: 'error' as const },
      { startedAt: START + 9, worker: 'w' },
    ];
    const { spans } = traceOf(TRACE, [{ ...open, lane: 'queued', attempts }]);
    expect(drawn(spans)).toEqual(['default/open', '.attempt', '.run']);
    expect(spans[1]).toMatchObject({ start: 1, duration: 2, error: 'error', process: 'worker' });
    expect(spans[2]).toMatchObject({ start: 9, spanId: runSpanId(ROOT, 1) });
    const waiting = {
      ...open,
      lane: 'queued' as const,
      state: 'queued' as const,
      attempts: attempts.slice(0, 1),
    };
    expect(drawn(traceOf(TRACE, [waiting]).spans)).toEqual(['default/open', '.attempt']);
  });
});

describe('claims of functions and callers', () => {
  const ids = ['a', 'b', 'c'].map((digit) => digit.repeat(16)) as [string, string, string];

  test('a span with a missing or foreign parent, or that is its own ancestor, stays in its own run', () => {
    const [a, b, c] = ids;
    const spans = [
      own('a', a, b),
      own('b', b, a),
      own('c', c, '9'.repeat(16)),
      own('d', 'd'.repeat(16), OTHER),
    ];
    const bad = done('bad', ROOT, { report: report(spans) });
    const victim = done('victim', OTHER, { startedAt: START + 1, report: report() });
    const trace = traceOf(TRACE, [bad, victim]);
    expect(trace.spans).toHaveLength(5 + 1 + 4 + 6);
    const below = drawn(trace.spans);
    expect(below.slice(below.indexOf('.run') + 1, below.indexOf('.reply')).toSorted()).toEqual([
      '...a',
      '..b',
      '..c',
      '..d',
    ]);
  });

  test('a function that reuses an id of the platform’s takes nothing from that span', () => {
    const thief = done('thief', ROOT, { report: report([own('thief', OTHER, runSpanId(ROOT))]) });
    const called = done('called', '5'.repeat(16), { parentSpanId: OTHER, startedAt: START + 2 });
    const real = done('real', OTHER, { startedAt: START + 1 });
    const { spans } = traceOf(TRACE, [thief, called, real]);
    const at = spans.findIndex(({ name }) => name === 'default/called');
    expect(spans.slice(0, at).findLast(({ depth }) => depth === 0)?.name).toBe('default/real');
  });

  test('a caller that names a span below its own call makes no loop', () => {
    const [a] = ids;
    const looped = done('looped', ROOT, { parentSpanId: a, report: report([own('a', a, runSpanId(ROOT))]) });
    expect(drawn(traceOf(TRACE, [looped]).spans)).toContain('..a');
  });

  test('impossible times do not stretch the picture', () => {
    const late = { ...own('late', ids[0], runSpanId(ROOT)), startedAt: 8e15 };
    expect(traceOf(TRACE, [done('far', ROOT, { report: report([late]) })]).duration).toBe(20);
  });
});

test('of more spans than are shown, those stay that hold the tree together', () => {
  const records = Array.from({ length: 40 }, (_, at) => {
    const spanId = (at + 1).toString(16).padStart(16, '0');
    const spans = Array.from({ length: 100 }, (_unused, index) =>
      own(`s${index}`, (at * 1_000 + index + 100_000).toString(16).padStart(16, '0'), runSpanId(spanId)),
    );
    // Each is called from the last span of the one before.
    const parent = ((at - 1) * 1_000 + 99 + 100_000).toString(16).padStart(16, '0');
    return done(`f${at}`, spanId, {
      startedAt: START + at,
      report: report(spans),
      ...(at > 0 && { parentSpanId: parent }),
    });
  });
  const { spans, spansCut } = traceOf(TRACE, records, 3);
  expect(spans).toHaveLength(MAX_TRACE_SPANS);
  expect(spansCut).toBe(40 * 106 - MAX_TRACE_SPANS);
  expect(spans.filter(({ depth }) => depth === 0)).toHaveLength(1);
  expect(Math.max(...spans.map(({ depth }) => depth))).toBeGreaterThan(100);
});

describe('GET /api/v1/traces/{traceId}', () => {
  let redis: PrivateRedis;
  let gateway: TestGateway;
  const shown = done('shown', ROOT, { report: report() });
  const hidden = done('hidden', OTHER, { namespace: 'other', parentSpanId: runSpanId(ROOT) });
  /** It has dropped out of the list of its function. */
  const unlisted = done('unlisted', '3'.repeat(16), { parentSpanId: runSpanId(OTHER) });
  beforeAll(async () => {
    redis = await PrivateRedis.start();
    gateway = await startGateway(redis);
    await gateway.add('shown');
    await gateway.add('hidden', {}, 'other');
    for (const record of [shown, hidden, unlisted]) {
      await gateway.commands.set(keys.invocation(record.id), JSON.stringify(record));
      if (record !== unlisted)
        await gateway.commands.zadd(keys.recent(record.namespace, record.name), START, record.id);
    }
  });
  afterAll(async () => {
    await gateway.close();
    await redis.stop();
  });

  const ask = async (path: string, key = gateway.key): Promise<RawResponse> =>
    await send(gateway, `/api/v1/traces/${path}`, { headers: { 'x-api-key': key } });
  const names = (response: RawResponse): string[] =>
    WholeTrace.parse(response.json()).invocations.map(({ name }) => name);

  test('a key sees the whole trace if it may see all, and otherwise the part of its namespace [OB27]', async () => {
    const whole = await ask(TRACE);
    expect(names(whole)).toEqual(['shown', 'hidden']);
    expect(drawn(WholeTrace.parse(whole.json()).spans)).toContain('..other/hidden');
    const made = await send(gateway, '/api/v1/keys', {
      method: 'POST',
      headers: { 'x-api-key': gateway.key, 'content-type': 'application/json' },
      body: JSON.stringify({ namespace: 'other', scopes: ['read'] }),
    });
    const { key } = made.json() as { key: string };
    const part = await ask(TRACE, key);
    expect(names(part)).toEqual(['hidden']);
    expect(drawn(WholeTrace.parse(part.json()).spans).slice(0, 2)).toEqual(['caller', '.other/hidden']);
    expect(part.body.toString()).not.toContain('shown');
    // Also when it asks for the invocation by its id.
    expect(names(await ask(`${TRACE}?invocation=${shown.id}`, key))).toEqual(['hidden']);
  });

  test('a trace includes an invocation that left the lists, when the request names its id', async () => {
    expect(names(await ask(`${TRACE}?invocation=${unlisted.id}`))).toContain('unlisted');
  });

  test('an unknown trace id is answered 404, and an invalid one 400', async () => {
    const absent = await ask('b'.repeat(32));
    expect([absent.status, absent.body.toString()]).toEqual([
      404,
      expect.stringContaining('trace_not_found'),
    ]);
    // An invocation of another trace does not belong here.
    expect((await ask(`${'b'.repeat(32)}?invocation=${shown.id}`)).status).toBe(404);
    for (const id of ['x', '0'.repeat(32), TRACE.toUpperCase()]) expect((await ask(id)).status).toBe(400);
  });
});
