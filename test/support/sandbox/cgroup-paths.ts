/** Paths of the cgroups of this user's sandboxes. */
import { existsSync, readFileSync } from 'node:fs';

const name = process.env['OFFSHOOT_CGROUP'] ?? 'offshoot';

/** A directory with one entry for each sandbox: that of a v1 controller, or that of v2. */
export function sandboxCgroups(): string {
  const places = [`/sys/fs/cgroup/pids/${name}/sandboxes`, `/sys/fs/cgroup/${name}/sandboxes`];
  const found = places.find((place) => existsSync(place));
  if (!found) throw new Error(`no cgroups of sandboxes at ${places.join(' or ')}`);
  return found;
}

/** Memory that is charged to all of this user's sandboxes together, kernel memory included. */
export function sandboxMemoryBytes(): number {
  const places = [
    `/sys/fs/cgroup/memory/${name}/memory.usage_in_bytes`,
    `/sys/fs/cgroup/${name}/sandboxes/memory.current`,
  ];
  const found = places.find((place) => existsSync(place));
  if (!found) throw new Error(`no memory figure of sandboxes at ${places.join(' or ')}`);
  return Number(readFileSync(found, 'utf8'));
}
