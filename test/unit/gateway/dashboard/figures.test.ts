/** Figures that the dashboard computes from invocations, and the commands that it sends to Redis for them. */
import { describe, expect, test, vi } from 'vitest';
import type { Sample } from '#contract/api/dashboard.ts';
import type { AnyInvocation, InvocationRecord, OpenInvocation } from '#contract/invocations/invocation.ts';
import { sampleOf, Samples } from '../../../../gateway/records/samples.ts';
import { bucketsOf, percentile, trafficOf } from '../../../../gateway/dashboard/traffic.ts';

const NOW = 1_800_000_000_000;
const identity = {
  namespace: 'default',
  name: 'hello',
  version: 1,
  lane: 'sync',
  method: 'GET',
  path: '/',
  traceId: 'f'.repeat(32),
  spanId: 'e'.repeat(16),
  sampled: true,
  requestBytes: 0,
} as const;

function done(id: string, startedAt: number, changes: Partial<InvocationRecord> = {}): InvocationRecord {
  return {
    ...identity,
    id,
    startedAt,
    state: 'done',
    outcome: 'ok',
    status: 200,
    duration: 10,
    gateway: 1,
    queue: 1,
    responseBytes: 0,
    ...changes,
  };
}

function open(id: string, startedAt: number): OpenInvocation {
  return { ...identity, id, startedAt, state: 'running' };
}

describe('traffic', () => {
  const samples: Sample[] = Array.from({ length: 100 }, (_, index) =>
    sampleOf(
      done(`i${index}`, NOW - index * 1_000, { duration: index + 1, ...(index < 5 && { outcome: 'error' }) }),
    ),
  );

  test('percentiles are values that were measured', () => {
    expect(percentile([1, 2, 3, 4], 0.5)).toBe(2);
    expect(percentile([1, 2, 3, 4], 0.99)).toBe(4);
    expect(percentile([7], 0.5)).toBe(7);
    expect(trafficOf(samples, 15, NOW)).toMatchObject({ count: 100, failed: 5, p50: 50, p99: 99, cold: 0 });
  });

  test('only invocations that began in the window count, and without any there are no figures', () => {
    expect(trafficOf(samples, 1, NOW)).toMatchObject({ count: 61, perMinute: 61 });
    expect(trafficOf([], 15, NOW)).toEqual({ count: 0, perMinute: 0, failed: 0 });
  });

  test('a rate covers only the time that the samples reach back, where that is less than the window', () => {
    expect(trafficOf(samples, 15, NOW).perMinute).toBeCloseTo(100 / 15);
    expect(trafficOf(samples, 15, NOW, NOW - 99_000).perMinute).toBeCloseTo(100 / 1.65);
    expect(trafficOf(samples, 1, NOW, NOW - 99_000).perMinute).toBe(61);
  });

  test('an open invocation is a call, and neither failed nor slow', () => {
    const running = [sampleOf(open('r', NOW)), ...samples.slice(0, 1)];
    expect(trafficOf(running, 15, NOW)).toMatchObject({ count: 2, failed: 1, p50: 1 });
  });

  test('buckets hold each call once, and stay where they are while time goes on', () => {
    const buckets = bucketsOf(samples, 15, 60, NOW);
    expect(buckets).toHaveLength(60);
    expect(buckets.reduce((sum, { ok, failed }) => sum + ok + failed, 0)).toBe(100);
    expect(buckets.at(-1)).toMatchObject({ failed: 1 });
    expect(bucketsOf(samples, 15, 60, NOW + 10_000).at(-1)?.at).toBe(buckets.at(-1)?.at);
    expect(bucketsOf(samples, 15, 60, NOW + 15_000).at(-2)?.at).toBe(buckets.at(-1)?.at);
  });
});

describe('samples', () => {
  test('samples say since when they are complete, where older ones have been dropped', async () => {
    const ids = Array.from({ length: 3 }, (_, index) => `i${index}`);
    const of = (kept: readonly string[]): Samples =>
      new Samples({
        recentIds: () => Promise.resolve(ids),
        findAll: (wanted) =>
          Promise.resolve(
            wanted.map((id) => (kept.includes(id) ? done(id, NOW - ids.indexOf(id) * 1_000) : undefined)),
          ),
      });
    const whole = of(ids);
    await whole.of('default', 'hello');
    expect(whole.knownFrom('default', 'hello')).toBeUndefined();
    // The record of the oldest is gone, and that was not the first invocation either.
    const cut = of(ids.slice(0, 2));
    await cut.of('default', 'hello');
    expect(cut.knownFrom('default', 'hello')).toBe(NOW - 1_000);
  });

  test('an ended invocation is read once, an open one until it has ended', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const records = new Map<string, AnyInvocation>([
      ['a', done('a', NOW - 5_000)],
      ['b', open('b', NOW - 4_000)],
      ['d', done('d', NOW - 3_000, { lane: 'queued', outcome: 'error', dead: 'attempts_used' })],
    ]);
    const read: string[][] = [];
    const samples = new Samples({
      recentIds: (_namespace, _name, since) =>
        Promise.resolve(
          [...records.values()].filter(({ startedAt }) => startedAt >= since).map(({ id }) => id),
        ),
      findAll: (ids) => {
        read.push([...ids].toSorted());
        return Promise.resolve(ids.map((id) => records.get(id)));
      },
    });
    expect((await samples.of('default', 'hello')).map(({ id }) => id)).toEqual(['d', 'b', 'a']);
    // Many pages at once cost no more than one.
    await Promise.all([samples.of('default', 'hello'), samples.of('default', 'hello')]);
    expect(read).toEqual([['a', 'b', 'd']]);

    records.set('b', done('b', NOW - 4_000));
    records.set('c', done('c', NOW));
    vi.advanceTimersByTime(1_000);
    const later = await samples.of('default', 'hello');
    // A dead letter may be queued again, so its record is read again after a while.
    expect(read.at(-1)).toEqual(['b', 'c', 'd']);
    expect(later.map(({ id, state }) => `${id} ${state}`)).toEqual(['c done', 'd done', 'b done', 'a done']);
    vi.useRealTimers();
  });
});
