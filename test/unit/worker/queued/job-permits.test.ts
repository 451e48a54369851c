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
  const permits = new JobPermits({ shared, first, now: () => now });
  const running: { permit: JobPermit; ends: number }[] = [];
  const runs: Record<string, number> = {};
  const want = (namespace: string): void => {
    void permits.enter(namespace).then((permit) => {
      if (!permit) return;
      runs[namespace] = (runs[namespace] ?? 0) + 1;
      running.push({ permit, ends: now + (tenants[namespace]?.takes ?? 1) });
      want(namespace);
    });
  };
  for (const [namespace, { weight = 1 }] of Object.entries(tenants)) permits.setWeight(namespace, weight);
  for (const namespace of Object.keys(tenants)) want(namespace);
  while (now < until) {
    for (let turn = 0; turn < 50; turn++) await Promise.resolve();
    running.sort((a, b) => a.ends - b.ends);
    const next = running.shift();
    if (!next) break;
    now = next.ends;
    permits.leave(next.permit);
  }
  permits.close();
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

describe('one permit after the other', () => {
  test('the last permits are for namespaces that have none', () => {
    const permits = new JobPermits({ shared: 2, first: 1 });
    expect([permits.tryEnter('a'), permits.tryEnter('a')]).not.toContain(undefined);
    expect(permits.tryEnter('a')).toBeUndefined();
    expect(permits.tryEnter('b')).toBeDefined();
    expect(permits.tryEnter('c')).toBeUndefined();
  });

  test('a namespace without work saves up nothing', async () => {
    let now = 0;
    const permits = new JobPermits({ shared: 1, first: 0, now: () => now });
    const turns: string[] = [];
    let held = await permits.enter('busy');
    now = 10_000; // the other one has used nothing meanwhile
    for (const namespace of ['late', 'busy', 'late', 'busy', 'late', 'busy'])
      void permits.enter(namespace).then((permit) => {
        turns.push(namespace);
        held = permit;
      });
    for (let turn = 0; turn < 4; turn++) {
      if (held) permits.leave(held);
      await Promise.resolve();
      now += 10;
    }
    expect(turns.toSorted()).toEqual(['busy', 'busy', 'late', 'late']);
  });

  test('a paused namespace is left out until its pause ends, by itself or by another call', async () => {
    const permits = new JobPermits({ shared: 1, first: 0 });
    permits.pause('a', 30);
    expect(permits.tryEnter('a')).toBeUndefined();
    const permit = await permits.enter('a');
    expect(permit).toBeDefined();
    if (permit) permits.leave(permit);
    permits.pause('a', 60_000);
    const waiting = permits.enter('a');
    permits.pause('a', 0);
    expect(await waiting).toBeDefined();
  });

  test('a permit is exchanged for the next one, unless it is another’s turn', async () => {
    let now = 0;
    const permits = new JobPermits({ shared: 1, first: 0, now: () => now });
    let held = permits.tryEnter('a');
    for (let run = 0; run < 3; run++) {
      now += 10;
      held = held && permits.exchange(held);
      expect(held).toBeDefined();
    }
    const waiting = permits.enter('b');
    for (let run = 0; held && run < 10; run++) {
      now += 10;
      held = permits.exchange(held);
    }
    expect(held).toBeUndefined();
    expect((await waiting)?.namespace).toBe('b');
  });

  test('a namespace that fetches a job just now and has a turn is waited for, but not for long', async () => {
    let now = 0;
    const permits = new JobPermits({ shared: 2, first: 0, now: () => now });
    permits.setWeight('heavy', 100);
    const [first, second] = [permits.tryEnter('heavy'), permits.tryEnter('light')] as [JobPermit, JobPermit];
    now = 50;
    permits.leave(second);
    permits.leave(first);
    // Both were here a moment ago, and the light namespace has paid a hundred times as much.
    expect(permits.tryEnter('light')).toBeUndefined();
    expect(permits.tryEnter('heavy')).toBeDefined();
    now = 80;
    expect(permits.tryEnter('light')).toBeDefined();
  });

  test('a withdrawn wait ends without a permit, and other waits go on', async () => {
    const permits = new JobPermits({ shared: 1, first: 0 });
    const held = permits.tryEnter('a') as JobPermit;
    const [mine, other] = [permits.enter('a'), permits.enter('b')];
    permits.withdraw('a');
    expect(await mine).toBeUndefined();
    permits.leave(held);
    expect((await other)?.namespace).toBe('b');
  });

  test('all waits end without a permit when the permits are closed', async () => {
    const permits = new JobPermits({ shared: 1, first: 0 });
    permits.tryEnter('a');
    const waiting = permits.enter('a');
    permits.close();
    expect(await waiting).toBeUndefined();
    expect(await permits.enter('b')).toBeUndefined();
  });
});
