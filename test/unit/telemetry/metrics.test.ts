/** The counters, and the bounds of their labels. */
import { InMemorySpanExporter } from '@opentelemetry/sdk-trace';
import { describe, expect, test } from 'vitest';
import type { InvocationRecord } from '#contract/invocations/invocation.ts';
import { Exemplars } from '#telemetry/exemplars.ts';
import { LabelCap, Metrics } from '#telemetry/metrics.ts';
import { wantsOpenMetrics } from '#telemetry/openmetrics.ts';
import { startTelemetry } from '#telemetry/spans.ts';
import { seriesOf } from '../../support/platform/metrics.ts';
import { endedRecord, openRecord } from '../../support/platform/records.ts';

const open = openRecord({
  namespace: 'shop',
  name: 'orders',
  state: 'running',
  traceId: '1'.repeat(32),
  spanId: '2'.repeat(16),
  startedAt: 1_000,
  attempts: [{ startedAt: 1_010, worker: 'w' }],
});
const done = endedRecord(open, {
  outcome: 'timeout',
  status: 504,
  duration: 1_500,
  queue: 10,
  attempts: [{ startedAt: 1_010, worker: 'w', outcome: 'timeout', endedAt: 2_500 }],
  report: {
    outcome: 'timeout',
    worker: 'w',
    acquired: 'cold',
    coldReason: 'all_busy',
    timings: { acquire: 20, init: 5, run: 1_400, total: 1_425 },
    usage: { cpu: 250, memoryPeak: 1 },
    logBytes: 0,
    logBytesDropped: 0,
  },
});

async function series(metrics: Metrics, name: string): Promise<string[]> {
  return seriesOf((await metrics.expose()).text, name);
}

