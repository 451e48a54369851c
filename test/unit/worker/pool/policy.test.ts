import { describe, expect, test } from 'vitest';
import {
  aheadDepth,
  chooseEvictions,
  explainCold,
  MAX_AHEAD,
  MAX_LINE_MS,
  MAX_STARTING,
  mayRun,
  memoryExcess,
  memoryIsShort,
  preparedWanted,
  shouldStart,
  spareWanted,
  START_COST_MS,
} from '../../../../worker/pool/policy.ts';

const fresh = {
  waiting: 0,
  starting: 0,
  members: 0,
  active: 0,
  holdMs: undefined,
  ahead: 0,
  oldestWaitMs: 0,
  sinceReleaseMs: 0,
};
const roomy = { total: 0, ceiling: 100, idle: 0, prepared: 0 };

describe('shouldStart', () => {
  test('shouldStart starts a sandbox for a call that waits', () => {
    expect(shouldStart({ ...fresh, waiting: 1, starting: 0 }, roomy)).toBe(true);
  });
  test('shouldStart starts no more sandboxes than calls wait', () => {
    expect(shouldStart({ ...fresh, waiting: 1, starting: 1 }, roomy)).toBe(false);
    expect(shouldStart({ ...fresh, waiting: 0, starting: 0 }, roomy)).toBe(false);
  });
  test('shouldStart starts a bounded number at once, however many wait', () => {
    expect(shouldStart({ ...fresh, waiting: 1000, starting: MAX_STARTING - 1 }, roomy)).toBe(true);
    expect(shouldStart({ ...fresh, waiting: 1000, starting: MAX_STARTING }, roomy)).toBe(false);
  });
  test('shouldStart lets calls wait for a sandbox that will be free sooner than another could start', () => {
    const short = { ...fresh, waiting: 16, members: 4, active: 4, holdMs: 1 };
    expect(shouldStart(short, roomy)).toBe(false);
    expect(shouldStart({ ...short, holdMs: 10 }, roomy)).toBe(true);
    expect(shouldStart({ ...short, waiting: 128 }, roomy)).toBe(true);
  });
  test('shouldStart starts one all the same when that guess has proved wrong', () => {
    const waited = {
      ...fresh,
      waiting: 1,
      members: 4,
      active: 4,
      holdMs: 1,
      sinceReleaseMs: START_COST_MS,
    };
    expect(shouldStart(waited, roomy)).toBe(true);
  });
  test('shouldStart gives a call an idle sandbox unless the running ones will come to it soon', () => {
    const few = { ...fresh, members: 8, active: 3, holdMs: 1 };
    expect(mayRun(few)).toBe(true);
    expect(mayRun({ ...few, active: 4 })).toBe(false);
    expect(mayRun({ ...few, active: 4, holdMs: 100 })).toBe(true);
    expect(mayRun({ ...few, active: 4, holdMs: undefined })).toBe(true);
    expect(mayRun({ ...few, active: 4, waiting: 9, sinceReleaseMs: START_COST_MS })).toBe(true);
  });
  test('shouldStart never lets a call wait in line for long while another sandbox could run it', () => {
    const line = { ...fresh, waiting: 1, members: 8, active: 4, holdMs: 1 };
    expect(mayRun(line)).toBe(false);
    expect(mayRun({ ...line, oldestWaitMs: MAX_LINE_MS })).toBe(true);
  });
  test('shouldStart, at the ceiling, starts only where an idle or a prepared sandbox can go', () => {
    const full = { total: 100, ceiling: 100, idle: 0, prepared: 0 };
    expect(shouldStart({ ...fresh, waiting: 1, starting: 0 }, full)).toBe(false);
    expect(shouldStart({ ...fresh, waiting: 1, starting: 0 }, { ...full, idle: 1 })).toBe(true);
    expect(shouldStart({ ...fresh, waiting: 1, starting: 0 }, { ...full, prepared: 1 })).toBe(true);
  });
});

