import { describe, expect, test } from 'vitest';
import { Burst, isCrash, wornBy } from '../../../../worker/pool/zygote-wear.ts';

describe('wornBy', () => {
  const limits = { forks: 10, ageMs: 1_000, crashes: 3, crashWindowMs: 100, minAgeMs: 50 };
  const fresh = { forks: 0, ageMs: 60, crashes: 0 };
  test('a zygote is worn by a number of forks, or an age', () => {
    expect(wornBy({ ...fresh, forks: 9, ageMs: 999 }, limits)).toBeUndefined();
    expect(wornBy({ ...fresh, forks: 10 }, limits)).toBe('forks');
    expect(wornBy({ ...fresh, ageMs: 1_000 }, limits)).toBe('age');
  });
  test('a zygote is worn by a burst of crashes, but no sooner than its warming has paid off', () => {
    expect(wornBy({ ...fresh, crashes: 2 }, limits)).toBeUndefined();
    expect(wornBy({ ...fresh, crashes: 3 }, limits)).toBe('crashes');
    expect(wornBy({ ...fresh, crashes: 3, ageMs: 49 }, limits)).toBeUndefined();
  });
});

describe('a burst', () => {
  test('a burst counts the crashes within the window', () => {
    const burst = new Burst(3);
    for (const time of [0, 40, 80]) burst.add(time);
    expect(burst.within(100, 90)).toBe(3);
    expect(burst.within(100, 120)).toBe(2);
    expect(burst.within(100, 500)).toBe(0);
  });
  test('a burst keeps no more crashes than can matter, however many there are', () => {
    const burst = new Burst(3);
    for (let time = 0; time < 1_000; time++) burst.add(time);
    expect(burst.within(Number.POSITIVE_INFINITY, 1_000)).toBe(3);
  });
});

test('a crash is a signal that is not sent on purpose', () => {
  expect(['SIGSEGV', 'SIGABRT', 'SIGBUS', 'SIGILL', 'SIGSYS'].every((signal) => isCrash({ signal }))).toBe(
    true,
  );
  expect(isCrash({ signal: 'SIGKILL' })).toBe(false);
  expect(isCrash({ signal: 'SIGTERM' })).toBe(false);
  expect(isCrash({ signal: undefined })).toBe(false);
});
