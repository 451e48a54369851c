/** Slots of the queued lane: who is given the next one. Time is the test's own. */
import { describe, expect, test } from 'vitest';
import { JobPermits, type JobPermit } from '../../../../worker/queued/job-permits.ts';

/** Namespaces that always have work; each of its runs takes so long. Resolves to how many runs each has had. */
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
  test.each([1, 2, 4, 7])('of weights 3 and 1, on %i slots', async (shared) => {
    const { heavy = 0, light = 0 } = await play(
      { heavy: { weight: 3, takes: 10 }, light: { takes: 10 } },
      { shared, until: 4_000 },
    );
    expect(heavy / light).toBeGreaterThan(2.7);
    expect(heavy / light).toBeLessThan(3.3);
  });

  test('are of time: one with long runs has fewer of them', async () => {
    const { long = 0, short = 0 } = await play(
      { long: { takes: 100 }, short: { takes: 10 } },
      { shared: 4, until: 10_000 },
    );
    expect(short / long).toBeGreaterThan(8);
    expect(short / long).toBeLessThan(12);
  });

  test('are everything for one that is alone', async () => {
    const { alone = 0 } = await play({ alone: { takes: 10 } }, { shared: 4, until: 1_000 });
    expect(alone).toBeGreaterThanOrEqual(400);
  });
});

describe('one slot after the other', () => {
  test('the last ones are for namespaces that have none', () => {
    const slots = new JobPermits({ shared: 2, first: 1 });
    expect([slots.tryEnter('a'), slots.tryEnter('a')]).not.toContain(undefined);
    expect(slots.tryEnter('a')).toBeUndefined();
    expect(slots.tryEnter('b')).toBeDefined();
    expect(slots.tryEnter('c')).toBeUndefined();
  });

  test('one that had no work has saved nothing up', async () => {
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

  test('one that is paused is left out until its pause ends, by itself or by word', async () => {
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

  test('a slot is exchanged for a next one, unless it is the turn of another', async () => {
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

  test('one that is owed a slot and fetches a job just now is waited for, but not for long', async () => {
    let now = 0;
    const slots = new JobPermits({ shared: 2, first: 0, now: () => now });
    slots.setWeight('heavy', 100);
    const [first, second] = [slots.tryEnter('heavy'), slots.tryEnter('light')] as [JobPermit, JobPermit];
    now = 50;
    slots.leave(second);
    slots.leave(first);
    // Both were here a moment ago, and the light one has paid a hundred times as much.
    expect(slots.tryEnter('light')).toBeUndefined();
    expect(slots.tryEnter('heavy')).toBeDefined();
    now = 80;
    expect(slots.tryEnter('light')).toBeDefined();
  });

  test('who need not wait any more is told so, and others are not', async () => {
    const slots = new JobPermits({ shared: 1, first: 0 });
    const held = slots.tryEnter('a') as JobPermit;
    const [mine, other] = [slots.enter('a'), slots.enter('b')];
    slots.withdraw('a');
    expect(await mine).toBeUndefined();
    slots.leave(held);
    expect((await other)?.namespace).toBe('b');
  });

  test('those that wait are told when there will be none any more', async () => {
    const slots = new JobPermits({ shared: 1, first: 0 });
    slots.tryEnter('a');
    const waiting = slots.enter('a');
    slots.close();
    expect(await waiting).toBeUndefined();
    expect(await slots.enter('b')).toBeUndefined();
  });
});
