import { describe, expect, test } from 'vitest';
import type { InvocationRecord } from '#contract/invocations/invocation.ts';
import {
  formatTraceparent,
  parseTraceparent,
  parseTracestate,
  runSpanId,
  serverTiming,
  spansOf,
} from '#contract/invocations/trace.ts';

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const spanId = '00f067aa0ba902b7';

describe('traceparent', () => {
  test('traceparent is read and written', () => {
    const header = `00-${traceId}-${spanId}-01`;
    expect(parseTraceparent(header)).toEqual({ traceId, spanId, sampled: true });
    expect(formatTraceparent({ traceId, spanId, sampled: true })).toBe(header);
  });
  test('traceparent of a later version is read up to its known fields', () => {
    expect(parseTraceparent(`01-${traceId}-${spanId}-00-more`)?.sampled).toBe(false);
  });
  test.each([
    undefined,
    '',
    'nonsense',
    `ff-${traceId}-${spanId}-01`,
    `00-${'0'.repeat(32)}-${spanId}-01`,
    `00-${traceId}-${'0'.repeat(16)}-01`,
    `00-${traceId}-${spanId}-01-more`,
    `00-${traceId.toUpperCase()}-${spanId}-01`,
  ])('traceparent %s is no context', (header) => {
    expect(parseTraceparent(header)).toBeUndefined();
  });
});

describe('tracestate', () => {
  const members = (count: number, length = 3): string[] =>
    Array.from({ length: count }, (_, at) => `k${at}=`.padEnd(length, 'v'));
  test.each([
    ['vendor=1', 'vendor=1'],
    ['vendor=1, other=a b ,\t', 'vendor=1,other=a b'],
    ['tenant1@system=x,1t@s=y', 'tenant1@system=x,1t@s=y'],
    ['same=1,same=2', 'same=1,same=2'],
    [members(32, 6).join(','), members(32, 6).join(',')],
  ])('tracestate %s is passed on', (header, kept) => {
    expect(parseTracestate(header)).toBe(kept);
  });
  test.each([
    undefined,
    '',
    ' , ',
    'vendor',
    'vendor=',
    'Vendor=1',
    'a@b@c=1',
    '@b=1',
    'a@=1',
    'a@1=1',
    'good=1,b\u00e4d=2',
    'a=b=c',
    'a =1',
    `${'k'.repeat(257)}=1`,
    `k=${'v'.repeat(257)}`,
    members(33, 6).join(','),
    `k=${'v'.repeat(20_000)}`,
  ])('tracestate %s is dropped whole [OB23]', (header) => {
    expect(parseTracestate(header)).toBeUndefined();
  });
  test('tracestate that is too long loses large members first, then those at its end', () => {
    const large = `large=${'v'.repeat(200)}`;
    expect(parseTracestate([...members(3, 100), large, ...members(1, 100)].join(','))).toBe(
      [...members(3, 100), ...members(1, 100)].join(','),
    );
    expect(parseTracestate(members(10, 100).join(','))).toBe(members(5, 100).join(','));
  });
});

const record: InvocationRecord = {
  id: 'id',
  namespace: 'default',
  name: 'hello',
  version: 3,
  lane: 'sync',
  state: 'done',
  outcome: 'ok',
  status: 200,
  method: 'GET',
  path: '/',
  traceId,
  spanId,
  sampled: true,
  startedAt: 1_000,
  duration: 20,
  gateway: 1,
  queue: 2,
  requestBytes: 0,
  responseBytes: 5,
  report: {
    outcome: 'ok',
    worker: 'w-1',
    sandbox: 's-1',
    acquired: 'prepared',
    coldReason: 'first_call',
    timings: { acquire: 4, init: 5, run: 6, total: 15 },
    usage: { cpu: 3, memoryPeak: 1_000_000 },
    logBytes: 0,
    logBytesDropped: 0,
  },
};

test('the spans of an invocation lie end to end inside its root', () => {
  const [root, ...phases] = spansOf(record);
  expect(root?.attributes).toMatchObject({
    'faas.coldstart': true,
    'offshoot.cpu_ms': 3,
    'offshoot.outcome': 'ok',
  });
  expect(phases.map(({ name }) => name)).toEqual(['gateway', 'queue', 'acquire', 'init', 'run', 'reply']);
  let at = 0;
  for (const phase of phases) {
    expect(phase.parentSpanId).toBe(spanId);
    expect(phase.start).toBeCloseTo(at);
    at += phase.duration;
  }
  expect(at).toBeCloseTo(record.duration);
  expect(new Set([root, ...phases].map((span) => span?.spanId)).size).toBe(phases.length + 1);
});

test('the run span has the id that the function got', () => {
  expect(spansOf(record).find(({ name }) => name === 'run')?.spanId).toBe(runSpanId(spanId));
});

test('spans of a function lie within the run that made them, also when another host’s clock is wrong', () => {
  const own = { name: 'own', spanId: '1'.repeat(16), parentSpanId: runSpanId(spanId), kind: 0, duration: 2 };
  const events = [{ name: 'event', time: 90_001.5 }];
  const report = { ...record.report, ranAt: 90_000, spans: [{ ...own, startedAt: 90_001, events }] };
  const spans = spansOf({ ...record, report } as InvocationRecord);
  const run = spans.find(({ name }) => name === 'run');
  const shown = spans.find(({ name }) => name === 'own');
  expect(shown?.start).toBe((run?.start ?? 0) + 1);
  expect(shown?.own?.events).toEqual([{ name: 'event', start: (shown?.start ?? 0) + 0.5 }]);
});

test('an invocation that no worker took has only the spans of the gateway', () => {
  const { report: _, ...lost } = record;
  expect(spansOf({ ...lost, outcome: 'expired' }).map(({ name }) => name)).toEqual([
    'invoke',
    'gateway',
    'queue',
  ]);
});

test('Server-Timing names the same phases, and the reason of a cold start', () => {
  expect(serverTiming(record)).toBe(
    'gateway;dur=1, queue;dur=2, acquire;dur=4;desc="prepared first_call", init;dur=5, run;dur=6, cpu;dur=3',
  );
});
