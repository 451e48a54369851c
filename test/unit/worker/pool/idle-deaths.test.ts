import { expect, test } from 'vitest';
import { IdleDeaths } from '../../../../worker/pool/idle-deaths.ts';

const exit = { code: 1, signal: undefined };

test('ends in a row pause the loading ahead for longer each time, and an end for another reason begins anew [LI11]', () => {
  const deaths = new IdleDeaths();
  expect(deaths.mayLoadAhead(0)).toBe(true);
  expect(deaths.ended({ end: 'exited', exit }, 0)).not.toContain('in a row');
  expect([deaths.mayLoadAhead(999), deaths.mayLoadAhead(1_000)]).toEqual([false, true]);
  expect(deaths.ended({ end: 'crashed', exit }, 2_000)).toContain('number 2 in a row');
  expect([deaths.mayLoadAhead(3_999), deaths.mayLoadAhead(4_000)]).toEqual([false, true]);
  for (let left = 20; left > 0; left--) deaths.ended({ end: 'exited', exit }, 10_000);
  expect([deaths.mayLoadAhead(69_999), deaths.mayLoadAhead(70_000)]).toEqual([false, true]);
  expect(deaths.ended({ end: 'idle', exit }, 70_000)).toBeUndefined();
  expect(deaths.ended({ end: 'exited', exit }, 70_000)).not.toContain('in a row');
  expect(deaths.total).toBe(23);
});
