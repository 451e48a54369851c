/** Spans from a sandbox are untrusted input. */
import { describe, expect, test } from 'vitest';
import type { RunReport } from '#contract/invocations/invocation.ts';
import { FunctionSpans } from '../../../../worker/run/function-spans.ts';
import { mergedReport } from '../../../../worker/queued/group-run.ts';

const begun = { name: 'work', spanId: '1'.repeat(16), parentSpanId: '2'.repeat(16), kind: 0, startedAt: 1 };
const good = { ...begun, duration: 2 };
const sent = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const beginning = (value: typeof begun): Buffer =>
  Buffer.concat([Buffer.from(value.spanId, 'hex'), sent(value)]);
const idOf = (index: number): string => String(index + 1).padStart(16, '0');

test('a valid span is kept, without its unknown fields [OB9]', () => {
  const spans = new FunctionSpans();
  const said = {
    ...good,
    attributes: { a: 1, b: 'x', c: true },
    events: [{ name: 'miss', time: 2, attributes: { key: 'a' } }],
    links: [{ traceId: '4'.repeat(32), spanId: '5'.repeat(16) }],
    dropped: { events: 3 },
  };
  expect(spans.begin(beginning(begun))).toBe(true);
  expect(spans.end(sent({ ...said, traceId: '3'.repeat(32) }))).toBe(true);
  expect(spans.take()).toEqual({ spans: [said], dropped: 0 });
});

test.each([
  ['no JSON', Buffer.from('{')],
  ['no object', sent(null)],
  ['bytes that are no text', Buffer.from([0xff, 0xfe, 0x00])],
  ['an id of another form', sent({ ...good, spanId: 'x' })],
  ['an id of zeros', sent({ ...good, spanId: '0'.repeat(16) })],
  ['a kind that is none', sent({ ...good, kind: 9 })],
  ['a time that is none', sent({ ...good, startedAt: -1 })],
  ['a time without end', Buffer.from(JSON.stringify(good).replace('"duration":2', '"duration":1e999'))],
  ['a name without end', sent({ ...good, name: 'x'.repeat(2_000) })],
  ['an attribute that is an object', sent({ ...good, attributes: { a: { b: 1 } } })],
  ['an event without a time', sent({ ...good, events: [{ name: 'x' }] })],
  [
    'more events than one may have',
    sent({ ...good, events: Array.from({ length: 33 }, () => ({ name: 'x', time: 1 })) }),
  ],
  ['a link to no trace', sent({ ...good, links: [{ traceId: '0'.repeat(32), spanId: '5'.repeat(16) }] })],
  ['a count that is none', sent({ ...good, dropped: { events: -1 } })],
  [
    'more bytes than one may have',
    sent({ ...good, attributes: Object.fromEntries(Array.from({ length: 900 }, (_, i) => [`k${i}`, 'v'])) }),
  ],
])('a span is dropped and counted: %s', (_, payload) => {
  const spans = new FunctionSpans();
  expect(spans.end(payload)).toBe(false);
  expect(spans.take()).toEqual({ spans: [], dropped: 1 });
});

describe('a span that has begun', () => {
  test('a span that does not end is kept as unfinished, up to the end of the run', () => {
    const spans = new FunctionSpans();
    spans.begin(beginning({ ...begun, startedAt: 1_000 }));
    expect(spans.take(1_250).spans).toEqual([
      { ...begun, startedAt: 1_000, duration: 250, unfinished: true },
    ]);
  });

  test('a span is taken once: later messages about it change nothing', () => {
    const spans = new FunctionSpans();
    spans.begin(beginning(begun));
    spans.take();
    expect(spans.end(sent(good))).toBe(false);
    expect(spans.take()).toEqual({ spans: [], dropped: 0 });
    expect(spans.begin(beginning(begun))).toBe(false);
    expect(spans.take()).toEqual({ spans: [], dropped: 1 });
  });

  test.each([
    ['no JSON', Buffer.from('1111111111111111{', 'latin1')],
    ['another id than it was announced by', beginning({ ...begun, spanId: '9'.repeat(16) }).fill(1, 0, 8)],
    ['no form', Buffer.concat([Buffer.from('1'.repeat(16), 'hex'), sent({ name: 1 })])],
  ])('a span that begins with %s is dropped and counted when it does not end', (_, payload) => {
    const spans = new FunctionSpans();
    spans.begin(payload);
    expect(spans.take()).toEqual({ spans: [], dropped: 1 });
  });

  test.each([[Buffer.alloc(0)], [Buffer.alloc(8, 1)], [Buffer.alloc(20_000, 1)]])(
    'a span whose beginning has an impossible length is not kept',
    (payload) => {
      const spans = new FunctionSpans();
      expect(spans.begin(payload)).toBe(false);
      expect(spans.take().dropped).toBe(1);
    },
  );
});

