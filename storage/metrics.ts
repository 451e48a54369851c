/**
 * The metrics of a gateway or worker: one OpenTelemetry meter, read as Prometheus text. An invocation is counted once, by the
 * process that writes its end: a gateway those that somebody waits for, a worker those of the queued lane, so the sum over all
 * targets is right. Recording is a few steps in memory, behind the answer; what must be asked for is asked when somebody scrapes.
 */
import type { Attributes, Counter, Histogram, Meter } from '@opentelemetry/api';
import { PrometheusExporter, PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { MeterProvider } from '@opentelemetry/sdk-metrics';
import type { AnyInvocation, InvocationRecord } from '#contract/invocation.ts';
import { deliveryResult } from './changes.ts';

/** Content type of the text format (https://prometheus.io/docs/instrumenting/exposition_formats/). */
export const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** Seconds. A warm call takes less than one of a thousand, a queued one may wait for hours. */
const DURATION_BUCKETS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300,
];
const WAIT_BUCKETS = [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 600, 3_600];
/** The labels are bounded by LabelCap; this only keeps the SDK's own, lower, limit out of the way. */
const MAX_SERIES = 20_000;

export class Metrics {
  readonly meter: Meter;
  readonly #exporter = new PrometheusExporter({ preventServerStart: true });
  readonly #provider: MeterProvider;
  readonly #serializer = new PrometheusSerializer(undefined, false, undefined, true, true);
  readonly #labels: LabelCap;
  readonly #invocations: Counter;
  readonly #duration: Histogram;
  readonly #queue: Histogram;
  readonly #acquire: Histogram;
  readonly #cold: Counter;
  readonly #cpu: Counter;
  readonly #attempts: Counter;
  readonly #items: Counter;
  readonly #callbacks: Counter;

  /** `maxFunctions`: functions that get series of their own; those that come later share the label `other`. */
  constructor(service: string, version: string, maxFunctions: number) {
    this.#provider = new MeterProvider({
      resource: resourceFromAttributes({ 'service.name': service, 'service.version': version }),
      readers: [this.#exporter],
      views: [{ instrumentName: '*', aggregationCardinalityLimit: MAX_SERIES }],
    });
    this.#labels = new LabelCap(maxFunctions);
    const meter = this.#provider.getMeter('offshoot');
    this.meter = meter;
    const counter = (name: string, description: string): Counter =>
      meter.createCounter(name, { description });
    const histogram = (name: string, description: string, buckets: number[]): Histogram =>
      meter.createHistogram(name, { description, advice: { explicitBucketBoundaries: buckets } });
    this.#invocations = counter('offshoot_invocations', 'Invocations that have ended, by outcome');
    this.#duration = histogram(
      'offshoot_invocation_duration_seconds',
      'From the arrival of an invocation to its end, retries included',
      DURATION_BUCKETS,
    );
    this.#queue = histogram(
      'offshoot_invocation_queue_seconds',
      'Wait of an invocation for a worker to take it',
      WAIT_BUCKETS,
    );
    this.#acquire = histogram(
      'offshoot_invocation_acquire_seconds',
      'Wait of an invocation for a sandbox, by how it was had',
      DURATION_BUCKETS,
    );
    this.#cold = counter('offshoot_cold_starts', 'Invocations for which a sandbox was started, by reason');
    this.#cpu = counter('offshoot_function_cpu_seconds', 'Processor time of functions');
    this.#attempts = counter('offshoot_attempts', 'Tries of the queued lane that have ended, by outcome');
    this.#items = counter('offshoot_batch_items', 'Items of batches whose group has ended, by its outcome');
    this.#callbacks = counter('offshoot_callbacks', 'Deliveries of callbacks, by what came of them');
  }

  /** An invocation has ended. */
  ended(record: InvocationRecord): void {
    const { outcome, lane, report, batch } = record;
    const of = this.#labels.of(record.namespace, record.name);
    this.#invocations.add(1, { ...of, lane, outcome });
    const ofLane = { ...of, lane };
    this.#duration.record(Math.max(0, record.duration) / 1_000, ofLane);
    this.#queue.record(Math.max(0, record.queue) / 1_000, ofLane);
    if (batch) this.#items.add(batch.items, { ...of, outcome });
    if (!report) return;
    if (report.usage) this.#cpu.add(Math.max(0, report.usage.cpu) / 1_000, of);
    if (!report.acquired) return;
    this.#acquire.record(Math.max(0, report.timings.acquire) / 1_000, { ...of, kind: report.acquired });
    if (report.coldReason) this.#cold.add(1, { ...of, kind: report.acquired, reason: report.coldReason });
  }

  /** A record of the queued lane has changed: whatever has ended by that is counted. */
  changed(before: AnyInvocation, after: AnyInvocation): void {
    const of = this.#labels.of(after.namespace, after.name);
    const known = before.attempts ?? [];
    for (const [at, { outcome }] of (after.attempts ?? []).entries())
      if (outcome && !known[at]?.outcome) this.#attempts.add(1, { ...of, outcome });
    if (before.state !== 'done' && after.state === 'done') this.ended(after);
    const result = deliveryResult(before, after);
    if (result) this.#callbacks.add(1, { namespace: of.namespace, result });
  }

  /** What there is to know now, as Prometheus text. Asks for what is observed. */
  async text(): Promise<string> {
    const { resourceMetrics } = await this.#exporter.collect();
    return this.#serializer.serialize(resourceMetrics);
  }

  async close(): Promise<void> {
    await this.#provider.shutdown();
  }
}

interface FunctionLabels extends Attributes {
  readonly namespace: string;
  readonly function: string;
}

const OTHER: FunctionLabels = { namespace: 'other', function: 'other' };

/** Bounds the label values: whoever may deploy could otherwise make series without end, in this process and in Prometheus. */
export class LabelCap {
  readonly #max: number;
  readonly #known = new Map<string, FunctionLabels>();

  constructor(max: number) {
    this.#max = max;
  }

  of(namespace: string, name: string): FunctionLabels {
    const key = `${namespace}/${name}`;
    const known = this.#known.get(key);
    if (known) return known;
    if (this.#known.size >= this.#max) return OTHER;
    const labels = { namespace, function: name };
    this.#known.set(key, labels);
    return labels;
  }
}
