/**
 * The metrics of a gateway or worker: one OpenTelemetry meter, read as Prometheus text or OpenMetrics. The process that records
 * the end of an invocation counts it: the gateway a synchronous call, the worker a queued one. So the sum over all targets is
 * right. Recording is a few steps in memory, after the answer; figures from elsewhere are fetched only at a scrape.
 */
import type { Attributes, Counter, Histogram, Meter } from '@opentelemetry/api';
import { PrometheusExporter, PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { MeterProvider } from '@opentelemetry/sdk-metrics';
import type { AnyInvocation, InvocationRecord } from '#contract/invocations/invocation.ts';
import { deliveryResult } from './changes.ts';
import { Exemplars, seriesKey } from './exemplars.ts';
import { openMetrics, OPENMETRICS_TYPE, wantsOpenMetrics } from './openmetrics.ts';

/** Content type of the text format (https://prometheus.io/docs/instrumenting/exposition_formats/). */
const TEXT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** Bounds in seconds. A warm call takes less than a thousandth of a second, a queued one may wait for hours. */
const DURATION_BUCKETS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300,
];
const WAIT_BUCKETS = [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 600, 3_600];
const DURATION = 'offshoot_invocation_duration_seconds';
const QUEUE = 'offshoot_invocation_queue_seconds';
/** Upper bound on the series of a metric, above what LabelCap allows: it only replaces the SDK's own, lower, limit. */
const MAX_SERIES = 20_000;
const LANES = 2;

/** Metrics in the form of an answer to a scrape. */
export interface Exposition {
  readonly type: string;
  readonly text: string;
}

export class Metrics {
  readonly meter: Meter;
  readonly #exporter = new PrometheusExporter({ preventServerStart: true });
  readonly #provider: MeterProvider;
  readonly #serializer = new PrometheusSerializer(undefined, false, undefined, true, true);
  readonly #labels: LabelCap;
  readonly #exemplars: ReadonlyMap<string, Exemplars>;
  readonly #dropped = new Map<string, () => number>();
  readonly #invocations: Counter;
  readonly #duration: Histogram;
  readonly #queue: Histogram;
  readonly #acquire: Histogram;
  readonly #cold: Counter;
  readonly #cpu: Counter;
  readonly #outside: Counter;
  readonly #attempts: Counter;
  readonly #items: Counter;
  readonly #callbacks: Counter;
  readonly #logBytesCut: Counter;

