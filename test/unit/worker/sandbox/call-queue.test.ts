import { expect, test } from 'vitest';
import { CallQueue, type Turn } from '../../../../worker/sandbox/call-queue.ts';

/** Plays the sandbox's side of the count as well. */
class Count {
  count = 0;
  post(): void {
    this.count++;
  }
  takeBack(max: number): number {
    const taken = Math.min(max, this.count);
    this.count -= taken;
    return taken;
  }
  /** The step of a sandbox before it starts an invocation that was handed ahead. */
  take(): boolean {
    return this.takeBack(1) === 1;
  }
}

function setUp() {
  let now = 0;
  const tokens = new Count();
  const turns = new CallQueue(tokens, () => now);
  const events: string[] = [];
  const turn = (handle: number): Turn => ({
    handle,
    begin: () => events.push(`begin ${handle}`),
    withdrawn: () => events.push(`withdrawn ${handle}`),
  });
  return { tokens, turns, events, turn, pass: (ms: number) => (now += ms) };
}

test('the first call begins at once, the others one after the other', () => {
  const { turns, events, turn, tokens } = setUp();
  expect([1, 2, 3].map((handle) => turns.add(turn(handle)))).toEqual([false, true, true]);
  expect(events).toEqual(['begin 1']);
  expect([turns.ahead, tokens.count]).toEqual([2, 2]);
  turns.done(1);
  turns.done(2);
  expect(events).toEqual(['begin 1', 'begin 2', 'begin 3']);
  expect(turns.ahead).toBe(0);
});

test('a call that settles twice, or out of turn, begins nothing', () => {
  const { turns, events, turn } = setUp();
  for (const handle of [1, 2, 3]) turns.add(turn(handle));
  turns.done(1);
  turns.done(1);
  turns.done(3);
  expect(events).toEqual(['begin 1', 'begin 2']);
});

test('calls behind a slow one are taken back, and none is handed ahead until the sandbox has dropped them', () => {
  const { turns, events, turn, pass } = setUp();
  for (const handle of [1, 2, 3]) turns.add(turn(handle));
  turns.withdrawStuck(8);
  expect(events).toEqual(['begin 1']);
  pass(8);
  turns.withdrawStuck(8);
  expect(events).toEqual(['begin 1', 'withdrawn 2', 'withdrawn 3']);
  expect([turns.ahead, turns.open]).toEqual([0, false]);
  turns.done(1);
  expect(turns.open).toBe(false);
  expect(turns.add(turn(4))).toBe(false);
  expect(turns.open).toBe(false);
  turns.done(4);
  expect(turns.open).toBe(true);
});

test('a call that the sandbox has started is not taken back', () => {
  const { turns, events, turn, tokens } = setUp();
  for (const handle of [1, 2, 3]) turns.add(turn(handle));
  expect(tokens.take()).toBe(true); // 2 has started; the report that 1 has settled is still on its way
  turns.withdraw();
  expect(events).toEqual(['begin 1', 'withdrawn 3']);
  expect(tokens.take()).toBe(false);
  turns.done(1);
  expect(events.at(-1)).toBe('begin 2');
});

test('at the end of a sandbox its started calls have begun, and the rest are taken back', () => {
  const { turns, events, turn, tokens } = setUp();
  for (const handle of [1, 2, 3]) turns.add(turn(handle));
  tokens.take();
  turns.end();
  expect(events).toEqual(['begin 1', 'withdrawn 3', 'begin 2']);
  expect(turns.ahead).toBe(0);
});

test('a sandbox that inflates its count of turns loses no more than its own calls', () => {
  const { turns, events, turn, tokens } = setUp();
  for (const handle of [1, 2]) turns.add(turn(handle));
  tokens.count = 1_000_000;
  turns.withdraw();
  expect(events).toEqual(['begin 1', 'withdrawn 2']);
});
