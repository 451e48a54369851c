import { describe, expect, test } from 'vitest';
import { IdleBudget, IdleMeter, MAX_ENDS, OutsideTime } from '../../../../worker/cgroup/idle-cpu.ts';

describe('the meter', () => {
  test('the meter counts the time between invocations, and nothing else', () => {
    const meter = new IdleMeter();
    meter.saw(40, 0);
    meter.rests(() => 45, 10);
    meter.saw(60, 1_000);
    expect(meter.ms).toBe(20);
    // The beginning of an invocation is measured while the sandbox is still idle.
    meter.saw(61, 1_500);
    meter.begins();
    meter.saw(500, 2_000);
    expect(meter.ms).toBe(21);
    meter.rests(() => 999, 2_010);
    meter.saw(502, 3_000);
    expect(meter.ms).toBe(23);
  });

  test('the meter leaves work after the answer to its invocation', () => {
    const meter = new IdleMeter();
    meter.saw(10, 0);
    meter.rests(() => 700, 900);
    meter.saw(701, 1_000);
    expect(meter.ms).toBe(1);
  });
});

describe('the budget', () => {
  /** Seconds until a sandbox with this use of a processor is ended; undefined when it lives for an hour. */
  function endsAfter(used: (second: number) => number, share = 0.25): number | undefined {
    const budget = new IdleBudget(share, 0);
    for (let second = 1; second <= 3_600; second++)
      if (!budget.spend(used(second) * 1_000, second * 1_000)) return second;
    return undefined;
  }

  test('the budget ends a sandbox that spins in about ten seconds, one on several processors in less', () => {
    expect(endsAfter(() => 1)).toBe(11);
    expect(endsAfter(() => 2)).toBe(5);
    expect(endsAfter(() => 0.3)).toBeGreaterThan(60);
  });

  test('the budget leaves sandboxes alone that stay below it on average, with bursts of seconds', () => {
    expect(endsAfter(() => 0.2)).toBeUndefined();
    expect(endsAfter((second) => (second < 7 ? 1 : 0))).toBeUndefined();
    expect(endsAfter((second) => (second % 60 < 5 ? 1 : 0.02))).toBeUndefined();
  });

  test('the budget is a share of the processors that the function may use', () => {
    expect(endsAfter(() => 0.2, 0.25 * 0.5)).toBeDefined();
    expect(endsAfter(() => 1, 0.25 * 4)).toBeUndefined();
    expect(endsAfter(() => 1, 1)).toBeUndefined();
  });
});

test('after each end sandboxes are loaded ahead later, and then not any more', () => {
  const outside = new OutsideTime();
  expect(outside.mayLoadAhead(0)).toBe(true);
  const waits: (number | undefined)[] = [];
  for (let end = 0, now = 0; end < MAX_ENDS; end++) {
    outside.overspent(now);
    expect(outside.mayLoadAhead(now)).toBe(false);
    const wait = [60_000, 120_000, 1e9].find((ms) => outside.mayLoadAhead(now + ms));
    waits.push(wait);
    now += wait ?? 0;
  }
  expect(waits).toEqual([60_000, 120_000, undefined]);
  expect(outside.consequence).toContain('any more');
});