  /** `maxFunctions`: number of functions with series of their own; functions that come later share the label `other`. */
  constructor(service: string, version: string, maxFunctions: number) {
    this.#provider = new MeterProvider({
      resource: resourceFromAttributes({ 'service.name': service, 'service.version': version }),
      readers: [this.#exporter],
      views: [{ instrumentName: '*', aggregationCardinalityLimit: MAX_SERIES }],
    });
    this.#labels = new LabelCap(maxFunctions);
    const exemplars = (buckets: number[]): Exemplars => new Exemplars(buckets, (maxFunctions + 1) * LANES);
    this.#exemplars = new Map([
      [DURATION, exemplars(DURATION_BUCKETS)],
      [QUEUE, exemplars(WAIT_BUCKETS)],
    ]);
    const meter = this.#provider.getMeter('offshoot');
    this.meter = meter;
    const counter = (name: string, description: string): Counter =>
      meter.createCounter(name, { description });
    const histogram = (name: string, description: string, buckets: number[]): Histogram =>
      meter.createHistogram(name, { description, advice: { explicitBucketBoundaries: buckets } });
    this.#invocations = counter('offshoot_invocations', 'Invocations that have ended, by outcome');
    this.#duration = histogram(
      DURATION,
      'From the arrival of an invocation to its end, retries included',
      DURATION_BUCKETS,
    );
    this.#queue = histogram(QUEUE, 'Wait of an invocation for a worker to take it', WAIT_BUCKETS);
    this.#acquire = histogram(
      'offshoot_invocation_acquire_seconds',
      'Wait of an invocation for a sandbox, by how the sandbox was obtained',
      DURATION_BUCKETS,
    );
    this.#cold = counter('offshoot_cold_starts', 'Invocations for which a sandbox was started, by reason');
    this.#cpu = counter('offshoot_function_cpu_seconds', 'Processor time of functions');
    this.#outside = counter(
      'offshoot_function_outside_cpu_seconds',
      'Processor time of sandboxes of functions outside of any invocation, by phase',
    );
    this.#attempts = counter('offshoot_attempts', 'Attempts of the queued lane that have ended, by outcome');
    this.#items = counter('offshoot_batch_items', 'Items of batches whose group has ended, by its outcome');
    this.#callbacks = counter('offshoot_callbacks', 'Deliveries of callbacks, by their result');
    this.#logBytesCut = counter('offshoot_log_bytes_cut', 'Output of functions that was over "logSize"');
    meter
      .createObservableCounter('offshoot_telemetry_dropped', {
        description: 'Spans and log lines that could not be exported, by signal',
      })
      .addCallback((result) => {
        for (const [signal, dropped] of this.#dropped) result.observe(dropped(), { signal });
      });
  }

  /** Shows the drops of an exporter as `offshoot_telemetry_dropped_total{signal}`; `dropped` is their count since the start. */
  watchDropped(signal: string, dropped: () => number): void {
    this.#dropped.set(signal, dropped);
  }

  /** Counts an invocation that has ended. `traced`: its trace can be looked up, so a bucket of a histogram may lead to it. */
  ended(record: InvocationRecord, traced = true): void {
    const { outcome, lane, report, batch } = record;
    const of = this.#labels.of(record.namespace, record.name);
    this.#invocations.add(1, { ...of, lane, outcome });
    const ofLane = { ...of, lane };
    const duration = Math.max(0, record.duration) / 1_000;
    const queue = Math.max(0, record.queue) / 1_000;
    this.#duration.record(duration, ofLane);
    this.#queue.record(queue, ofLane);
    if (traced) {
      const series = seriesKey([of.namespace, of.function, lane]);
      this.#exemplars.get(DURATION)?.record(series, duration, record);
      this.#exemplars.get(QUEUE)?.record(series, queue, record);
    }
    if (batch) this.#items.add(batch.items, { ...of, outcome });
    if (!report) return;
    if (report.usage) this.#cpu.add(Math.max(0, report.usage.cpu) / 1_000, of);
    if (report.logBytesDropped > 0) this.#logBytesCut.add(report.logBytesDropped, of);
    if (!report.acquired) return;
    this.#acquire.record(Math.max(0, report.timings.acquire) / 1_000, { ...of, kind: report.acquired });
    if (report.coldReason) this.#cold.add(1, { ...of, kind: report.acquired, reason: report.coldReason });
  }

  /** Counts processor time that sandboxes of a function used outside of any invocation, in milliseconds. */
  outside(used: { namespace: string; name: string; phase: 'start' | 'idle'; ms: number }): void {
    const { namespace, name, phase, ms } = used;
    this.#outside.add(ms / 1_000, { ...this.#labels.of(namespace, name), phase });
  }

  /** Counts everything that a change of a queued record has ended. `traced`: as for ended(). */
  changed(before: AnyInvocation, after: AnyInvocation, traced = true): void {
    const of = this.#labels.of(after.namespace, after.name);
    const known = before.attempts ?? [];
    for (const [at, { outcome }] of (after.attempts ?? []).entries())
      if (outcome && !known[at]?.outcome) this.#attempts.add(1, { ...of, outcome });
    if (before.state !== 'done' && after.state === 'done') this.ended(after, traced);
    const result = deliveryResult(before, after);
    if (result) this.#callbacks.add(1, { namespace: of.namespace, result });
  }

  /** The current metrics, in the format that the header `accept` asks for. Fetches the observed figures. */
  async expose(accept?: string): Promise<Exposition> {
    const { resourceMetrics } = await this.#exporter.collect();
    return wantsOpenMetrics(accept)
      ? { type: OPENMETRICS_TYPE, text: openMetrics(resourceMetrics, this.#exemplars) }
      : { type: TEXT_TYPE, text: this.#serializer.serialize(resourceMetrics) };
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

/** Bounds the label values: a tenant that may deploy could otherwise make series without end, here and in Prometheus. */
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