describe('preparedWanted', () => {
  test('preparedWanted fills up to the floor, and counts those that are starting', () => {
    expect(preparedWanted(4, 1, 1, roomy)).toBe(2);
    expect(preparedWanted(4, 4, 0, roomy)).toBe(0);
    expect(preparedWanted(4, 5, 0, roomy)).toBe(0);
  });
  test('preparedWanted never exceeds the ceiling', () => {
    expect(preparedWanted(4, 0, 0, { ...roomy, total: 99 })).toBe(1);
    expect(preparedWanted(4, 0, 0, { ...roomy, total: 100 })).toBe(0);
  });
  test('prepares none while the host is short of memory, when idle ones are given up', () => {
    expect(memoryIsShort(400, 500)).toBe(true);
    expect(memoryIsShort(500, 500)).toBe(false);
    expect(preparedWanted(4, 0, 0, roomy, true)).toBe(0);
    expect(preparedWanted(4, 0, 0, roomy, false)).toBe(4);
  });
});

describe('chooseEvictions', () => {
  const idle = [
    { key: 'new', usedAt: 90 },
    { key: 'old', usedAt: 10 },
    { key: 'middle', usedAt: 50 },
  ];
  test('chooseEvictions ends sandboxes older than the keep-alive', () => {
    expect(chooseEvictions(idle, { now: 100, keepAliveMs: 50, excess: 0 })).toEqual(['old', 'middle']);
  });
  test('chooseEvictions ends the least recently used first when some must go', () => {
    expect(chooseEvictions(idle, { now: 100, keepAliveMs: 1000, excess: 1 })).toEqual(['old']);
  });
  test('chooseEvictions ends all when more must go than there are', () => {
    expect(chooseEvictions(idle, { now: 100, keepAliveMs: 1000, excess: 9 })).toEqual([
      'old',
      'middle',
      'new',
    ]);
  });
});

describe('spareWanted', () => {
  test('spareWanted is true when every sandbox runs something, and no call waits or is about to be served', () => {
    expect(spareWanted(fresh, roomy)).toBe(true);
    expect(spareWanted({ ...fresh, members: 3, active: 3 }, roomy)).toBe(true);
    expect(spareWanted({ ...fresh, members: 3, active: 2 }, roomy)).toBe(false);
    expect(spareWanted({ ...fresh, starting: 1 }, roomy)).toBe(false);
    expect(spareWanted({ ...fresh, waiting: 1 }, roomy)).toBe(false);
    expect(spareWanted(fresh, roomy, true)).toBe(false);
    expect(spareWanted(fresh, { ...roomy, total: 100 })).toBe(false);
  });
});

describe('explainCold', () => {
  const history = {
    live: 0,
    everReady: true,
    otherVersion: false,
    lastEnd: undefined,
    singleUse: false,
  } as const;
  test.each([
    [{ ...history, everReady: false }, 'first_call'],
    [{ ...history, everReady: false, otherVersion: true }, 'new_version'],
    [{ ...history, live: 2 }, 'all_busy'],
    [{ ...history, lastEnd: 'died' as const }, 'sandbox_ended'],
    [{ ...history, lastEnd: 'evicted' as const }, 'evicted'],
    [{ ...history, singleUse: true, live: 2, lastEnd: 'died' as const }, 'single_use'],
    [{ ...history, singleUse: true, everReady: false }, 'first_call'],
  ])('explainCold: %o is %s', (facts, reason) => {
    expect(explainCold(facts)).toBe(reason);
  });
});

test('memoryExcess returns a tenth of the idle sandboxes, at least one, and only under pressure', () => {
  expect(memoryExcess(1000, 500, 100)).toBe(0);
  expect(memoryExcess(400, 500, 100)).toBe(10);
  expect(memoryExcess(400, 500, 3)).toBe(1);
});

describe('aheadDepth', () => {
  test('aheadDepth is the number of calls that a sandbox runs in the time of a start', () => {
    expect(aheadDepth({ ...fresh, holdMs: START_COST_MS / 4 })).toBe(4);
    expect(aheadDepth({ ...fresh, holdMs: START_COST_MS * 1.1 })).toBe(0);
    expect(aheadDepth({ ...fresh, holdMs: 0.01 })).toBe(MAX_AHEAD);
  });

  test('aheadDepth is 0 while the function is not known, or its line does not move', () => {
    expect(aheadDepth(fresh)).toBe(0);
    expect(aheadDepth({ ...fresh, holdMs: 0.1, sinceReleaseMs: START_COST_MS })).toBe(0);
  });
});
