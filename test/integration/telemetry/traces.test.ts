/** A trace from its caller to the function's own spans, as an independent OTLP receiver gets it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OtlpReceiver, type ReceivedLog, type ReceivedSpan } from '../../support/servers/otlp-receiver.ts';
import { Platform } from '../../support/platform/platform.ts';
import { Receiver } from '../../support/servers/receiver.ts';
import { SLOWNESS } from '../../support/faults/slowness.ts';

let platform: Platform;
let receiver: OtlpReceiver;
let callbacks: Receiver;
let traces = 0;

beforeAll(async () => {
  receiver = await OtlpReceiver.start();
  callbacks = await Receiver.start();
  platform = await Platform.start({
    OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
    OFFSHOOT_TRACE_RATIO: '0.5',
    OFFSHOOT_CALLBACK_ALLOW: '127.0.0.1',
  });
  await platform.deploy('traced');
}, 60_000 * SLOWNESS);
afterAll(async () => {
  await platform?.stop();
  receiver?.close();
  await callbacks?.stop();
});

const CALLER = '00f067aa0ba902b7';
/** `kept`: whether the trace lies within the ratio. */
function newTrace(kept = true): { traceId: string; headers: Record<string, string> } {
  // The last 14 digits are the random part, by which sampling decides.
  const traceId = `${'ab'.repeat(8)}${String(++traces).padStart(2, '0')}${kept ? 'f' : '0'}${'0'.repeat(13)}`;
  return { traceId, headers: { traceparent: `00-${traceId}-${CALLER}-01` } };
}

const named =
  (...names: string[]) =>
  (spans: readonly ReceivedSpan[]): boolean =>
    names.every((name) => spans.some((span) => span.name === name));

function pick(spans: readonly ReceivedSpan[], name: string): ReceivedSpan {
  const found = spans.find((span) => span.name === name);
  if (!found) throw new Error(`there is no span ${name}`);
  return found;
}

