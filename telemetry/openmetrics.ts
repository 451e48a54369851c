/**
 * Writes metrics in the text format of OpenMetrics 1.0 (https://prometheus.io/docs/specs/om/open_metrics_spec/), which can carry
 * exemplars. The serializer of the SDK writes only the older format.
 */
import type { Attributes } from '@opentelemetry/api';
import {
  DataPointType,
  type DataPoint,
  type Histogram,
  type MetricData,
  type ResourceMetrics,
} from '@opentelemetry/sdk-metrics';
import { seriesKey, type Exemplar, type Exemplars } from './exemplars.ts';

/** Content type of OpenMetrics 1.0. */
export const OPENMETRICS_TYPE = 'application/openmetrics-text; version=1.0.0; charset=utf-8';

/** `exemplars`: those of histograms, by name. Names must be valid, and counters must not end in `_total`, which is added here. */
export function openMetrics(
  { scopeMetrics }: ResourceMetrics,
  exemplars: ReadonlyMap<string, Exemplars>,
): string {
  const families = scopeMetrics.flatMap(({ metrics }) => metrics.map((one) => family(one, exemplars)));
  return `${families.join('')}# EOF\n`;
}

function family(metric: MetricData, exemplars: ReadonlyMap<string, Exemplars>): string {
  const { name, description } = metric.descriptor;
  if (metric.dataPoints.length === 0) return '';
  const head = (type: string): string => `# HELP ${name} ${escaped(description)}\n# TYPE ${name} ${type}\n`;
  if (metric.dataPointType === DataPointType.HISTOGRAM) {
    const points = metric.dataPoints.map((point) => histogram(name, point, exemplars.get(name)));
    return head('histogram') + points.join('');
  }
  // The platform has no histograms of this type.
  if (metric.dataPointType === DataPointType.EXPONENTIAL_HISTOGRAM) return '';
  const isCounter = metric.dataPointType === DataPointType.SUM && metric.isMonotonic;
  const of = isCounter ? `${name}_total` : name;
  const samples = metric.dataPoints.map(({ attributes, value }) => sample(of, attributes, value));
  return head(isCounter ? 'counter' : 'gauge') + samples.join('');
}

function histogram(name: string, point: DataPoint<Histogram>, exemplars: Exemplars | undefined): string {
  const { attributes, value } = point;
  const { boundaries, counts } = value.buckets;
  const known = exemplars?.of(seriesKey(Object.values(attributes))) ?? [];
  let sum = 0;
  let lines = '';
  for (const [bucket, count] of counts.entries()) {
    sum += count;
    const le = number(boundaries[bucket] ?? Infinity);
    lines += sample(`${name}_bucket`, { ...attributes, le }, sum, known[bucket]);
  }
  lines += sample(`${name}_count`, attributes, value.count);
  return lines + sample(`${name}_sum`, attributes, value.sum ?? 0);
}

function sample(name: string, attributes: Attributes, value: number, exemplar?: Exemplar): string {
  const labels = Object.entries(attributes).map(([key, of]) => `${key}="${escaped(text(of))}"`);
  const set = labels.length > 0 ? `{${labels.join(',')}}` : '';
  return `${name}${set} ${plain(value)}${exemplar ? exemplarText(exemplar) : ''}\n`;
}

function exemplarText({ traceId, spanId, value, at }: Exemplar): string {
  return ` # {trace_id="${traceId}",span_id="${spanId}"} ${plain(value)} ${(at / 1_000).toFixed(3)}`;
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? '');
}

function escaped(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"');
}

/** JavaScript writes numbers as the format requires, except the infinite ones. */
function plain(value: number): string {
  if (value === Infinity) return '+Inf';
  return value === -Infinity ? '-Inf' : String(value);
}

/** A bound as a label: with a point, so that all writers use the same text. */
function number(bound: number): string {
  return Number.isInteger(bound) ? `${bound}.0` : plain(bound);
}

interface Wanted {
  readonly type: string;
  readonly version: string | undefined;
  readonly quality: number;
}

/** Whether the client prefers OpenMetrics to the older text. `accept` is the header of that name. */
export function wantsOpenMetrics(accept: string | undefined): boolean {
  const wanted = (accept ?? '').split(',').map(readRange);
  const best = (fits: (one: Wanted) => boolean): number =>
    Math.max(0, ...wanted.filter(fits).map(({ quality }) => quality));
  const open = best(
    ({ type, version = '1.0.0' }) => type === 'application/openmetrics-text' && version === '1.0.0',
  );
  return open > 0 && open >= best(({ type }) => type === 'text/plain');
}

function readRange(range: string): Wanted {
  const [type = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
  const parameter = (name: string): string | undefined =>
    parameters.find((one) => one.startsWith(`${name}=`))?.slice(name.length + 1);
  const quality = Number(parameter('q') ?? 1);
  return { type, version: parameter('version'), quality: quality >= 0 && quality <= 1 ? quality : 0 };
}
