/** Decisions after an attempt of the queued lane. */
import { describe, expect, test } from 'vitest';
import { Outcome, type Attempt, type QueuedTerms } from '#contract/invocations/invocation.ts';
import { afterAttempt, hasFailed, isRefused, readRetryAfter } from '#contract/invocations/retry.ts';

const NOW = 1_700_000_000_000;
const TERMS: QueuedTerms = { maxAttempts: 4, minDelay: 1_000, maxDelay: 5_000, expiresAt: NOW + 3_600_000 };

function tries(...outcomes: [Outcome, number?][]): Attempt[] {
  return outcomes.map(([outcome, status]) => ({
    startedAt: NOW,
    worker: 'w',
    outcome,
    ...(status !== undefined && { status }),
  }));
}

describe('after a try', () => {
  test.each([
    ['an answer', tries(['ok', 200])],
    ['an answer that blames the caller', tries(['ok', 404])],
    ['a cancel', tries(['cancelled'])],
    ['the removal of its function', tries(['error'], ['function_removed'])],
    ['a success after failures', tries(['error'], ['timeout'], ['ok', 204])],
  ])('%s ends the invocation', (_, attempts) => {
    expect(afterAttempt(attempts, TERMS, NOW)).toEqual({ next: 'done' });
  });

  test.each([1, 2, 3])(
    'the wait before try %i + 1 is drawn from 0 to a bound that doubles up to its limit',
    (count) => {
      const attempts = tries(...Array.from({ length: count }, (): [Outcome] => ['error']));
      const bound = Math.min(5_000, 1_000 * 2 ** (count - 1));
      expect(afterAttempt(attempts, TERMS, NOW, { random: 0 })).toEqual({ next: 'retry', at: NOW });
      expect(afterAttempt(attempts, TERMS, NOW, { random: 0.5 })).toEqual({
        next: 'retry',
        at: NOW + bound / 2,
      });
    },
  );

  test('a function may ask for a longer wait, up to a day', () => {
    const attempts = tries(['ok', 503]);
    const ask = (retryAfterMs: number, expiresAt = Infinity): unknown =>
      afterAttempt(attempts, { ...TERMS, expiresAt }, NOW, { retryAfterMs, random: 0.1 });
    expect(ask(30_000)).toEqual({ next: 'retry', at: NOW + 30_000 });
    expect(ask(1e12)).toEqual({ next: 'retry', at: NOW + 86_400_000 });
    expect(ask(30_000, NOW + 20_000)).toEqual({ next: 'dead', reason: 'expired' });
  });

  test('an invocation is dead when its attempts are used up, when another would fail too, or when it kills', () => {
    expect(afterAttempt(tries(['error'], ['error'], ['error'], ['error']), TERMS, NOW)).toEqual({
      next: 'dead',
      reason: 'attempts_used',
    });
    expect(afterAttempt(tries(['load_error']), TERMS, NOW)).toEqual({ next: 'dead', reason: 'not_retried' });
    expect(afterAttempt(tries(['expired']), TERMS, NOW)).toEqual({ next: 'dead', reason: 'expired' });
    expect(afterAttempt(tries(['worker_lost'], ['crashed'], ['out_of_memory']), TERMS, NOW)).toEqual({
      next: 'dead',
      reason: 'poison',
    });
    expect(afterAttempt(tries(['worker_lost'], ['error'], ['out_of_memory']), TERMS, NOW)).toMatchObject({
      next: 'retry',
    });
  });

  test('attempts before a redrive count no more', () => {
    const before = tries(['worker_lost'], ['crashed'], ['out_of_memory']);
    const terms = { ...TERMS, triedBefore: 3 };
    const next = (...since: [Outcome, number?][]): unknown =>
      afterAttempt([...before, ...tries(...since)], terms, NOW, { random: 1 });
    expect(next(['error'])).toEqual({ next: 'retry', at: NOW + 1_000 });
    expect(next(['error'], ['crashed'], ['error'])).toEqual({ next: 'retry', at: NOW + 4_000 });
    expect(next(['error'], ['error'], ['error'], ['error'])).toEqual({
      next: 'dead',
      reason: 'attempts_used',
    });
    expect(next(['crashed'], ['exited'], ['worker_lost'])).toEqual({ next: 'dead', reason: 'poison' });
  });

  test('a try that another invocation ended is not counted, comes at once and is no poison, five times [CA36]', () => {
    const others = (count: number): [Outcome][] => Array.from({ length: count }, () => ['ended_by_another']);
    const next = (...since: [Outcome, number?][]): unknown =>
      afterAttempt(tries(...since), TERMS, NOW, { random: 1 });
    const atOnce = { next: 'retry', at: NOW };
    expect(next(...others(5))).toEqual(atOnce);
    expect(next(...others(3), ['error'])).toEqual({ next: 'retry', at: NOW + 1_000 });
    expect(next(...others(4), ['crashed'], ['exited'], ['ended_by_another'])).toEqual(atOnce);
    // Four tries are allowed, and the sixth is the first one that counts.
    expect(next(...others(8))).toEqual(atOnce);
    expect(next(...others(9))).toEqual({ next: 'dead', reason: 'attempts_used' });
  });

  test('every outcome leads to an end, a retry or a dead letter', () => {
    for (const outcome of Outcome.options) {
      const { next } = afterAttempt(tries([outcome]), TERMS, NOW);
      expect([outcome, next === 'done']).toEqual([outcome, !hasFailed({ outcome })]);
    }
  });
});

test.each([
  ['120', 120_000],
  [new Date(NOW + 5_000).toUTCString(), 5_000],
  [new Date(NOW - 5_000).toUTCString(), 0],
  ['soon', undefined],
  ['-1', undefined],
  [undefined, undefined],
])('Retry-After is read: %s', (value, expected) => {
  const read = readRetryAfter(value, NOW);
  if (expected === undefined || expected === 0) expect(read ?? 0).toBe(0);
  else expect(read).toBe(expected);
});

test.each([
  [200, false],
  [302, false],
  [400, true],
  [404, true],
  [408, false],
  [425, true],
  [429, false],
  [500, false],
])(
  'work without a client is refused by 4xx, and not by a status that asks for another try: %i',
  (status, refused) => {
    expect(isRefused({ outcome: 'ok', status })).toBe(refused);
    expect(isRefused({ outcome: 'error', status })).toBe(false);
  },
);

test('a call that has no handler is not tried again', () => {
  expect(afterAttempt(tries(['no_handler', 501]), TERMS, NOW)).toEqual({
    next: 'dead',
    reason: 'not_retried',
  });
});
