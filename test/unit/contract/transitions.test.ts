import { describe, expect, test } from 'vitest';
import type { AnyInvocation, InvocationRecord } from '#contract/invocations/invocation.ts';
import {
  called,
  cancelled,
  checkMove,
  delivered,
  ended,
  handedBack,
  IllegalMove,
  lost,
  MOVES,
  purged,
  queued,
  redriven,
  retried,
  taken,
} from '#contract/invocations/transitions.ts';
import { endedRecord, openRecord } from '../../support/platform/records.ts';

const NOW = 1_000_000;
const BY = { by: 'key', key: 'k1' } as const;
const terms = { maxAttempts: 3, minDelay: 0, maxDelay: 0, expiresAt: NOW + 60_000 };
const open = openRecord({ startedAt: NOW, terms });
const waiting = { ...open, dueAt: NOW + 5 };
const running = taken(waiting, 'w1', [], NOW + 10);
const failed = { startedAt: NOW + 10, worker: 'w1', outcome: 'error', endedAt: NOW + 20 } as const;
const end = { outcome: 'error', duration: 20, queue: 10 } as const;
const dead = ended(running, { ...end, dead: 'attempts_used' }, [failed]);
const sync = { ...called({ ...open, lane: 'sync' }, 'w1'), gatewayId: 'g1' };

describe('each change', () => {
  test.each<[string, AnyInvocation, AnyInvocation]>([
    ['taken', waiting, running],
    ['taken again, its worker was lost', running, taken(running, 'w2', [failed], NOW + 30)],
    ['retried', running, retried(running, [failed], NOW + 50)],
    ['handed back', running, handedBack(running)],
    ['ended', running, dead],
    ['ended before it ran', waiting, ended(waiting, { ...end, outcome: 'expired' })],
    ['cancelled', waiting, cancelled(waiting, NOW + 7, BY)],
    ['lost', sync, lost(sync, NOW + 7)],
    ['redriven', dead, redriven(dead, NOW + 100)],
    ['purged', dead, purged(dead)],
    ['delivered', dead, delivered(dead, { url: 'http://a', state: 'delivered', attempts: 1 })],
  ])('%s: is a legal move, and leaves nothing of the state before', (_, before, after) => {
    expect(() => checkMove(before, after)).not.toThrow();
    expect('worker' in after).toBe(after.state === 'running');
    expect('outcome' in after).toBe(after.state === 'done');
    if (after.state !== 'queued') expect('dueAt' in after).toBe(false);
    expect('gatewayId' in after).toBe(false);
  });

  test('every pair of MOVES is one of them', () => {
    const pairs = Object.entries(MOVES).flatMap(([from, to]) => to.map((state) => `${from} ${state}`));
    expect(pairs.toSorted()).toEqual([
      'done done',
      'done queued',
      'queued done',
      'queued running',
      'running done',
      'running queued',
      'running running',
    ]);
  });
});

test('a new invocation waits; a synchronous call runs once a worker has it', () => {
  expect(queued(open, NOW)).toMatchObject({ state: 'queued', dueAt: NOW });
  expect(called(open, undefined).state).toBe('queued');
  expect(called(open, 'w1')).toMatchObject({ state: 'running', worker: 'w1' });
});

test('the tries of an invocation: one more when it is taken, one fewer when it is handed back', () => {
  expect(running.attempts).toEqual([{ startedAt: NOW + 10, worker: 'w1' }]);
  expect(handedBack(running).attempts).toEqual([]);
  expect(retried(running, [failed], NOW + 50)).toMatchObject({ attempts: [failed], dueAt: NOW + 50 });
  expect(dead.attempts).toEqual([failed]);
});

test('the end has the status of its outcome, unless the function answered one', () => {
  expect(dead).toMatchObject({ outcome: 'error', status: 500, responseBytes: 0, dead: 'attempts_used' });
  expect(ended(running, { ...end, outcome: 'ok', status: 404 }).status).toBe(404);
  expect(cancelled(waiting, NOW + 7, BY)).toMatchObject({
    outcome: 'cancelled',
    cancelledBy: BY,
    status: 499,
    duration: 7,
    queue: 7,
  });
  expect(lost(sync, NOW + 7)).toMatchObject({ outcome: 'platform_error', duration: 7 });
});

test('a redriven dead letter has its tries and its time anew, however often', () => {
  const callback = { url: 'http://a', state: 'delivered', attempts: 2 } as const;
  const once = redriven({ ...dead, callback }, NOW + 100_000);
  expect(once).toMatchObject({
    redriven: 1,
    terms: { maxAttempts: 3, triedBefore: 1, lasts: 60_000, expiresAt: NOW + 160_000 },
    callback: { url: 'http://a', state: 'pending', attempts: 0 },
  });
  for (const key of ['outcome', 'status', 'dead', 'message', 'report', 'duration'])
    expect(once).not.toHaveProperty(key);
  const again = ended(once, { ...end, dead: 'poison' }, [failed, failed]);
  expect(redriven(again, NOW + 500_000)).toMatchObject({
    redriven: 2,
    terms: { triedBefore: 2, lasts: 60_000, expiresAt: NOW + 560_000 },
  });
});

test('a cancelled end says who cancelled it, and no other end does', () => {
  const report = { outcome: 'cancelled', cancelledBy: BY } as InvocationRecord['report'];
  expect(ended(running, { ...end, outcome: 'cancelled', report }).cancelledBy).toEqual(BY);
  expect(ended(running, { ...end, cancelledBy: BY })).not.toHaveProperty('cancelledBy');
});

const done: InvocationRecord = endedRecord(open);
test.each<[string, AnyInvocation, AnyInvocation, RegExp]>([
  ['waits, and goes on waiting', waiting, open, /from queued to queued/],
  ['ended well, and would run', done, running, /from done to running/],
  ['ended well, and would be queued', done, { ...open, redriven: 1 }, /no dead letter/],
  ['ended, and would end otherwise', done, { ...done, outcome: 'error' }, /outcome/],
  ['is cancelled by no one', waiting, endedRecord(open, { outcome: 'cancelled' }), /who cancelled/],
  ['failed, and would be cancelled too', running, { ...dead, cancelledBy: BY }, /who cancelled/],
  ['is another one', running, { ...dead, id: 'other' }, /become other/],
])('an invocation that %s: the move is refused', (_, before, after, why) => {
  expect(() => checkMove(before, after)).toThrow(IllegalMove);
  expect(() => checkMove(before, after)).toThrow(why);
});
