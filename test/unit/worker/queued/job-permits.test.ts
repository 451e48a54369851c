/** Permits of the queued lane: which namespace gets the next one. The test sets the time. */
import { describe, expect, test } from 'vitest';
import { JobPermits, type JobPermit } from '../../../../worker/queued/job-permits.ts';

/**
 * Plays namespaces that always have work, each of whose runs takes `takes` ms. Resolves to the number of runs of each.
 */
async function play(
  tenants: Record<string, { weight?: number; takes: number }>,
  { shared, first = 0, until }: { shared: number; first?: number; until: number },
): Promise<Record<string, number>> {
  let now = 0;
  const slots = new JobPermits({ shared, first, now: () => now });
  const running: { slot: JobPermit; ends: number }[] = [];
  const runs: Record<string, number> = {};
  const want = (namespace: string): void => {
    void slots.enter(namespace).then((slot) => {
      if (!slot) return;
      runs[namespace] = (runs[namespace] ?? 0) + 1;
      running.push({ slot, ends: now + (tenants[namespace]?.takes ?? 1) });
      want(namespace);
    });
  };
  for (const [namespace, { weight = 1 }] of Object.entries(tenants)) slots.setWeight(namespace, weight);
  for (const namespace of Object.keys(tenants)) want(namespace);
  while (now < until) {
    for (let turn = 0; turn < 50; turn++) await Promise.resolve();
    running.sort((a, b) => a.ends - b.ends);
    const next = running.shift();
    if (!next) break;
    now = next.ends;
    slots.leave(next.slot);
  }
  slots.close();
  return runs;
}

describe('shares', () => {
  test.each([1, 2, 4, 7])(
    'namespaces with weights 3 and 1 get their shares of %i permits',
    async (shared) => {
      const { heavy = 0, light = 0 } = await play(
        { heavy: { weight: 3, takes: 10 }, light: { takes: 10 } },
        { shared, until: 4_000 },
      );
      expect(heavy / light).toBeGreaterThan(2.7);
      expect(heavy / light).toBeLessThan(3.3);
    },
  );

  test('shares are of time: a namespace with long runs has fewer of them', async () => {
    const { long = 0, short = 0 } = await play(
      { long: { takes: 100 }, short: { takes: 10 } },
      { shared: 4, until: 10_000 },
    );
    expect(short / long).toBeGreaterThan(8);
    expect(short / long).toBeLessThan(12);
  });

  test('a namespace alone gets every permit', async () => {
    const { alone = 0 } = await play({ alone: { takes: 10 } }, { shared: 4, until: 1_000 });
    expect(alone).toBeGreaterThanOrEqual(400);
  });
});

describe('one slot after the other', () => {
  test('the last permits are for namespaces that have none', () => {
    const slots = new JobPermits({ shared: 2, first: 1 });
    expect([slots.tryEnter('a'), slots.tryEnter('a')]).not.toContain(undefined);
    expect(slots.tryEnter('a')).toBeUndefined();
    expect(slots.tryEnter('b')).toBeDefined();
    expect(slots.tryEnter('c')).toBeUndefined();
  });

  test('a namespace without work saves up nothing', async () => {
    let now = 0;
    const slots = new JobPermits({ shared: 1, first: 0, now: () => now });
    const turns: string[] = [];
    let held = await slots.enter('busy');
    now = 10_000; // the other one has used nothing meanwhile
    for (const namespace of ['late', 'busy', 'late', 'busy', 'late', 'busy'])
      void slots.enter(namespace).then((slot) => {
        turns.push(namespace);
        held = slot;
      });
    for (let turn = 0; turn < 4; turn++) {
      if (held) slots.leave(held);
      await Promise.resolve();
      now += 10;
    }
    expect(turns.toSorted()).toEqual(['busy', 'busy', 'late', 'late']);
  });

  test('a paused namespace is left out until its pause ends, by itself or by another call', async () => {
    const slots = new JobPermits({ shared: 1, first: 0 });
    slots.pause('a', 30);
    expect(slots.tryEnter('a')).toBeUndefined();
    const slot = await slots.enter('a');
    expect(slot).toBeDefined();
    if (slot) slots.leave(slot);
    slots.pause('a', 60_000);
    const waiting = slots.enter('a');
    slots.pause('a', 0);
    expect(await waiting).toBeDefined();
  });

  test('a permit is exchanged for the next one, unless it is another’s turn', async () => {
    let now = 0;
    const slots = new JobPermits({ shared: 1, first: 0, now: () => now });
    let held = slots.tryEnter('a');
    for (let run = 0; run < 3; run++) {
      now += 10;
      held = held && slots.exchange(held);
      expect(held).toBeDefined();
    }
    const waiting = slots.enter('b');
    for (let run = 0; held && run < 10; run++) {
      now += 10;
      held = slots.exchange(held);
    }
    expect(held).toBeUndefined();
    expect((await waiting)?.namespace).toBe('b');
  });

  test('a namespace that fetches a job just now and has a turn is waited for, but not for long', async () => {
    let now = 0;
    const slots = new JobPermits({ shared: 2, first: 0, now: () => now });
    slots.setWeight('heavy', 100);
    const [first, second] = [slots.tryEnter('heavy'), slots.tryEnter('light')] as [JobPermit, JobPermit];
    now = 50;
    slots.leave(second);
    slots.leave(first);
    // Both were here a moment ago, and the light namespace has paid a hundred times as much.
    expect(slots.tryEnter('light')).toBeUndefined();
    expect(slots.tryEnter('heavy')).toBeDefined();
    now = 80;
    expect(slots.tryEnter('light')).toBeDefined();
  });

  test('a withdrawn wait ends without a permit, and other waits go on', async () => {
    const slots = new JobPermits({ shared: 1, first: 0 });
    const held = slots.tryEnter('a') as JobPermit;
    const [mine, other] = [slots.enter('a'), slots.enter('b')];
    slots.withdraw('a');
    expect(await mine).toBeUndefined();
    slots.leave(held);
    expect((await other)?.namespace).toBe('b');
  });

  test('all waits end without a permit when the permits are closed', async () => {
    const slots = new JobPermits({ shared: 1, first: 0 });
    slots.tryEnter('a');
    const waiting = slots.enter('a');
    slots.close();
    expect(await waiting).toBeUndefined();
    expect(await slots.enter('b')).toBeUndefined();
  });
});
