/** One trace through caller, gateway, queue, worker, function and the function that it calls, as one tree of spans. */
import { networkInterfaces } from 'node:os';
import { ROOT_CONTEXT, SpanKind, trace, type Span } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatTraceparent } from '#contract/invocations/trace.ts';
import { WholeTrace } from '#contract/invocations/whole-trace.ts';
import { OtlpReceiver, type ReceivedSpan } from '../../support/servers/otlp-receiver.ts';
import { Platform } from '../../support/platform/platform.ts';
import { SLOWNESS } from '../../support/faults/slowness.ts';

const own = Object.values(networkInterfaces())
  .flat()
  .find((entry) => entry?.family === 'IPv4' && !entry.internal)?.address;

/** Tolerance: clocks of several processes, and phases of which only the sum is measured. */
const TOLERANCE_NS = 10_000_000n;

let platform: Platform;
let receiver: OtlpReceiver;
let provider: TracerProvider;
/** The gateway, by an address that a sandbox reaches when a rule names it. */
let reached = '';

beforeAll(async () => {
  receiver = await OtlpReceiver.start();
  platform = await Platform.start({
    OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
    ...(own !== undefined && { OFFSHOOT_HOST: '0.0.0.0' }),
  });
  provider = new TracerProvider({
    resource: resourceFromAttributes({ 'service.name': 'shop' }),
    spanProcessors: [
      new BatchSpanProcessor({ exporter: new OTLPTraceExporter({ url: `${receiver.url}/v1/traces` }) }),
    ],
  });
  const rule = `${own}:${new URL(platform.url).port}`;
  reached = `http://${rule}`;
  const manifest = { timeout: 20, ...(own !== undefined && { network: { egress: [rule] } }) };
  await platform.deploy('traced', { ...manifest });
  await platform.deploy('traced', { ...manifest, name: 'retried' });
  await platform.deploy('traced', { name: 'called' });
}, 60_000 * SLOWNESS);
afterAll(async () => {
  await provider?.shutdown();
  await platform?.stop();
  receiver?.close();
});

/** A caller with the SDK's tracer: its own span goes to the same collector. */
async function asCaller(act: (traceparent: string) => Promise<unknown>): Promise<string> {
  const span: Span = provider
    .getTracer('shop')
    .startSpan('checkout', { kind: SpanKind.CLIENT }, trace.deleteSpan(ROOT_CONTEXT));
  const { traceId, spanId } = span.spanContext();
  await act(formatTraceparent({ traceId, spanId, sampled: true }));
  span.end();
  await provider.forceFlush();
  return traceId;
}

/** Draws spans as receivers do: each below its parent, by names. */
function paths(spans: readonly ReceivedSpan[]): string[] {
  const byId = new Map(spans.map((span) => [span.spanId, span]));
  return spans
    .map((span) => {
      const names: string[] = [];
      for (let at: ReceivedSpan | undefined = span; at; at = byId.get(at.parentSpanId))
        names.unshift(at.name);
      return names.join(' > ');
    })
    .toSorted();
}

/** Throws unless the spans are one tree whose root is the caller's span, with times within times. */
function expectOneTree(spans: readonly ReceivedSpan[], slackOf: (span: ReceivedSpan) => bigint): void {
  const byId = new Map(spans.map((span) => [span.spanId, span]));
  expect(byId.size).toBe(spans.length);
  const roots = spans.filter(({ parentSpanId }) => !byId.has(parentSpanId));
  expect(roots.map(({ name, parentSpanId }) => [name, parentSpanId])).toEqual([['checkout', '']]);
  for (const span of spans) {
    const parent = byId.get(span.parentSpanId);
    if (!parent) continue;
    const slack = TOLERANCE_NS + slackOf(span);
    expect(span.end, `${span.name} ends`).toBeGreaterThanOrEqual(span.start);
    expect(span.start, `${span.name} begins in ${parent.name}`).toBeGreaterThanOrEqual(parent.start - slack);
    expect(span.end, `${span.name} ends in ${parent.name}`).toBeLessThanOrEqual(parent.end + slack);
  }
}

async function wholeTrace(traceId: string): Promise<WholeTrace> {
  const answer = await platform.api(`/traces/${traceId}`);
  expect(answer.status).toBe(200);
  return WholeTrace.parse(await answer.json());
}

const lengthOf = ({ start, end }: ReceivedSpan): bigint => end - start;
const ids = (spans: readonly { readonly spanId: string }[]): string[] =>
  spans.map(({ spanId }) => spanId).toSorted();

/**
 * Of the way to the worker and back only the sum is known, which `queue` holds; a run may have begun earlier by that.
 */
function slackFrom(spans: readonly ReceivedSpan[]): (span: ReceivedSpan) => bigint {
  const queues = spans.filter(({ name }) => name === 'queue').map(lengthOf);
  const most = queues.toSorted((a, b) => Number(b - a))[0] ?? 0n;
  return ({ name }) => (['work', 'inner', 'GET', 'default/called'].includes(name) ? most : 0n);
}

