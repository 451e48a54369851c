import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { findRange, SUBIDS_USED } from '../../../../worker/sandbox/zygote/subids.ts';

test('a range is found by name or by number, and the largest wins', () => {
  const text = 'other:100000:65536\noffshoot:200000:1000\n999:300000:65536\n';
  expect(findRange(text, 'offshoot', 999)).toEqual({ base: 300_000, count: 65_536 });
  expect(findRange(text, 'offshoot', 1)).toEqual({ base: 200_000, count: 1_000 });
});

test('a user without a range gets none, and an invalid line is no range', () => {
  expect(findRange('', 'offshoot', 999)).toBeUndefined();
  expect(findRange('offshoot\noffshoot:x:y\n', 'offshoot', 999)).toBeUndefined();
});

const checks = fileURLToPath(new URL('../../../../infra/host/checks.sh', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'offshoot-subids-'));
afterAll(() => rmSync(directory, { recursive: true }));

/** Does the set-up find that a range of this length is enough for root? */
function isEnough(count: number): boolean {
  const file = join(directory, 'subuid');
  writeFileSync(file, `root:100000:${count}\n`);
  const script = 'source "$1"; if has_subids "$2" root; then echo yes; else echo no; fi';
  return execFileSync('bash', ['-c', script, 'bash', checks, file], { encoding: 'utf8' }).trim() === 'yes';
}

test('the set-up asks for as many ids as a worker maps, and for no more', () => {
  expect(isEnough(SUBIDS_USED)).toBe(true);
  expect(isEnough(65_536)).toBe(true);
  expect(isEnough(SUBIDS_USED - 1)).toBe(false);
});
