import { expect, test, vi } from 'vitest';
import { clockOrigin } from '#contract/wire/host-clock.ts';

test('the time of a host is exact, and follows its clock when that is set', () => {
  expect(clockOrigin()).toBe(performance.timeOrigin);
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 3_600_000 });
  try {
    expect(clockOrigin() + performance.now()).toBeCloseTo(Date.now(), -2);
  } finally {
    vi.useRealTimers();
  }
});
