/** Limits of all sandboxes of a host together. */
import { expect, test } from 'vitest';
import { commonLimits } from '../../../../worker/cgroup/reserve.ts';

const GB = 1024 ** 3;

test('a large host keeps a sixteenth of its memory, a small one half a gigabyte, a tiny one half of it', () => {
  expect(commonLimits(64 * GB, 32_768).memoryBytes).toBe(60 * GB);
  expect(commonLimits(4 * GB, 32_768).memoryBytes).toBe(3.5 * GB);
  expect(commonLimits(0.5 * GB, 32_768).memoryBytes).toBe(0.25 * GB);
});

test('an eighth of the process numbers stays with the host', () => {
  expect(commonLimits(GB, 32_768).pids).toBe(28_672);
});
