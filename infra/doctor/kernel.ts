/** Features that the kernel must offer. */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { release } from 'node:os';
import { type Check, miss, pass, probe, readSysctl, readText, SETUP, type Subject } from './check.ts';
import { isAtLeast, parseKernelVersion } from './parse.ts';

/** Overlay mounts in a user namespace came with 5.11, and `userxattr` with them. */
const OLDEST_KERNEL = [5, 11] as const;
/** A sandbox takes a few processes; the old default limit is enough for some thousand. */
const MANY_PIDS = 131_072;
const INOTIFY_INSTANCES = 128;
const APPARMOR_PROFILE = '/etc/apparmor.d/offshoot';

export async function checkKernelVersion(): Promise<Check> {
  const subject: Subject = { name: 'kernel', level: 'required' };
  if (isAtLeast(parseKernelVersion(release()), OLDEST_KERNEL)) return pass(subject, release());
  return miss(
    subject,
    release(),
    `kernels before ${OLDEST_KERNEL.join('.')} cannot mount an overlay file system without root`,
    'sudo apt-get install linux-image-amd64',
  );
}

/** AppArmor restricts user namespaces by program; the launcher has a profile, so the probes run under it. */
async function inProfile(command: readonly string[]): Promise<string | undefined> {
  const restricted = (await readSysctl('kernel.apparmor_restrict_unprivileged_userns')) === 1;
  const profile = restricted && (await readText(APPARMOR_PROFILE)) !== undefined;
  const [program = '', ...args] = profile ? ['aa-exec', '-p', 'offshoot', '--', ...command] : command;
  return probe(program, args);
}

export async function checkUserNamespaces(): Promise<Check> {
  const subject: Subject = { name: 'user namespaces', level: 'required' };
  const failure = await inProfile(['unshare', '--user', '--map-root-user', 'true']);
  if (failure === undefined) return pass(subject, 'can be made by this user');
  if ((await readSysctl('kernel.unprivileged_userns_clone')) === 0) {
    return miss(subject, failure, 'kernel.unprivileged_userns_clone is 0: only root may make them', SETUP);
  }
  if ((await readSysctl('user.max_user_namespaces')) === 0) {
    const fix = 'sudo sysctl -w user.max_user_namespaces=100000';
    return miss(subject, failure, 'user.max_user_namespaces is 0: no process may make one', fix);
  }
  const cause =
    'something refuses them: AppArmor (see below), SELinux, or the container that this machine is';
  return miss(subject, failure, cause, SETUP);
}

export async function checkAppArmor(): Promise<Check> {
  const subject: Subject = { name: 'AppArmor', level: 'required' };
  if ((await readSysctl('kernel.apparmor_restrict_unprivileged_userns')) !== 1) {
    return pass(subject, 'does not restrict user namespaces');
  }
  if ((await readText(APPARMOR_PROFILE)) !== undefined)
    return pass(subject, `restricts them, but not ours: ${APPARMOR_PROFILE}`);
  return miss(
    subject,
    'kernel.apparmor_restrict_unprivileged_userns = 1',
    'a user namespace made by an ordinary program has no power here, and the launcher has no profile',
    SETUP,
  );
}

export async function checkOverlay(): Promise<Check> {
  const subject: Subject = { name: 'overlay in a user namespace', level: 'required' };
  // Everything is on a tmpfs of the probe's own mount namespace, and goes with it.
  const script =
    'set -e; mount -t tmpfs probe /tmp; mkdir /tmp/lower /tmp/upper /tmp/work /tmp/merged; ' +
    'mount -t overlay -o userxattr,lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work overlay /tmp/merged; ' +
    'touch /tmp/merged/file';
  const failure = await inProfile(['unshare', '--user', '--map-root-user', '--mount', 'sh', '-c', script]);
  if (failure === undefined) return pass(subject, 'can be mounted, with userxattr');
  const cause =
    'the root of a sandbox is an overlay; its module is not loaded, or user namespaces have no power here';
  return miss(subject, failure, cause, 'sudo modprobe overlay');
}

export async function checkSeccomp(): Promise<Check> {
  const subject: Subject = { name: 'seccomp', level: 'required' };
  const actions = (await readText('/proc/sys/kernel/seccomp/actions_avail')) ?? '';
  // The zygote's start needs errno; kill_process ends a process that leaves the allow-list.
  const missing = ['errno', 'kill_process', 'allow'].filter((action) => !actions.split(' ').includes(action));
  if (missing.length === 0) return pass(subject, `filters: ${actions}`);
  const cause = 'the kernel cannot filter system calls (CONFIG_SECCOMP_FILTER), which confines tenant code';
  return miss(subject, actions || 'no filters', cause, 'sudo apt-get install linux-image-amd64');
}

export async function checkLandlock(): Promise<Check> {
  const subject: Subject = { name: 'Landlock', level: 'recommended' };
  const modules = await readText('/sys/kernel/security/lsm');
  // securityfs is not mounted on every machine; then the sandbox itself finds out.
  if (modules === undefined)
    return pass(subject, 'cannot be seen here (securityfs is not mounted); used where it is there');
  if (modules.split(',').includes('landlock')) return pass(subject, 'enabled');
  const cause = 'sandboxes then rely on their mount namespace alone, without this second line';
  return miss(subject, `enabled modules: ${modules}`, cause, 'add lsm=landlock to the kernel command line');
}

export async function checkPidMax(): Promise<Check> {
  const subject: Subject = { name: 'kernel.pid_max', level: 'recommended' };
  const value = (await readSysctl('kernel.pid_max')) ?? 0;
  if (value >= MANY_PIDS) return pass(subject, String(value));
  const cause = 'process ids run out at some thousand sandboxes';
  return miss(subject, String(value), cause, 'sudo sysctl -w kernel.pid_max=4194304');
}

export async function checkInotify(): Promise<Check> {
  const subject: Subject = { name: 'fs.inotify.max_user_instances', level: 'recommended' };
  const value = (await readSysctl('fs.inotify.max_user_instances')) ?? 0;
  if (value >= INOTIFY_INSTANCES) return pass(subject, String(value));
  const cause = 'watching files for `offshoot dev` may be refused';
  return miss(subject, String(value), cause, 'sudo sysctl -w fs.inotify.max_user_instances=1024');
}

export async function checkDevices(): Promise<Check> {
  const subject: Subject = { name: 'device files', level: 'recommended' };
  const wrong = await access('/dev/offshoot/0/0/null', constants.R_OK | constants.W_OK).catch(
    (error: Error) => error,
  );
  if (!wrong) return pass(subject, 'sets in /dev/offshoot');
  const cause =
    'functions of two namespaces can pass messages by locks on /dev/null, and lock it for the host';
  return miss(subject, wrong.message, cause, SETUP);
}