describe('metrics', () => {
  test('the end of an invocation is counted once, with its waits, its cold start and its processor time [OB2]', async () => {
    const metrics = new Metrics('t', '0', 10);
    metrics.changed(open, done);
    // Its callback changes later; it does not end again.
    metrics.changed(done, { ...done, message: 'noted' });
    const of = 'namespace="shop",function="orders"';
    expect(await series(metrics, 'offshoot_invocations_total')).toEqual([
      `offshoot_invocations_total{${of},lane="queued",outcome="timeout"} 1`,
    ]);
    expect(await series(metrics, 'offshoot_attempts_total')).toEqual([
      `offshoot_attempts_total{${of},outcome="timeout"} 1`,
    ]);
    expect(await series(metrics, 'offshoot_cold_starts_total')).toEqual([
      `offshoot_cold_starts_total{${of},kind="cold",reason="all_busy"} 1`,
    ]);
    expect(await series(metrics, 'offshoot_function_cpu_seconds_total')).toEqual([
      `offshoot_function_cpu_seconds_total{${of}} 0.25`,
    ]);
    const sums = await series(metrics, 'offshoot_invocation_duration_seconds_sum');
    expect(sums).toEqual([`offshoot_invocation_duration_seconds_sum{${of},lane="queued"} 1.5`]);
    await metrics.close();
  });

  test('an attempt that is followed by another counts as an attempt and not as an end', async () => {
    const metrics = new Metrics('t', '0', 10);
    const attempts = done.attempts ?? [];
    metrics.changed(open, { ...open, state: 'queued', attempts, dueAt: 9_000 });
    expect(await series(metrics, 'offshoot_invocations_total')).toEqual([]);
    expect(await series(metrics, 'offshoot_attempts_total')).toHaveLength(1);
    await metrics.close();
  });

  test('each delivery of a callback is counted by its result', async () => {
    const metrics = new Metrics('t', '0', 10);
    const at = (callback: NonNullable<InvocationRecord['callback']>): InvocationRecord => ({
      ...done,
      callback,
    });
    const url = 'https://example.com/';
    const fresh = at({ url, state: 'pending', attempts: 0 });
    const begun = at({ url, state: 'pending', attempts: 1 });
    const failed = at({ url, state: 'pending', attempts: 1, lastStatus: 503, nextAt: 5_000 });
    const again = at({ url, state: 'pending', attempts: 2 });
    const delivered = at({ url, state: 'delivered', attempts: 2, lastStatus: 200 });
    const steps = [fresh, begun, failed, again, delivered];
    for (const [index, after] of steps.entries()) {
      const before = steps[index - 1];
      if (before) metrics.changed(before, after);
    }
    expect(await series(metrics, 'offshoot_callbacks_total')).toEqual([
      'offshoot_callbacks_total{namespace="shop",result="retried"} 1',
      'offshoot_callbacks_total{namespace="shop",result="delivered"} 1',
    ]);
    await metrics.close();
  });

  test('functions beyond the limit share one label, and earlier ones keep theirs [OB3]', async () => {
    const cap = new LabelCap(2);
    expect(cap.of('a', 'one')).toEqual({ namespace: 'a', function: 'one' });
    expect(cap.of('a', 'two')).toEqual({ namespace: 'a', function: 'two' });
    expect(cap.of('a', 'three')).toEqual({ namespace: 'other', function: 'other' });
    expect(cap.of('a', 'one')).toEqual({ namespace: 'a', function: 'one' });

    const metrics = new Metrics('t', '0', 3);
    for (let index = 0; index < 50; index++) metrics.ended({ ...done, name: `f${index}` });
    const lines = await series(metrics, 'offshoot_invocations_total');
    expect(lines).toHaveLength(4);
    expect(lines.at(-1)).toBe(
      'offshoot_invocations_total{namespace="other",function="other",lane="queued",outcome="timeout"} 47',
    );
    await metrics.close();
  });

  test('OpenMetrics has counters, buckets and exemplars in its format, and the older text has no exemplars', async () => {
    const metrics = new Metrics('t', '0', 10);
    metrics.ended({ ...done, duration: 1_500 });
    metrics.ended({ ...done, duration: 1_600, traceId: 'a'.repeat(32), spanId: 'b'.repeat(16) });
    metrics.ended({ ...done, duration: 700_000 });
    // Its trace is not exported, so no exemplar leads to it.
    metrics.ended({ ...done, duration: 1_700, traceId: 'c'.repeat(32) }, false);
    const { type, text } = await metrics.expose('application/openmetrics-text;version=1.0.0');
    expect(type).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8');
    expect(text.endsWith('\n# EOF\n')).toBe(true);
    expect(text).not.toContain('\n\n');
    expect(text).toContain('# TYPE offshoot_invocations counter\n');
    expect(text).toContain('offshoot_invocations_total{');
    const of = 'namespace="shop",function="orders",lane="queued"';
    const bucket = (le: string): string | undefined =>
      text
        .split('\n')
        .find((line) => line.startsWith(`offshoot_invocation_duration_seconds_bucket{${of},le="${le}"}`));
    expect(bucket('1.0')).toMatch(/ 0$/);
    const ids = `{trace_id="${'a'.repeat(32)}",span_id="${'b'.repeat(16)}"}`;
    expect(bucket('2.5')).toMatch(new RegExp(` 3 # \\${ids} 1\\.6 \\d{10}\\.\\d{3}$`));
    expect(bucket('5.0')).toMatch(/ 3$/);
    expect(bucket('+Inf')).toMatch(/ 4 # \{trace_id="1{32}",span_id="2{16}"\} 700 /);
    const plain = await metrics.expose('text/plain');
    expect(plain.type).toContain('version=0.0.4');
    expect(plain.text).not.toContain('trace_id');
    await metrics.close();
  });

  test.each([
    [
      'application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2',
      true,
    ],
    ['text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.4', false],
    ['application/openmetrics-text; version=0.0.1', false],
    ['application/openmetrics-text;version=1.0.0;q=0', false],
    ['application/openmetrics-text', true],
    ['*/*', false],
    [undefined, false],
  ])('a scraper that accepts %s gets OpenMetrics: %s', (accept, wanted) => {
    expect(wantsOpenMetrics(accept)).toBe(wanted);
  });

  test('exemplars are bounded: one for each bucket, and no more series than the limit [OB12]', () => {
    const exemplars = new Exemplars([1, 2], 2);
    for (let at = 0; at < 1_000; at++)
      exemplars.record(`f${at % 5}`, at % 4, { traceId: `t${at}`, spanId: 's' });
    // A bound belongs to its bucket.
    expect(exemplars.of('f0').map((one) => one?.value)).toEqual([1, 2, 3]);
    expect(exemplars.of('f0').map((one) => one?.traceId)).toEqual(['t985', 't990', 't995']);
    expect(exemplars.of('f1')).toHaveLength(3);
    expect(exemplars.of('f2')).toEqual([]);
  });

  test('no bucket leads to a trace that is left out of the export', async () => {
    const metrics = new Metrics('t', '0', 10);
    const exporter = new InMemorySpanExporter();
    const telemetry = startTelemetry('t', '0', { ratio: 0, exporter });
    const sync = { ...done, lane: 'sync', status: 200, attempts: undefined } as const;
    for (const [record, kept] of [
      [{ ...sync, outcome: 'ok', traceId: 'a'.repeat(32) }, false],
      [{ ...sync, outcome: 'error', traceId: 'b'.repeat(32), duration: 40 }, true],
      [{ ...sync, outcome: 'ok', traceId: 'c'.repeat(32), sampled: false }, false],
    ] as [InvocationRecord, boolean][]) {
      const exported = telemetry.export(record);
      expect(exported).toBe(kept);
      metrics.ended(record, exported);
    }
    const { text } = await metrics.expose('application/openmetrics-text');
    const led = new Set(text.match(/(?<=trace_id=")[0-9a-f]+/g));
    expect([...led]).toEqual(['b'.repeat(32)]);
    // One change of the queued lane that ends an invocation, and one that does not.
    expect(telemetry.changed(open, done)).toBe(true);
    expect(telemetry.changed(done, done)).toBe(false);
    await Promise.all([metrics.close(), telemetry.close()]);
  });
});
