/** Share of a sandbox in the limits that the kernel counts for the service user. */
import { expect, test } from 'vitest';
import { commonLimitsHere } from '../../../../worker/cgroup/reserve.ts';
import {
  pendingSignalsEach,
  pendingSignalsHere,
  processesHere,
} from '../../../../worker/cgroup/user-limits.ts';

test.each([
  ['no limit', Infinity, 4_000, 64],
  ['a limit of which half is more than enough for all', 96_365, 100, 64],
  ['the limit that a kernel has by itself at 24 GB', 96_365, 2_048, 23],
  ['a limit that is too low even for the least', 1_000, 4_000, 8],
])('each sandbox gets its share of pending signals with %s', (_, limit, sandboxes, each) => {
  expect(pendingSignalsEach(limit, sandboxes)).toBe(each);
});

test('all sandboxes together leave processes to the service user, whichever limit is the narrowest', () => {
  expect(pendingSignalsHere()).toBeGreaterThan(0);
  expect(commonLimitsHere().pids).toBeLessThanOrEqual((processesHere() * 7) / 8);
  expect(commonLimitsHere().pids).toBeGreaterThan(0);
});
