/** What a sandbox says of its spans is a stranger's word. */
import { expect, test } from 'vitest';
import { FunctionSpans } from '../../worker/function-spans.ts';

const good = {
  name: 'work',
  spanId: '1'.repeat(16),
  parentSpanId: '2'.repeat(16),
  kind: 0,
  startedAt: 1,
  duration: 2,
};
const sent = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

test('a span of the right form is kept, without what else it says', () => {
  const spans = new FunctionSpans();
  expect(spans.add(sent({ ...good, traceId: '3'.repeat(32), attributes: { a: 1, b: 'x', c: true } }))).toBe(
    true,
  );
  expect(spans.kept).toEqual([{ ...good, attributes: { a: 1, b: 'x', c: true } }]);
  expect(spans.dropped).toBe(0);
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
  [
    'more bytes than one may have',
    sent({ ...good, attributes: Object.fromEntries(Array.from({ length: 900 }, (_, i) => [`k${i}`, 'v'])) }),
  ],
])('%s is dropped and counted', (_, payload) => {
  const spans = new FunctionSpans();
  expect(spans.add(payload)).toBe(false);
  expect(spans.kept).toBeUndefined();
  expect(spans.dropped).toBe(1);
});

test('their number and their bytes have an end', () => {
  const many = new FunctionSpans();
  for (let index = 0; index < 10_000; index++) many.add(sent(good));
  expect(many.kept).toHaveLength(128);
  expect(many.dropped).toBe(10_000 - 128);
  const large = new FunctionSpans();
  for (let index = 0; index < 100; index++) large.add(sent({ ...good, name: 'x'.repeat(1_000) }));
  expect(JSON.stringify(large.kept).length).toBeLessThan(50_000);
  expect(large.dropped).toBeGreaterThan(0);
});
