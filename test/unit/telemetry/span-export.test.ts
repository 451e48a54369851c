/** Export of spans to a collector that is slow, away or unwilling: bounded, and counted. */
import { ROOT_CONTEXT, trace, TraceFlags } from '@opentelemetry/api';
import { ExportResultCode } from '@opentelemetry/core';
import { TracerProvider, type ReadableSpan, type SpanExporter } from '@opentelemetry/sdk-trace';
import { expect, test, vi } from 'vitest';
import { SpanExport } from '#telemetry/span-export.ts';

/** Upper bound on spans that are on their way. */
const FULL = 16_384;
/** Of one request. */
const BATCH = 128;

function span(): ReadableSpan {
  const context = trace.setSpanContext(ROOT_CONTEXT, {
    traceId: 'a'.repeat(32),
    spanId: 'b'.repeat(16),
    traceFlags: TraceFlags.SAMPLED,
  });
  const made = new TracerProvider().getTracer('test').startSpan('one', {}, context);
  made.end();
  return made as unknown as ReadableSpan;
}

function exporter(send: SpanExporter['export']): SpanExporter {
  return { export: send, shutdown: () => Promise.resolve() };
}

test('a collector that never answers holds a bounded number of spans, and the rest is counted', async () => {
  const pending: (() => void)[] = [];
  let isBack = false;
  const outlet = new SpanExport(
    undefined,
    exporter((_spans, done) => {
      const answer = (): void => done({ code: ExportResultCode.SUCCESS });
      if (isBack) setImmediate(answer);
      else pending.push(answer);
    }),
  );
  const one = span();
  for (let count = 0; count < FULL + 100; count++) outlet.add(one);
  expect(outlet.dropped).toBe(100);

  // When it does answer, there is room again, for the number that it has taken.
  await vi.waitFor(() => expect(pending).toHaveLength(1));
  pending[0]?.();
  for (let count = 0; count < BATCH + 1; count++) outlet.add(one);
  expect(outlet.dropped).toBe(101);
  await vi.waitFor(() => expect(pending).toHaveLength(2));
  isBack = true;
  pending[1]?.();
  await outlet.close();
  expect(outlet.dropped).toBe(101);
});

test('spans that a collector refuses are counted', async () => {
  let sent = 0;
  const outlet = new SpanExport(
    undefined,
    exporter((spans, done) => {
      sent += spans.length;
      done({ code: ExportResultCode.FAILED, error: new Error('no room') });
    }),
  );
  for (let count = 0; count < 300; count++) outlet.add(span());
  // The SDK reports that the last of them could not be sent.
  await outlet.close().catch(() => undefined);
  expect(sent).toBe(300);
  expect(outlet.dropped).toBe(300);
});

test('all waiting spans are sent at the end', async () => {
  let sent = 0;
  const outlet = new SpanExport(
    undefined,
    exporter((spans, done) => {
      sent += spans.length;
      setImmediate(() => done({ code: ExportResultCode.SUCCESS }));
    }),
  );
  for (let count = 0; count < 5_000; count++) outlet.add(span());
  await outlet.close();
  expect(sent).toBe(5_000);
  expect(outlet.dropped).toBe(0);
});