describe('traces', () => {
  test('T1 a call is traced from the span of its caller to those of the function, which need no network [OB7]', async () => {
    const { traceId, headers } = newTrace();
    const response = await platform.call('traced/fetch', {
      headers: { ...headers, tracestate: 'vendor=1' },
    });
    expect(response.status).toBe(200);
    const spans = await receiver.of(traceId, named('default/traced', 'run', 'work', 'inner', 'GET'));
    const root = pick(spans, 'default/traced');
    const run = pick(spans, 'run');
    const work = pick(spans, 'work');
    expect(root).toMatchObject({ parentSpanId: CALLER, kind: 2, service: 'offshoot' });
    expect(root.attributes).toMatchObject({
      'faas.name': 'default/traced',
      'http.response.status_code': 200,
    });
    expect(run.parentSpanId).toBe(root.spanId);
    expect(work).toMatchObject({ parentSpanId: run.spanId, kind: 1, attributes: { path: '/fetch' } });
    expect(pick(spans, 'inner')).toMatchObject({
      parentSpanId: work.spanId,
      status: 2,
      message: 'on purpose',
    });
    // A fetch has its span without any code, and the span hides the secret parts of the address.
    const fetched = pick(spans, 'GET');
    expect(fetched).toMatchObject({ parentSpanId: work.spanId, kind: 3, status: 2 });
    expect(fetched.attributes).toMatchObject({ 'url.full': 'http://127.0.0.1:9/place', 'server.port': 9 });
    expect(spans.filter(({ name }) => name === 'GET')).toHaveLength(1);
    // The function would pass on its own span in the same trace.
    expect(await response.json()).toEqual({
      traceparent: `00-${traceId}-${work.spanId}-01`,
      tracestate: 'vendor=1',
    });
    // The spans lie within the invocation, by the clock of the sandbox. (The start of its run is less exact: of the way
    // to the worker and back, only the sum is measured.)
    const slack = 5_000_000n;
    expect(work.start).toBeGreaterThanOrEqual(root.start - slack);
    expect(work.end).toBeLessThanOrEqual(root.end + slack);
    // The API shows the same spans.
    const record = await platform.record(response);
    expect(record.spans.map(({ spanId }) => spanId).toSorted()).toEqual(
      spans.map(({ spanId }) => spanId).toSorted(),
    );
  });

  test('T2 spans that had ended are kept when the sandbox is killed [OB8]', async () => {
    const { traceId, headers } = newTrace(false);
    const response = await platform.call('traced/hang', { headers });
    expect(response.status).toBe(504);
    const spans = await receiver.of(traceId, named('default/traced', 'work'));
    expect(pick(spans, 'default/traced')).toMatchObject({ status: 2 });
    expect(pick(spans, 'work').parentSpanId).toBe(pick(spans, 'run').spanId);
  });

  test('T3 a function that makes spans without end keeps some of them, and the number of the others', async () => {
    const { traceId, headers } = newTrace();
    await (await platform.call('traced/many', { headers })).text();
    const spans = await receiver.of(traceId, named('default/traced', 'work'));
    const own = spans.filter(({ name }) => /^s\d+$/.test(name));
    expect(own.length).toBeGreaterThan(100);
    expect(own.length).toBeLessThanOrEqual(128);
  });

  test('T4 in the queued lane, each attempt links to the one before, with its own spans', async () => {
    const { traceId, headers } = newTrace(false);
    await platform.deploy('traced', { env: { FRESH: '1' } });
    const queued = await fetch(`${platform.url}/api/v1/functions/default/traced/invocations`, {
      method: 'POST',
      body: '{}',
      headers: {
        ...headers,
        authorization: `Bearer ${platform.key}`,
        'content-type': 'application/json',
        'x-offshoot-callback': callbacks.url,
      },
    });
    expect(queued.status, await queued.clone().text()).toBe(202);
    const spans = await receiver.of(
      traceId,
      (found) =>
        named('default/traced', 'attempt', 'run', 'callback')(found) &&
        found.filter(({ name }) => name === 'work').length === 2,
    );
    const root = pick(spans, 'default/traced');
    const [attempt, run] = [pick(spans, 'attempt'), pick(spans, 'run')];
    expect(root).toMatchObject({ parentSpanId: CALLER, kind: 5 });
    expect(root.attributes).toMatchObject({ 'offshoot.attempts': 2, 'messaging.operation.type': 'process' });
    expect(attempt).toMatchObject({ status: 2, parentSpanId: root.spanId });
    expect(run.links).toEqual([attempt.spanId]);
    // The callback carries the trace as well.
    const [told] = callbacks.received;
    const callback = pick(spans, 'callback');
    expect(callback).toMatchObject({ parentSpanId: root.spanId, kind: 3, status: 0 });
    expect(callback.attributes).toMatchObject({ 'http.response.status_code': 204 });
    expect(told?.headers['traceparent']).toBe(`00-${traceId}-${callback.spanId}-01`);
    const parents = spans.filter(({ name }) => name === 'work').map(({ parentSpanId }) => parentSpanId);
    expect(parents.toSorted()).toEqual([attempt.spanId, run.spanId].toSorted());
  });

  test('T5 of quick calls that succeeded, those beyond the ratio are left out [OB10]', async () => {
    const left = newTrace(false);
    await (await platform.call('traced', { headers: left.headers })).text();
    const kept = newTrace();
    await (await platform.call('traced', { headers: kept.headers })).text();
    await receiver.of(kept.traceId, named('default/traced'));
    expect(receiver.spans.filter(({ traceId }) => traceId === left.traceId)).toEqual([]);
  });

  test('T7 a line that a function prints has its level and span, and no control characters [OB11]', async () => {
    const { traceId, headers } = newTrace();
    const response = await platform.call('traced', { headers });
    const spans = await receiver.of(traceId, named('work'));
    const line = (): ReceivedLog | undefined => receiver.logs.find((one) => one.traceId === traceId);
    for (let tries = 0; tries < 200 && !line(); tries++) await sleep(50);
    const { spanId } = pick(spans, 'work');
    expect(line()).toMatchObject({ spanId, severity: 13, level: 'warn', body: 'within ␛[31mwork' });
    expect(line()?.attributes).toMatchObject({ 'faas.name': 'default/traced' });
    const { logs } = await platform.record(response);
    expect(logs).toMatchObject([{ level: 'warn', span: spanId }]);
  });

  test('T8 a batch has a span below that of its caller and above those of its groups, whichever process ends it [OB25]', async () => {
    await platform.deploy('orders');
    const start = async (
      query: string,
      { headers }: { headers: Record<string, string> },
      body?: string,
      name = 'orders',
    ) => {
      const made = await fetch(`${platform.url}/api/v1/functions/default/${name}/batches${query}`, {
        method: 'POST',
        headers: {
          ...headers,
          authorization: `Bearer ${platform.key}`,
          'content-type': 'application/json',
          tracestate: 'vendor=1',
        },
        ...(body !== undefined && { body }),
      });
      expect(made.status, await made.clone().text()).toBe(202);
      return ((await made.json()) as { batch: { id: string } }).batch.id;
    };
    const good = newTrace();
    const id = await start('', good, '[{"quantity":1},{"quantity":2}]');
    const spans = await receiver.of(good.traceId, named('batch default/orders', 'default/orders', 'run'));
    const batch = pick(spans, 'batch default/orders');
    expect(batch).toMatchObject({ parentSpanId: CALLER, kind: 4, status: 0, tracestate: 'vendor=1' });
    expect(batch.attributes).toMatchObject({
      'offshoot.batch': id,
      'offshoot.outcome': 'ok',
      'messaging.batch.message_count': 2,
    });
    const group = pick(spans, 'default/orders');
    expect(group).toMatchObject({ parentSpanId: batch.spanId, kind: 5, tracestate: 'vendor=1' });
    expect(batch.end).toBeGreaterThan(batch.start);

    // A function without queue() runs for each item by itself; all their spans belong to the group.
    const single = newTrace();
    await start('', single, '[1,2,3]', 'traced');
    const items = await receiver.of(
      single.traceId,
      (found) => found.filter(({ name }) => name === 'work').length >= 3 && named('run')(found),
    );
    const runs = new Set(
      items.filter(({ name }) => ['run', 'attempt'].includes(name)).map(({ spanId }) => spanId),
    );
    for (const { parentSpanId } of items.filter(({ name }) => name === 'work'))
      expect(runs).toContain(parentSpanId);

    // A batch with a failed item is exported beyond the ratio, once, though it ends again.
    const bad = newTrace(false);
    const badId = await start('', bad, '[{"quantity":1},{"quantity":2,"fail":"never"}]');
    const failed = pick(
      await receiver.of(bad.traceId, named('batch default/orders')),
      'batch default/orders',
    );
    expect(failed).toMatchObject({ status: 2, message: '1 of 2 items has failed' });
    const letters = await platform.api('/dead-letters/default');
    const { deadLetters } = (await letters.json()) as {
      deadLetters: { id: string; batch?: { id: string } }[];
    };
    const ids = deadLetters.filter((one) => one.batch?.id === badId).map((one) => one.id);
    const again = { method: 'POST', body: JSON.stringify({ ids }) };
    expect((await platform.api('/dead-letters/default/redrive', again)).status).toBe(200);
    await receiver.of(
      bad.traceId,
      (found) => found.filter(({ name }) => name === 'default/orders').length === 2,
    );

    const none = newTrace(false);
    const openId = await start('?open=1', none);
    expect((await platform.api(`/batches/${openId}/cancel`, { method: 'POST' })).status).toBe(202);
    const cancelled = await receiver.of(none.traceId, named('batch default/orders'));
    expect(cancelled).toMatchObject([
      { status: 2, attributes: { 'offshoot.outcome': 'cancelled', 'offshoot.cancelled_by': 'key' } },
    ]);
    // The export of the cancelled batch would have come after a second export of the first one.
    const ends = receiver.spans.filter(
      ({ traceId, name }) => traceId === bad.traceId && name.startsWith('batch'),
    );
    expect(ends).toHaveLength(1);
  });

  test('T9 each attempt has a context of its own, and the trace state goes all the way [OB24]', async () => {
    await platform.deploy('traced', { env: { FRESH: '2' } });
    const { traceId, headers } = newTrace(false);
    const before = callbacks.received.length;
    const queued = await platform.call('traced/headers', {
      method: 'POST',
      headers: {
        ...headers,
        tracestate: 'vendor=1',
        prefer: 'respond-async',
        authorization: `Bearer ${platform.key}`,
        'x-offshoot-callback': callbacks.url,
      },
    });
    expect(queued.status, await queued.clone().text()).toBe(202);
    const { id } = (await queued.json()) as { id: string };
    const spans = await receiver.of(traceId, named('attempt', 'run', 'callback'));
    const run = pick(spans, 'run');
    const seen = (await (await platform.api(`/invocations/${id}/result`)).json()) as Record<string, string>;
    expect(seen).toMatchObject({ traceparent: `00-${traceId}-${run.spanId}-01`, tracestate: 'vendor=1' });
    expect(new Set(spans.map(({ tracestate }) => tracestate))).toEqual(new Set(['vendor=1']));
    expect(callbacks.received[before]?.headers['tracestate']).toBe('vendor=1');
  });

  test('T6 "tracing": false switches the spans of the platform off', async () => {
    await platform.deploy('traced', { tracing: false });
    const response = await platform.call('traced/fetch', newTrace());
    expect(await response.clone().json()).toEqual({});
    const { spans } = await platform.record(response);
    expect(spans.map(({ name }) => name)).not.toContain('work');
    expect(spans.map(({ name }) => name)).not.toContain('GET');
  });
});
