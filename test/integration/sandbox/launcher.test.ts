/** Messages of the launcher, of init and of the zygote's start: the failed process, the failed step and the remedy. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LAUNCHER } from '../../../worker/native/addon.ts';
import { ownRanges } from '../../../worker/sandbox/zygote/subids.ts';

let place: string;
let mayUnshare: boolean;

/** Runs a command with a control socket on descriptor 3, as the worker runs the launcher. */
async function failureOf(
  command: string,
  args: readonly string[],
): Promise<{ status: number; said: string }> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
  const ended = once(child, 'exit') as Promise<[number]>;
  if (!child.stderr) throw new Error('the child has no standard error');
  const said = await text(child.stderr);
  return { status: (await ended)[0], said };
}

function launcherArguments(image: string, program = '/nowhere'): string[] {
  const ranges = ownRanges();
  const ids = [ranges.uid, ranges.gid].flatMap(({ base, count }) => [String(base), String(count)]);
  return [image, join(place, 'store'), '/dev/offshoot', ...ids, '--', program];
}

beforeAll(async () => {
  place = await mkdtemp(join(tmpdir(), 'offshoot-launcher-'));
  for (const directory of ['store', 'image/proc', 'image/dev', 'image/run/offshoot/store'])
    await mkdir(join(place, directory), { recursive: true });
  mayUnshare = (await failureOf('unshare', ['--user', '--map-root-user', 'true'])).status === 0;
});
afterAll(() => rm(place, { recursive: true, force: true }));

describe('each process names itself', () => {
  test('init, when the image is missing', async () => {
    const { status, said } = await failureOf(LAUNCHER, launcherArguments('/nowhere'));
    expect(said).toContain('init: bind image /nowhere: No such file or directory\n');
    expect(status).toBe(1);
  });

  test('zygote, when the image lacks the program', async () => {
    const { status, said } = await failureOf(LAUNCHER, launcherArguments(join(place, 'image')));
    expect(said).toContain('zygote: exec /nowhere in the image: No such file or directory\n');
    expect(status).toBe(1);
  });

  test('launcher, when the ids were not granted; a failure without errno shows none', async () => {
    const args = launcherArguments(join(place, 'image'));
    args[3] = '1';
    const { status, said } = await failureOf(LAUNCHER, args);
    expect(said).toMatch(/^launcher: newuidmap \d+ ended with status 1 \(.*\/etc\/subgid\?\)$/m);
    expect(status).toBe(1);
  });
});

describe('a clone that fails says what to do', () => {
  // Root of a user namespace of the test's own may lower that namespace's limits.
  test('ENOSPC: the limits on namespaces', async ({ skip }) => {
    if (!mayUnshare) skip('the kernel lacks unprivileged user namespaces for programs without a profile');
    const script = 'echo 0 > /proc/sys/user/max_net_namespaces && exec "$0" "$@"';
    const args = [LAUNCHER, ...launcherArguments(join(place, 'image'))];
    const { said } = await failureOf('unshare', ['--user', '--map-root-user', 'sh', '-c', script, ...args]);
    expect(said).toMatch(
      /^launcher: create namespaces: No space left on device; .*user\.max_\*_namespaces$/m,
    );
  });

  // A process in a chroot may not make a user namespace, user_namespaces(7).
  test('EPERM: the switches that forbid user namespaces', async ({ skip }) => {
    if (!mayUnshare) skip('the kernel lacks unprivileged user namespaces for programs without a profile');
    await copyFile(LAUNCHER, join(place, 'image/launcher'));
    const args = ['chroot', join(place, 'image'), '/launcher', ...launcherArguments('/')];
    const { said } = await failureOf('unshare', ['--user', '--map-root-user', ...args]);
    expect(said).toMatch(/^launcher: create namespaces: Operation not permitted; /m);
    expect(said).toContain('kernel.unprivileged_userns_clone');
    expect(said).toContain('kernel.apparmor_restrict_unprivileged_userns');
  });
});