// The host's own address stands for "some address that a rule names"; a machine without one cannot show this.
describe.skipIf(own === undefined)('a function that calls another one', () => {
  test('T20 in the sync lane, the spans of caller, function and called function are one tree [OB26]', async () => {
    const traceId = await asCaller(async (traceparent) => {
      const to = encodeURIComponent(`${reached}/fn/default/called`);
      const response = await platform.call(`traced?to=${to}`, { headers: { traceparent } });
      expect(response.status).toBe(200);
    });
    const spans = await receiver.of(
      traceId,
      (found) =>
        found.filter(({ name }) => name === 'work').length === 2 &&
        ['checkout', 'default/traced', 'default/called'].every((name) =>
          found.some((one) => one.name === name),
        ),
    );
    expectOneTree(spans, slackFrom(spans));
    const drawn = paths(spans);
    const call = 'checkout > default/traced > run > work > GET > default/called';
    for (const root of ['checkout > default/traced', call]) {
      for (const phase of ['gateway', 'queue', 'acquire', 'run', 'run > work', 'run > work > inner'])
        expect(drawn).toContain(`${root} > ${phase}`);
    }
    expect(new Set(spans.map(({ service }) => service))).toEqual(new Set(['shop', 'offshoot']));

    // The API shows the same spans, except the caller's, of which it has only the id.
    const whole = await wholeTrace(traceId);
    expect(ids(whole.spans)).toEqual(ids(spans));
    const caller = spans.find(({ name }) => name === 'checkout');
    expect(whole.spans[0]).toEqual({
      name: 'caller',
      spanId: caller?.spanId,
      depth: 0,
      process: 'caller',
      kind: 'client',
      attributes: {},
    });
    expect(whole.spans.filter(({ depth }) => depth === 0)).toHaveLength(1);
    const parents = new Map(spans.map(({ spanId, parentSpanId }) => [spanId, parentSpanId]));
    for (const span of whole.spans.slice(1)) expect(span.parentSpanId).toBe(parents.get(span.spanId));
    expect(whole.invocations.map(({ name }) => name)).toEqual(['traced', 'called']);

    // The terminal draws them too.
    const { stdout } = await platform.cli('trace', traceId);
    for (const line of [
      'caller +caller +its own times',
      'default/traced +gateway',
      'inner +function',
      'default/called +gateway',
    ])
      expect(stdout).toMatch(new RegExp(`^ +${line}`, 'm'));
  });

  test('T21 a gateway that has just started shows the same tree', async () => {
    const traceId = await asCaller(async (traceparent) => {
      const response = await platform.call('called', { headers: { traceparent } });
      await platform.record(response);
    });
    const before = await wholeTrace(traceId);
    await platform.kill('gateway', 'SIGTERM');
    platform.run('gateway');
    await platform.ready();
    expect(await wholeTrace(traceId)).toEqual(before);
  });
});

test('T22 in the queued lane, a failed attempt and its retry, which links to it, are in the same tree', async () => {
  const to = encodeURIComponent(`${reached}/fn/default/called`);
  let id = '';
  const traceId = await asCaller(async (traceparent) => {
    const response = await platform.call(own === undefined ? 'retried' : `retried?to=${to}`, {
      method: 'POST',
      body: '{}',
      headers: { traceparent, prefer: 'respond-async', authorization: `Bearer ${platform.key}` },
    });
    expect(response.status, await response.clone().text()).toBe(202);
    ({ id } = (await response.json()) as { id: string });
    // The caller has its answer, while the work that it asked for is still to come.
  });
  const calls = own === undefined ? 0 : 2;
  const spans = await receiver.of(
    traceId,
    (found) =>
      found.filter(({ name }) => name === 'default/called').length === calls &&
      found.filter(({ name }) => name === 'work').length === 2 + calls &&
      ['checkout', 'default/retried', 'attempt', 'run'].every((name) =>
        found.some((one) => one.name === name),
      ),
  );
  // Queued work ends after its caller's span; nothing else may end outside of its parent.
  const caller = spans.find(({ name }) => name === 'checkout');
  const after = spans.reduce((last, { end }) => (end > last ? end : last), 0n) - (caller?.end ?? 0n);
  const slack = slackFrom(spans);
  expectOneTree(spans, (span) => (span.parentSpanId === caller?.spanId ? after : slack(span)));
  const root = spans.find(({ name }) => name === 'default/retried');
  const attempt = spans.find(({ name }) => name === 'attempt');
  const run = spans.find(({ name, parentSpanId }) => name === 'run' && parentSpanId === root?.spanId);
  expect(run?.links).toEqual([attempt?.spanId]);
  const drawn = paths(spans);
  for (const path of ['queue', 'acquire', 'attempt > work > inner', 'run > work > inner'])
    expect(drawn).toContain(`checkout > default/retried > ${path}`);

  const whole = await wholeTrace(traceId);
  expect(whole.invocations[0]).toMatchObject({ id, name: 'retried', lane: 'queued', outcome: 'ok' });
  expect(whole.spans.find(({ name }) => name === 'attempt')).toMatchObject({
    error: 'error',
    process: 'worker',
    spanId: attempt?.spanId,
  });
  expect(whole.spans.find(({ spanId }) => spanId === run?.spanId)?.link).toBe(attempt?.spanId);
  // Each span shown was exported too. (The record keeps the function's own spans of the last attempt.)
  const exported = new Set(ids(spans));
  expect(whole.spans.filter(({ spanId }) => !exported.has(spanId))).toEqual([]);
});
