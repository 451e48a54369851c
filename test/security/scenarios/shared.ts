/** V: things of one host that sandboxes of two tenants have in common. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import { type AttackBench, type Attempt, valueOf } from '../attack-bench.ts';
import type { Scenario } from './scenario.ts';
import { withTenant } from './tenants.ts';

const run = promisify(execFile);
const DEVICES = ['null', 'zero', 'full', 'random', 'urandom'].map((name) => `/dev/${name}`);

/** Devices that the set-up could not make. */
const noSets = (): string | undefined =>
  existsSync('/dev/offshoot/0/0/null') ? undefined : 'the kernel lets no process make device files here';

const succeeded = (told: readonly Attempt[]): string[] =>
  told.filter((attempt) => attempt.succeeded).map(({ call }) => call);

/** Whether a process holds a lock on a device of the host, for which a program of the host would wait. */
async function lockedOnHost(): Promise<string[]> {
  const locked: string[] = [];
  for (const device of DEVICES)
    await run('flock', ['--nonblock', device, 'true']).catch(() =>
      locked.push(`${device} of the host is locked`),
    );
  return locked;
}

/** Locks on devices that one tenant takes and another sees. */
export async function locksSeen(bench: AttackBench, tenant: AttackBench): Promise<string[]> {
  const [one, other] = [await bench.attacker(), await tenant.attacker()];
  const taken = succeeded(await one.addon('V1-take'));
  const own = succeeded(await one.addon('V1-see-own'));
  const got = DEVICES.flatMap((device) =>
    ['flock', 'F_GETLK', 'F_OFD_SETLK'].map((kind) => `${kind} ${device}`),
  )
    .filter((call) => !own.includes(call))
    .map((call) => `${call}: not even seen by a process of the same sandbox`);
  got.push(...taken.filter((call) => call.startsWith('F_SETLEASE')));
  got.push(...succeeded(await other.addon('V1-see')).map((call) => `${call} is seen`));
  return [...got, ...(await lockedOnHost())];
}

export const shared: Readonly<Record<string, Scenario>> = {
  V1: {
    title: 'device-locks: no lock that one tenant takes on a device is seen by another, or by the host',
    missing: noSets,
    run: (bench) => withTenant(bench, (tenant) => locksSeen(bench, tenant)),
  },
  V2: {
    title: 'device-times: reading, writing and touching devices changes nothing that another tenant sees',
    run: (bench) =>
      withTenant(bench, async (tenant) => {
        const [one, other] = [await bench.attacker(), await tenant.attacker()];
        const before = await other.addon('V2-look');
        const told = await one.addon('V2-touch');
        const after = await other.addon('V2-look');
        const got = succeeded(told).filter((call) => !/^(read|write) /.test(call));
        if (succeeded(told).length < DEVICES.length) got.push('hardly anything could be read or written');
        return [
          ...got,
          ...DEVICES.filter(
            (device) => valueOf(before, device) === '' || valueOf(before, device) !== valueOf(after, device),
          ),
        ];
      }),
  },
  V3: {
    title:
      'mounts-told: the mount table names neither the devices of the host nor a path of another namespace',
    missing: noSets,
    async run(bench) {
      const told = await bench.with((attacker) => attacker.native('V3'));
      const mounts = valueOf(told, '/proc/self/mountinfo').trim().split('\n');
      const got = mounts.filter((line) => line.includes('devtmpfs'));
      // Field 4 is the root of the mount within its file system: for the code, the directory of its own version.
      const roots = mounts.map((line) => line.split(' ')).filter(([, , , root]) => root !== '/');
      for (const [, , , root = '', target = ''] of roots)
        if (!(target === '/var/task' ? /\/code-\d+$/ : /^\/\d+\/\d+\/\w+$/).test(root))
          got.push(`${target} shows ${root}`);
      return roots.length === DEVICES.length + 1 ? got : [...got, `${roots.length} mounts of a part`];
    },
  },
};
