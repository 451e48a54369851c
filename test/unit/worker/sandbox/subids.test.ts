import { expect, test } from 'vitest';
import { findRange } from '../../../../worker/sandbox/subids.ts';

test('a range is found by name or by number, and the largest wins', () => {
  const text = 'other:100000:65536\noffshoot:200000:1000\n999:300000:65536\n';
  expect(findRange(text, 'offshoot', 999)).toEqual({ base: 300_000, count: 65_536 });
  expect(findRange(text, 'offshoot', 1)).toEqual({ base: 200_000, count: 1_000 });
});

test('a user without a range gets none, and an invalid line is no range', () => {
  expect(findRange('', 'offshoot', 999)).toBeUndefined();
  expect(findRange('offshoot\noffshoot:x:y\n', 'offshoot', 999)).toBeUndefined();
});
