import { expect, test } from 'vitest';
import { parseDependencies, parseRecords } from '../../../runtime-images/apt.ts';
import { suiteOf } from '../../../runtime-images/fetch.ts';
import { isLeftOut, parseLock, readLock } from '../../../runtime-images/lock.ts';
import { baseKey } from '../../../runtime-images/rootfs.ts';

const SHA = 'a'.repeat(64);
const libc = { name: 'libc6', version: '2.36-9', sha256: SHA, pinned: true };

test('the lock of this checkout is valid, and a damaged one names the bad field', async () => {
  const lock = await readLock();
  expect(Object.keys(lock.node)).toContain('node26');
  const damaged = structuredClone(lock);
  damaged.debian.suites['debian-test'] = [{ name: 'libc6', version: '1', sha256: 'short' }];
  expect(() => parseLock(JSON.stringify(damaged))).toThrow(/debian-test.*sha256/s);
});

test('a base is named by its content, in whatever order', () => {
  const other = { ...libc, name: 'dash', sha256: 'b'.repeat(64) };
  expect(baseKey('debian-x', [libc, other])).toBe(baseKey('debian-x', [other, libc]));
  expect(baseKey('debian-x', [libc, other])).not.toBe(baseKey('debian-x', [libc]));
  expect(baseKey('debian-x', [libc])).not.toBe(baseKey('debian-y', [libc]));
});

test('package records without a hash are those of packages that are only installed', () => {
  const text = [
    `Package: dash\nVersion: 0.5\nPre-Depends: libc6 (>= 2.36)\nDepends: debianutils (>= 5), a:any | b\nSHA256: ${SHA}\n`,
    'Package: dash\nVersion: 0.4\nStatus: install ok installed\n',
  ].join('\n');
  expect(parseRecords(text)).toEqual([
    { name: 'dash', version: '0.5', sha256: SHA, depends: ['libc6', 'debianutils', 'a'] },
  ]);
});

test('dependencies are read as first alternatives, without versions', () => {
  expect(parseDependencies('libc6 (>= 2.36), debconf (>= 0.5) | debconf-2.0, , perl:any')).toEqual([
    'libc6',
    'debconf',
    'perl',
  ]);
  expect(isLeftOut('gcc-12-base', ['gcc-*-base'])).toBe(true);
  expect(isLeftOut('gcc-12', ['gcc-*-base', 'debconf'])).toBe(false);
});

test('the suite is named by id and codename', () => {
  expect(suiteOf('NAME="Debian"\nVERSION_CODENAME=bookworm\nID=debian\n')).toBe('debian-bookworm');
});
