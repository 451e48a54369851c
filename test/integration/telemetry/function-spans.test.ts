/** Spans that a function makes itself: all calls of the real `@opentelemetry/api`, and no span is lost. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { InvocationDetail } from '#contract/api/api.ts';
import { OtlpReceiver, type ReceivedSpan } from '../../support/servers/otlp-receiver.ts';
import { Platform } from '../../support/platform/platform.ts';
import { SLOWNESS } from '../../support/faults/slowness.ts';

let platform: Platform;
let receiver: OtlpReceiver;

beforeAll(async () => {
  receiver = await OtlpReceiver.start();
  platform = await Platform.start({ OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url });
  await platform.deploy('spans');
}, 60_000 * SLOWNESS);
afterAll(async () => {
  await platform?.stop();
  receiver?.close();
});

type Own = NonNullable<NonNullable<InvocationDetail['report']>['spans']>[number];

function own(record: InvocationDetail, name: string): Own {
  const found = record.report?.spans?.find((span) => span.name === name);
  if (!found) throw new Error(`the record has no span ${name}`);
  return found;
}

/** Calls a scenario; returns its answer, the record and the exported spans, when all of `names` have arrived. */
async function scenario(path: string, names: string[] = [], init?: RequestInit) {
  const response = await platform.call(`spans${path}`, init);
  const text = await response.text();
  const record = await platform.record(response);
  const exported = await receiver.of(record.traceId, (spans) =>
    ['default/spans', ...names].every((name) => spans.some((span) => span.name === name)),
  );
  const received = (name: string): ReceivedSpan => {
    const found = exported.find((span) => span.name === name);
    if (!found) throw new Error(`no span ${name} came`);
    return found;
  };
  return { status: response.status, text, record, exported, received };
}
const answer = ({ text }: { text: string }): unknown => JSON.parse(text);