test('spans are in the order of their beginning, a parent before its children', () => {
  const spans = new FunctionSpans();
  for (const index of [0, 1, 2]) spans.begin(beginning({ ...begun, spanId: idOf(index) }));
  for (const index of [2, 0, 1]) spans.end(sent({ ...good, spanId: idOf(index) }));
  expect(spans.take().spans.map(({ spanId }) => spanId)).toEqual([0, 1, 2].map(idOf));
});

test('spans are bounded in number and bytes', () => {
  const many = new FunctionSpans();
  for (let index = 0; index < 10_000; index++) many.begin(beginning({ ...begun, spanId: idOf(index) }));
  const taken = many.take();
  expect(taken.spans).toHaveLength(128);
  expect(taken.dropped).toBe(10_000 - 128);
  expect(many.begin(beginning({ ...begun, spanId: idOf(99_999) }))).toBe(false);
  const large = new FunctionSpans();
  for (let index = 0; index < 100; index++)
    large.end(sent({ ...good, spanId: idOf(index), name: 'x'.repeat(1_000) }));
  const kept = large.take();
  expect(JSON.stringify(kept.spans).length).toBeLessThan(50_000);
  expect(kept.dropped).toBeGreaterThan(0);
});

test('a span without room for its attributes is kept without them, since others name it as their parent', () => {
  const spans = new FunctionSpans();
  for (let index = 0; index < 100; index++) spans.begin(beginning({ ...begun, spanId: idOf(index) }));
  const attributes = Object.fromEntries(Array.from({ length: 7 }, (_, at) => [`k${at}`, 'x'.repeat(1_000)]));
  for (let index = 0; index < 100; index++) spans.end(sent({ ...good, spanId: idOf(index), attributes }));
  const { spans: taken, dropped } = spans.take();
  expect(taken).toHaveLength(100);
  expect(dropped).toBe(0);
  expect(taken[0]?.attributes).toEqual(attributes);
  expect(taken[99]).toEqual({ ...good, spanId: idOf(99), dropped: { attributes: 7 } });
  expect(JSON.stringify(taken).length).toBeLessThan(64_000);
});

test('runs of the items of one group have together the bounds of one run', () => {
  const report = (item: number): RunReport => ({
    outcome: item === 3 ? 'timeout' : 'ok',
    worker: 'w',
    ranAt: 1_000 - item,
    timings: { acquire: item, init: 0, run: 10, total: 12 },
    usage: { cpu: 2, memoryPeak: item },
    logBytes: 1,
    logBytesDropped: 0,
    spans: Array.from({ length: 50 }, (_, at) => ({ ...good, spanId: idOf(item * 50 + at) })),
    spansDropped: 1,
  });
  const merged = mergedReport([0, 1, 2, 3].map(report), 100);
  expect(merged).toMatchObject({
    outcome: 'timeout',
    ranAt: 997,
    timings: { acquire: 3, init: 0, run: 97, total: 100 },
    usage: { cpu: 8, memoryPeak: 3 },
    logBytes: 4,
    spansDropped: 4 + 200 - 128,
  });
  expect(merged?.spans?.map(({ spanId }) => spanId)).toEqual(
    Array.from({ length: 128 }, (_, at) => idOf(at)),
  );
  expect(mergedReport([], 1)).toBeUndefined();
});
