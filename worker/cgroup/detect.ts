/** Finds the cgroup hierarchy that was delegated to this user, and chooses the driver for its version. */
import { existsSync, readFileSync } from 'node:fs';
import type { CgroupDriver } from './driver.ts';
import { CgroupV1Driver } from './v1.ts';
import { CgroupV2Driver } from './v2.ts';

const MOUNT = '/sys/fs/cgroup';

/** Name of the delegated directory in each hierarchy, unless the start script names another. */
const USUAL_NAME = 'offshoot';

/**
 * Returns the driver for this host: v2 if its controllers are available, v1 if the memory controller is still there. Hybrid hosts
 * use v1, because their v2 tree has no controllers. Throws, with the command that mends it, when no cgroup was delegated.
 */
export function detectCgroups(): CgroupDriver {
  const hasV2 =
    existsSync(`${MOUNT}/cgroup.controllers`) &&
    readFileSync(`${MOUNT}/cgroup.controllers`, 'utf8').includes('memory');
  if (hasV2) {
    const delegated = delegatedV2();
    if (delegated) return new CgroupV2Driver(delegated);
  } else {
    const name = process.env['OFFSHOOT_CGROUP'] ?? USUAL_NAME;
    if (existsSync(`${MOUNT}/memory/${name}`)) return new CgroupV1Driver(MOUNT, name);
  }
  throw new Error(`no cgroup has been handed over to this user; run: npm run setup (then: offshoot doctor)`);
}

/**
 * Returns the cgroup that the start script names, else the set-up's directory, else the one that systemd delegated
 * (Delegate=yes), whose leaf this process is in.
 */
function delegatedV2(): string | undefined {
  const told = process.env['OFFSHOOT_CGROUP'];
  if (told) return `${MOUNT}/${told}`;
  if (existsSync(`${MOUNT}/${USUAL_NAME}`)) return `${MOUNT}/${USUAL_NAME}`;
  const own = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1];
  if (!own || own === '/') return undefined;
  return `${MOUNT}${own.replace(/\/platform$/, '')}`;
}