describe('spans of a function', () => {
  test('S1 spans keep their events, exceptions and links', async () => {
    const done = await scenario('/parts', ['parts']);
    expect(answer(done)).toEqual({ before: true, after: false });
    const { record, received, exported } = done;
    const kept = own(record, 'parts');
    expect(kept.events?.map(({ name }) => name)).toEqual(['cache.miss', 'timed', 'exception', 'exception']);
    expect(kept.events?.[0]).toEqual({
      name: 'cache.miss',
      time: 1_700_000_000_500,
      attributes: { key: 'a' },
    });
    const span = received('parts');
    // The span is marked OK, which a later status does not overwrite.
    expect(span).toMatchObject({ kind: 5, status: 1, attributes: {} });
    const [missed, timed] = span.events;
    expect(missed).toMatchObject({ name: 'cache.miss', attributes: { key: 'a' } });
    expect((missed?.time ?? 0n) - (timed?.time ?? 0n)).toBe(250_000_000n);
    expect(span.events[2]).toMatchObject({
      name: 'exception',
      attributes: { 'exception.type': 'TypeError', 'exception.message': 'bad input' },
    });
    expect(span.events[2]?.attributes['exception.stacktrace']).toMatch(/^TypeError: bad input\n\s+at /);
    expect(span.events[3]?.attributes).toMatchObject({ 'exception.message': 'only words' });
    expect(span.linked).toEqual([
      { traceId: '1'.repeat(32), spanId: '2'.repeat(16), attributes: { message: 'first' } },
      { traceId: '1'.repeat(32), spanId: '3'.repeat(16), attributes: {} },
    ]);
    expect(exported.filter(({ name }) => name === 'parts')).toHaveLength(1);
    const shown = await platform.cli('trace', record.id);
    expect(shown.stdout).toMatch(/parts .*TypeError: bad input/);
    const event = record.spans
      .find(({ name }) => name === 'parts')
      ?.events?.find(({ name }) => name === 'exception');
    expect(event?.attributes).toMatchObject({ 'exception.message': 'bad input' });
  });

  test('S2 spans are bounded, and say how much was cut [OB20]', async () => {
    const { received, record } = await scenario('/capped', ['capped', 'wide']);
    const span = received('capped');
    expect(Object.keys(span.attributes)).toHaveLength(64);
    expect(span.attributes['a0']).toBe('again');
    expect([span.events.length, span.linked.length]).toEqual([32, 32]);
    expect(span.dropped).toEqual([36, 68, 68]);
    const wide = received('wide');
    expect(wide.events.length + wide.dropped[1]).toBe(5);
    expect(record.report?.spansDropped).toBeUndefined();
  });

  test('S3 a loop that makes spans without end keeps some of them whole, and the others are counted', async () => {
    const { record, received } = await scenario('/many', ['parent']);
    const parent = received('parent');
    const children = record.report?.spans?.filter(({ name }) => /^s\d+$/.test(name)) ?? [];
    expect(children.length).toBeGreaterThan(100);
    expect(children.length).toBeLessThan(128);
    expect(new Set(children.map(({ parentSpanId }) => parentSpanId))).toEqual(new Set([parent.spanId]));
    expect(children.length + (record.report?.spansDropped ?? 0)).toBe(1_000);
    expect(received('default/spans').attributes['offshoot.spans_dropped']).toBe(record.report?.spansDropped);
  });

  test('S4 a span that has not ended when the answer is out is kept, marked as unfinished [OB8]', async () => {
    const { record, received } = await scenario('/open', ['open', 'child']);
    expect(own(record, 'open')).toMatchObject({ unfinished: true, attributes: { early: true, later: true } });
    expect(own(record, 'open').duration).toBeLessThan(200);
    expect(received('open').attributes).toEqual({ early: true, later: true, 'offshoot.unfinished': true });
    expect(received('open').events).toMatchObject([{ name: 'on the way' }]);
    expect(received('child').parentSpanId).toBe(received('open').spanId);
    // They are shown within the run, where they were made.
    const slack = 2_000_000n;
    expect(received('open').start).toBeGreaterThanOrEqual(received('run').start - slack);
    expect(received('child').end).toBeLessThanOrEqual(received('run').end + slack);
    expect(own(record, 'child').unfinished).toBeUndefined();
  });

  test('S5 spans that end during a streamed answer are whole', async () => {
    const { record, text } = await scenario('/stream', ['streamed', 'left']);
    expect(text).toBe('piece piece piece ');
    expect(own(record, 'streamed').duration).toBeGreaterThanOrEqual(55);
    expect(own(record, 'streamed').unfinished).toBeUndefined();
    expect(own(record, 'left')).toMatchObject({ unfinished: true, events: [{ name: 'while streaming' }] });
  });

  test('S6 spans that begin in waitUntil() after the answer are exported, once [OB21]', async () => {
    const { record, received, exported } = await scenario('/wait', [
      'begun after',
      'its child',
      'never ended',
    ]);
    expect(own(record, 'begun before')).toMatchObject({ unfinished: true });
    const run = received('run');
    expect(received('begun after')).toMatchObject({ parentSpanId: run.spanId });
    expect(received('begun after').attributes).toEqual({});
    expect(received('its child').parentSpanId).toBe(received('begun after').spanId);
    expect(received('never ended').attributes).toEqual({ 'offshoot.unfinished': true });
    // They are shown with the record, too.
    const shown = (await (await platform.api(`/invocations/${record.id}`)).json()) as InvocationDetail;
    expect(shown.spans.map(({ spanId }) => spanId).toSorted()).toEqual(
      exported.map(({ spanId }) => spanId).toSorted(),
    );
    expect(new Set(exported.map(({ spanId }) => spanId)).size).toBe(exported.length);
  });

  test.each([
    ['/spin', 'spins', 'timeout', { why: 'a loop' }],
    ['/memory', 'grows', 'out_of_memory', {}],
    ['/uncaught', 'throws elsewhere', 'error', { later: true }],
  ])(
    'S7 a sandbox that is killed in %s keeps the span in which it was',
    async (path, name, outcome, said) => {
      const { record, received } = await scenario(path, [name]);
      expect(record.outcome).toBe(outcome);
      expect(own(record, name)).toMatchObject({ unfinished: true });
      expect(received(name).attributes).toEqual({ ...said, 'offshoot.unfinished': true });
      expect(received(name).parentSpanId).toBe(received('run').spanId);
      // Every span that had ended is whole, though the code did not wait once after it.
      if (path === '/spin') expect(own(record, 'ended before').unfinished).toBeUndefined();
    },
  );

  test('S8 contexts work: the active span, three forms of startActiveSpan, with() over await, suppressed tracing [OB22]', async () => {
    const done = await scenario('/contexts', ['one', 'two', 'three']);
    const { received, exported } = done;
    const run = received('run').spanId;
    expect(answer(done)).toEqual({
      run,
      one: true,
      two: true,
      three: 'value',
      with: ['value', true],
      bound: 'value',
      without: null,
      silent: [false, false, {}],
    });
    const one = received('one');
    expect(one.parentSpanId).toBe(run);
    expect(received('two')).toMatchObject({ parentSpanId: one.spanId, attributes: { a: 1 } });
    expect(received('three')).toMatchObject({ parentSpanId: one.spanId, kind: 4 });
    expect(received('root').parentSpanId).toBe(run);
    expect(received('of the root context').parentSpanId).toBe(run);
    expect(exported.map(({ name }) => name)).not.toContain('silent');
    expect(exported.map(({ name }) => name)).not.toContain('GET');
  });

  test('S9 times are taken in each form that the API allows', async () => {
    const done = await scenario('/times', ['nonsense']);
    const { at, now } = answer(done) as { at: number; now: number };
    for (const name of ['hrtime', 'date', 'number']) {
      expect(own(done.record, name).startedAt).toBeCloseTo(at, 1);
      expect(own(done.record, name).duration).toBeCloseTo(1_000, 1);
    }
    expect(own(done.record, 'performance').startedAt).toBeGreaterThan(now - 1_000);
    expect(own(done.record, 'performance').startedAt).toBeLessThan(now + 100);
    expect(own(done.record, 'performance').duration).toBeCloseTo(1_000, 1);
    expect(own(done.record, 'backwards').duration).toBe(0);
    expect(own(done.record, 'nonsense').startedAt).toBeGreaterThan(now - 1_000);
  });

  test('S10 an unsampled trace is in the record, is passed on as unsampled, and is exported when it failed', async () => {
    const traceId = 'c'.repeat(32);
    const headers = { traceparent: `00-${traceId}-00f067aa0ba902b7-00`, tracestate: 'vendor=1' };
    const response = await platform.call('spans/echo', { headers });
    const echoed = (await response.json()) as Record<string, Record<string, string>>;
    const record = await platform.record(response);
    const [first, second] = record.report?.spans?.filter(({ kind }) => kind === 2) ?? [];
    expect(echoed['seen']?.['traceparent']).toMatch(/-00$/);
    expect(echoed['fetched']?.['traceparent']).toBe(`00-${traceId}-${first?.spanId}-00`);
    expect(echoed['byRequest']).toMatchObject({
      traceparent: `00-${traceId}-${second?.spanId}-00`,
      tracestate: 'vendor=1',
      'x-own': 'kept',
      'content-length': '4',
    });
    const failed = 'd'.repeat(32);
    await platform.call('spans/spin', { headers: { traceparent: `00-${failed}-00f067aa0ba902b7-00` } });
    await receiver.of(failed, (spans) => spans.some(({ name }) => name === 'spins'));
    expect(receiver.spans.filter((span) => span.traceId === traceId)).toEqual([]);
  });

  test('S11 tracestate goes in, through and out; an invalid one is dropped, and its traceparent stays', async () => {
    const traceparent = (digit: string): string => `00-${digit.repeat(32)}-00f067aa0ba902b7-01`;
    const good = await scenario('/echo', ['GET'], {
      headers: { traceparent: traceparent('a'), tracestate: 'vendor=1, other=x', baggage: 'a=b' },
    });
    const echoed = answer(good) as {
      seen: Record<string, string>;
      fetched: Record<string, string>;
      handed: string;
    };
    expect(echoed.seen).toMatchObject({ tracestate: 'vendor=1,other=x', baggage: 'a=b' });
    expect(echoed.fetched['tracestate']).toBe('vendor=1,other=x');
    expect(echoed.handed).toBe('1');
    expect(new Set(good.exported.map(({ tracestate }) => tracestate))).toEqual(new Set(['vendor=1,other=x']));
    const bad = await scenario('/echo', ['GET'], {
      headers: { traceparent: traceparent('b'), tracestate: 'vendor=1,Bad=2' },
    });
    expect(bad.record).toMatchObject({ traceId: 'b'.repeat(32), parentSpanId: '00f067aa0ba902b7' });
    expect((answer(bad) as { seen: Record<string, string> }).seen['tracestate']).toBeUndefined();
    expect(new Set(bad.exported.map(({ tracestate }) => tracestate))).toEqual(new Set(['']));
  });

  test('S12 the context of a message can be read: the span that handles it links to it, in its own trace', async () => {
    const done = await scenario('/consume', ['consumer']);
    expect(answer(done)).toEqual({
      handedOn: { traceparent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`, tracestate: 'vendor=2' },
      isRemote: true,
      vendor: '2',
      none: true,
    });
    const { received } = done;
    expect(received('consumer')).toMatchObject({ parentSpanId: received('run').spanId, kind: 5 });
    expect(received('consumer').linked).toMatchObject([{ traceId: '1'.repeat(32), spanId: '2'.repeat(16) }]);
  });

  test('S13 a fetch that was aborted, redirected against its will or refused is a failed span', async () => {
    const done = await scenario('/fetches', ['GET']);
    expect(answer(done)).toEqual({ outcomes: ['rejected', 'rejected', 'fulfilled'] });
    const spans = done.exported.filter(({ name }) => name === 'GET');
    const kinds = spans.map(({ attributes }) => String(attributes['error.type']));
    expect(kinds.toSorted()).toEqual(['404', 'TimeoutError', 'TypeError']);
    expect(spans.every(({ status }) => status === 2)).toBe(true);
    const aborted = spans.find(({ attributes }) => attributes['error.type'] === 'TimeoutError');
    expect(aborted?.events[0]?.attributes).toMatchObject({ 'exception.type': 'TimeoutError' });
  });

  test('S14 CommonJS has the same API', async () => {
    await platform.deploy('spans', { name: 'spans-cjs', entry: 'src/index.cjs' });
    const response = await platform.call('spans-cjs');
    expect(await response.json()).toEqual({ isActive: true });
    const record = await platform.record(response);
    expect(own(record, 'inner')).toMatchObject({
      parentSpanId: own(record, 'outer').spanId,
      error: 'as it should',
      attributes: { form: 'cjs' },
      events: [{ name: 'within' }],
    });
  });
});
