/** Computes rates and percentiles of invocations for the dashboard. Pure. */
import type { Bucket, Sample, Traffic } from '#contract/api/dashboard.ts';
import { isFailure } from '#contract/invocations/outcome.ts';

const MINUTE_MS = 60_000;
/** Shortest period from which a rate is computed. */
const LEAST_MINUTES = 1 / 60;

/** Figures of the invocations of the last `minutes`. Samples come newest first, and none of them is older than `knownFrom`. */
export function trafficOf(
  samples: readonly Sample[],
  minutes: number,
  now: number,
  knownFrom = -Infinity,
): Traffic {
  const inside = since(samples, now - minutes * MINUTE_MS);
  const ended = inside.filter((sample) => sample.state === 'done');
  const durations = ended.map(({ duration = 0 }) => duration).toSorted((a, b) => a - b);
  const count = inside.length;
  return {
    count,
    perMinute: count / Math.min(minutes, Math.max(LEAST_MINUTES, (now - knownFrom) / MINUTE_MS)),
    failed: ended.filter(failed).length,
    ...(ended.length > 0 && {
      p50: percentile(durations, 0.5),
      p99: percentile(durations, 0.99),
      cold: ended.filter(({ cold }) => cold !== undefined).length / ended.length,
    }),
  };
}

/** The last `minutes` in equal parts, oldest first. Parts begin at multiples of their length, so that they do not wander. */
export function bucketsOf(samples: readonly Sample[], minutes: number, parts: number, now: number): Bucket[] {
  const length = (minutes * MINUTE_MS) / parts;
  const first = Math.floor(now / length) * length - (parts - 1) * length;
  const groups = Array.from({ length: parts }, (): Sample[] => []);
  for (const sample of since(samples, first)) {
    groups[Math.floor((sample.startedAt - first) / length)]?.push(sample);
  }
  return groups.map((group, index) => {
    const ended = group.filter((sample) => sample.state === 'done');
    const durations = ended.map(({ duration = 0 }) => duration).toSorted((a, b) => a - b);
    const bad = ended.filter(failed).length;
    return {
      at: first + index * length,
      ok: group.length - bad,
      failed: bad,
      cold: ended.filter(({ cold }) => cold !== undefined).length,
      ...(ended.length > 0 && { p50: percentile(durations, 0.5), p99: percentile(durations, 0.99) }),
    };
  });
}

export function failed({ outcome }: Sample): boolean {
  return outcome !== undefined && isFailure(outcome);
}

/** The smallest value that this share of the values does not exceed (nearest rank): always a measured value. */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

function since(samples: readonly Sample[], time: number): readonly Sample[] {
  const end = samples.findIndex(({ startedAt }) => startedAt < time);
  return end === -1 ? samples : samples.slice(0, end);
}
