/** Rights that the user who runs the platform must have. */
import { constants } from 'node:fs';
import { access, mkdir, rmdir, stat } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { type Check, miss, pass, readText, SETUP, type Subject } from './check.ts';
import { type CgroupMount, parseCgroupMounts, parseSubids } from './parse.ts';

/** Lower bound on the ids: one for each sandbox that lives at the same time. */
const FEW_IDS = 10_000;
const SETUID = 0o4000;
const CONTROLLERS = ['cpu', 'cpuacct', 'memory', 'pids'] as const;

export async function checkSubids(): Promise<Check> {
  const subject: Subject = { name: 'subordinate ids', level: 'required' };
  const { username, uid } = userInfo();
  const counts = await Promise.all(
    ['/etc/subuid', '/etc/subgid'].map(async (file) =>
      Math.max(0, ...parseSubids((await readText(file)) ?? '', username, uid).map(({ count }) => count)),
    ),
  );
  const least = Math.min(...counts);
  if (least >= FEW_IDS) return pass(subject, `${least} for ${username}`);
  const cause = 'every sandbox runs under a user id of its own, from a range that this user must own';
  return miss(subject, `${least} for ${username}`, cause, SETUP);
}

export async function checkIdMappers(): Promise<Check> {
  const subject: Subject = { name: 'newuidmap, newgidmap', level: 'required' };
  const missing: string[] = [];
  for (const name of ['newuidmap', 'newgidmap']) {
    const found = await stat(`/usr/bin/${name}`).catch(() => undefined);
    // Debian makes them set-uid; other distributions may give them a file capability instead.
    if (found === undefined) missing.push(`${name} is not installed`);
    else if ((found.mode & SETUID) === 0) missing.push(`${name} is not set-uid`);
  }
  if (missing.length === 0) return pass(subject, 'installed and set-uid');
  const cause = 'an ordinary user gets a range of ids mapped only with their help';
  return miss(subject, missing.join(', '), cause, 'sudo apt-get install --reinstall uidmap');
}

export async function checkCgroups(): Promise<Check> {
  const subject: Subject = { name: 'cgroup delegation', level: 'required' };
  const mounts = parseCgroupMounts((await readText('/proc/self/mountinfo')) ?? '');
  const directories = await delegatedDirectories(mounts);
  if (directories.length === 0) {
    const cause = 'the kernel has no memory controller, so memory could not be limited';
    return miss(
      subject,
      'no hierarchy with the memory controller',
      cause,
      'remove cgroup_disable=memory from the kernel command line',
    );
  }
  for (const directory of directories) {
    const child = join(directory, `probe-${process.pid}`);
    try {
      await access(join(directory, 'cgroup.procs'), constants.W_OK);
      await mkdir(child);
      await rmdir(child);
    } catch (error) {
      const cause =
        'each sandbox gets a cgroup, which this user must be allowed to make; it is gone after a reboot';
      return miss(subject, error instanceof Error ? error.message : String(error), cause, SETUP);
    }
  }
  return pass(subject, `version ${mounts.some(hasMemory) ? 1 : 2}: ${directories.join(', ')}`);
}

const hasMemory = (mount: CgroupMount): boolean => mount.controllers.includes('memory');

/** Our directory in every hierarchy that is needed. */
async function delegatedDirectories(mounts: readonly CgroupMount[]): Promise<string[]> {
  const name = process.env['OFFSHOOT_CGROUP'] ?? 'offshoot';
  if (mounts.some(hasMemory)) {
    const paths = CONTROLLERS.flatMap(
      (controller) => mounts.find(({ controllers }) => controllers.includes(controller))?.path ?? [],
    );
    return [...new Set(paths)].map((path) => join(path, name));
  }
  const unified = mounts.find(({ version }) => version === 2)?.path;
  if (unified === undefined) return [];
  const controllers = (await readText(join(unified, 'cgroup.controllers'))) ?? '';
  if (!controllers.split(' ').includes('memory')) return [];
  return [(await ownManager(unified)) ?? join(unified, name)];
}

/** The cgroup of this user's own systemd, which makes a delegated scope for the platform at each start; if it can. */
async function ownManager(unified: string): Promise<string | undefined> {
  const { uid } = userInfo();
  const manager = join(unified, `user.slice/user-${uid}.slice/user@${uid}.service`);
  const controllers = ((await readText(join(manager, 'cgroup.controllers'))) ?? '').split(' ');
  return ['cpu', 'memory', 'pids'].every((controller) => controllers.includes(controller))
    ? manager
    : undefined;
}
