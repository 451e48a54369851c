import { expect, test } from 'vitest';
import { describeChecks } from '../../../infra/doctor/doctor.ts';
import {
  isAtLeast,
  parseCgroupMounts,
  parseConfigValue,
  parseKernelVersion,
  parseRedisUrl,
  parseSubids,
} from '../../../infra/doctor/parse.ts';
import { checkByClient, needsClient } from '../../../infra/doctor/redis-client.ts';

test('sub-ids are found by name and by number, and broken lines are skipped', () => {
  const text = 'alice:100000:65536\nbob:165536:65536\n1000:300000:1000\nalice:oops:1\n\n';
  expect(parseSubids(text, 'alice', 1000)).toEqual([
    { first: 100_000, count: 65_536 },
    { first: 300_000, count: 1000 },
  ]);
  expect(parseSubids(text, 'carol', 1002)).toEqual([]);
});

test('kernel versions compare by number', () => {
  expect(parseKernelVersion('6.8.0-45-generic')).toEqual([6, 8]);
  expect(isAtLeast([6, 1], [5, 11])).toBe(true);
  expect(isAtLeast([5, 4], [5, 11])).toBe(false);
});

test('cgroup hierarchies of both versions are found, with co-mounted controllers', () => {
  const mountinfo = [
    '31 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct',
    '30 24 0:26 / /sys/fs/cgroup/unified rw shared:8 - cgroup2 cgroup2 rw,nsdelegate',
    '22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw',
  ].join('\n');
  expect(parseCgroupMounts(mountinfo)).toEqual([
    { version: 1, path: '/sys/fs/cgroup/cpu,cpuacct', controllers: ['rw', 'cpu', 'cpuacct'] },
    { version: 2, path: '/sys/fs/cgroup/unified', controllers: [] },
  ]);
});

test('answers of Redis are parsed, and REDIS_URL is resolved', () => {
  expect(parseConfigValue('*2\r\n$16\r\nmaxmemory-policy\r\n$10\r\nnoeviction\r\n')).toBe('noeviction');
  expect(parseConfigValue('-NOAUTH Authentication required.\r\n')).toBeUndefined();
  expect(parseRedisUrl('unix:///run/my%20redis.sock')).toEqual({ path: '/run/my redis.sock' });
  expect(parseRedisUrl('redis://user:word@cache:7000/0')).toEqual({ host: 'cache', port: 7000 });
});

test('a failed check prints its cause and the command that mends it', () => {
  const text = describeChecks([
    { name: 'one', ok: true, level: 'required', found: 'fine' },
    { name: 'second', ok: false, level: 'required', found: 'none', cause: 'because', fix: 'do this' },
  ]);
  for (const part of ['one     fine', 'FAIL', 'why:  because', 'do this']) expect(text).toContain(part);
});

test('a Redis behind Sentinels, a Cluster or TLS is asked by the platform’s own client', async () => {
  for (const url of ['rediss://a', 'redis+sentinel://a/b', 'rediss+cluster://a'])
    expect(needsClient(url)).toBe(true);
  for (const url of ['redis://a', 'unix:///a']) expect(needsClient(url)).toBe(false);
  const subject = { name: 'Redis', level: 'required' } as const;
  expect(await checkByClient(subject, 'redis+cluster://127.0.0.1:1')).toMatchObject({ ok: false });
  expect(await checkByClient(subject, 'redis+sentinel://127.0.0.1:1')).toMatchObject({
    ok: false,
    found: expect.stringMatching(/does not name the primary/) as unknown,
  });
});
