/** The choice of the lane from which a worker takes; a lane is represented by its number of calls. */
import { describe, expect, test } from 'vitest';
import { LaneOrder } from '../../../../worker/lanes/lane-order.ts';

/** Plays `rounds` BLMPOP commands over these lists; each call that is taken frees its room at once. */
function serve(
  order: LaneOrder,
  lanes: Record<string, number>,
  rounds: number,
  room = 4,
): Record<string, number> {
  const taken: Record<string, number> = {};
  for (let round = 0; round < rounds; round++) {
    const list = order.keys().find((key) => (lanes[key] ?? 0) > 0);
    if (list === undefined) break;
    const frames = Math.min(order.count(room), lanes[list] ?? 0);
    lanes[list] = (lanes[list] ?? 0) - frames;
    taken[list] = (taken[list] ?? 0) + frames;
    order.taken(list, frames);
  }
  return taken;
}

function orderOf(weights: Record<string, number>): LaneOrder {
  const order = new LaneOrder(() => 0);
  order.follow(Object.keys(weights), (list) => weights[list] ?? 1);
  return order;
}

describe('lanes that all have work', () => {
  test.each([
    { a: 3, b: 1 },
    { a: 1, b: 1 },
    { a: 5, b: 2, c: 1 },
  ])('lanes that all have work are served by weight: %o', (weights: Record<string, number>) => {
    const lanes = Object.fromEntries(Object.keys(weights).map((list) => [list, 100_000]));
    const taken = serve(orderOf(weights), lanes, 4_000);
    const unit = taken[Object.keys(weights).at(-1) ?? ''] ?? 0;
    for (const [list, weight] of Object.entries(weights)) {
      expect((taken[list] ?? 0) / unit).toBeGreaterThan(weight * 0.95);
      expect((taken[list] ?? 0) / unit).toBeLessThan(weight * 1.05);
    }
  });

  test('every lane with work is served before any exceeds its share by much, however light it is', () => {
    const order = orderOf({ a: 1_000, b: 1 });
    const taken = serve(order, { a: 1_000_000, b: 10 }, 2_500, 1);
    expect(taken['b']).toBeGreaterThanOrEqual(2);
  });
});

test('a lane without work saves up no turns [SH2]', () => {
  const order = orderOf({ busy: 1, quiet: 1 });
  serve(order, { busy: 10_000 }, 1_000, 1);
  const taken = serve(order, { busy: 10_000, quiet: 10_000 }, 100, 1);
  expect(taken).toEqual({ busy: 50, quiet: 50 });
});

test('a lane alone gets all the room, two lanes get half of it at a time [SH2]', () => {
  const order = orderOf({ a: 1, b: 1 });
  expect(order.count(64)).toBe(64);
  order.taken('a', 1);
  expect(order.count(64)).toBe(64);
  order.taken('b', 1);
  expect(order.count(64)).toBe(32);
  expect([order.count(1), order.count(0)]).toEqual([1, 0]);
});

test('lists that come and go leave the turns of the others unchanged', () => {
  const order = orderOf({ a: 1, b: 1 });
  order.taken('a', 5);
  expect(order.keys()).toEqual(['b', 'a']);
  expect(order.follow(['a', 'b', 'c'], () => 1)).toBe(true);
  expect(order.keys().at(-1)).toBe('a');
  expect(order.follow(['a', 'b', 'c'], () => 2)).toBe(false);
  expect(order.follow(['b', 'c'], () => 1)).toBe(true);
  expect(order.keys()).not.toContain('a');
});
