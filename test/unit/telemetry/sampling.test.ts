/** The choice of exported traces: the same in all processes, a share of them, and at most a number a second. */
import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { TraceSampler } from '#telemetry/sampling.ts';

const traceIds = (count: number): string[] =>
  Array.from({ length: count }, () => randomBytes(16).toString('hex'));
const idWithRandom = (digits: string): string => digits.padStart(32, '1');

describe('a share of the traces', () => {
  test('a share of traces keeps all, none, or about a quarter', () => {
    const ids = traceIds(20_000);
    const kept = (ratio: number): number => {
      const sampler = new TraceSampler(ratio);
      return ids.filter((id) => sampler.keeps(id)).length;
    };
    expect(kept(1)).toBe(20_000);
    expect(kept(0)).toBe(0);
    // Six standard deviations are 367.
    expect(Math.abs(kept(0.25) - 5_000)).toBeLessThan(400);
  });

  test('a larger share keeps every trace of a smaller one', () => {
    const ids = traceIds(5_000);
    const small = new TraceSampler(0.1);
    const large = new TraceSampler(0.5);
    const inSmall = ids.filter((id) => small.keeps(id));
    expect(inSmall.length).toBeGreaterThan(0);
    expect(inSmall.every((id) => large.keeps(id))).toBe(true);
  });

  test('the decision is that of the specification: at or above the threshold', () => {
    const half = new TraceSampler(0.5);
    expect(half.keeps(idWithRandom('80000000000000'))).toBe(true);
    expect(half.keeps(idWithRandom('7fffffffffffff'))).toBe(false);
  });
});

test('spans of a trace that was already decided are not counted as another one', () => {
  const sampler = new TraceSampler(1, 10, () => 0);
  const ids = traceIds(500);
  for (const id of ids) expect(sampler.keptWith(id)).toBe(true);
  expect(sampler.ratio).toBe(1);
  for (const id of ids) sampler.keeps(id);
  expect(sampler.ratio).toBeLessThan(1);
  expect(ids.some((id) => !sampler.keptWith(id))).toBe(true);
});

describe('a number a second', () => {
  /** Offers `offers` traces in each second; returns the number of kept ones in each. */
  const offered = (
    perSecond: number,
    offers: readonly number[],
  ): { kept: number[]; sampler: TraceSampler } => {
    let now = 0;
    const sampler = new TraceSampler(1, perSecond, () => now);
    const kept = offers.map((count, second) => {
      const ids = traceIds(count);
      return ids.filter((id, at) => {
        now = second * 1_000 + (at / count) * 1_000;
        return sampler.keeps(id);
      }).length;
    });
    return { kept, sampler };
  };

  test('few calls are all kept', () => {
    expect(offered(500, [100, 400, 499, 500]).kept).toEqual([100, 400, 499, 500]);
  });

  test('of many calls, about the wanted number is kept, whatever the load [OB28]', () => {
    for (const load of [2_000, 20_000, 100_000]) {
      const { kept } = offered(500, [load, load, load]);
      // The first second begins with a share of one, and has to adapt.
      expect(kept[0]).toBeLessThan(1_000);
      for (const one of kept.slice(1)) {
        expect(one).toBeGreaterThan(180);
        expect(one).toBeLessThan(650);
      }
    }
  });

  test('all calls are kept again when the load has gone', () => {
    const { kept, sampler } = offered(500, [20_000, 20_000, 50, 50, 50]);
    expect(kept.slice(3)).toEqual([50, 50]);
    expect(sampler.ratio).toBe(1);
  });

  test('the share starts anew after a pause', () => {
    let now = 0;
    const sampler = new TraceSampler(0.5, 10, () => now);
    for (const id of traceIds(5_000)) sampler.keeps(id);
    expect(sampler.ratio).toBeLessThan(0.1);
    now = 600_000;
    sampler.keeps(traceIds(1)[0] ?? '');
    expect(sampler.ratio).toBe(0.5);
  });
});
