/** The pace at which work ends, and Retry-After from it. */
import { describe, expect, test } from 'vitest';
import { drainSeconds, Pace, retrySeconds } from '#contract/platform/pace.ts';

describe('pace', () => {
  test('the pace is a mean of the last ten seconds', () => {
    let now = 0;
    const pace = new Pace(() => now);
    for (; now < 30_000; now += 100) pace.add();
    expect(pace.perSecond()).toBeCloseTo(10, 0);
    for (; now < 45_000; now += 1_000) pace.add();
    expect(pace.perSecond()).toBeCloseTo(1, 0);
    now += 11_000;
    expect(pace.perSecond()).toBe(0);
  });

  test('the pace of a shorter time is a mean of that, and below a second it is never too high', () => {
    let now = 5_500;
    const pace = new Pace(() => now);
    pace.add(4);
    expect(pace.perSecond()).toBe(4);
    now += 2_000;
    expect(pace.perSecond()).toBe(2);
  });

  test('the pace copes with a long silence', () => {
    let now = 0;
    const pace = new Pace(() => now);
    pace.add(100);
    now = 1_000_000_000;
    pace.add();
    expect(pace.perSecond()).toBeLessThan(1);
  });
});

describe('Retry-After', () => {
  test.each([
    [100, 50, 2],
    [100, 33, 4],
    [1, 1_000, 1],
    [1_000_000, 1, 300],
    [0, 5, 1],
  ])(
    'Retry-After for %i waiting, of which %i end a second, is %i s [SH7]',
    (waiting, endedPerSecond, seconds) => {
      expect(drainSeconds({ waiting, endedPerSecond })).toBe(seconds);
    },
  );

  test('Retry-After where nothing has ended lately is a guess, neither at once nor for ever', () => {
    expect(drainSeconds({ waiting: 5, endedPerSecond: 0 })).toBe(10);
  });

  test('Retry-After is rounded up, so that no caller comes too early', () => {
    expect([retrySeconds(0.2), retrySeconds(1.01), retrySeconds(1_000)]).toEqual([1, 2, 300]);
  });
});
