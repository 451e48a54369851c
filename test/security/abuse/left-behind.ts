/** Everything of the host that a worker holds, by name: the counts in which a leak would show. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { WorkerStatus } from '#contract/api/api.ts';
import { sandboxCgroups } from '../../support/sandbox/cgroup-paths.ts';
import type { Platform } from '../../support/platform/platform.ts';
import { sandboxesOf } from './platform.ts';

/** Count by name. */
export type Held = ReadonlyMap<string, number>;

/**
 * Counts of the worker and all processes below it, since the rest of the machine is not the test's. Linux namespaces
 * need no count of their own: the kernel frees one when no process, descriptor or mount holds it.
 */
export function heldBy(platform: Platform): Held {
  const held = new Map<string, number>();
  const add = (name: string): void => void held.set(name, (held.get(name) ?? 0) + 1);
  const worker = platform.pid('worker');
  const sandboxes = sandboxesOf(platform);
  const sandboxed = new Set([...sandboxes.values()].flat());
  for (const [id, pids] of sandboxes)
    add(pids.length === 0 ? `the cgroup ${id}, without a process` : 'cgroup of a sandbox');
  for (const target of descriptors(worker)) add(`descriptor of the worker: ${target}`);
  const ofHost = new Set(mounts('self'));
  for (const mount of ofHost) if (mount.startsWith(`${platform.state}/`)) add(`mount: ${mount}`);
  for (const pid of descendants(worker)) {
    const name = readOr(`/proc/${pid}/comm`).trim();
    if (/^State:\tZ/m.test(readOr(`/proc/${pid}/status`))) add(`zombie: ${name}`);
    else if (sandboxed.has(pid)) add(`process of a sandbox: ${name}`);
    else {
      add(`process: ${name}`);
      for (const target of descriptors(pid)) add(`descriptor of ${name}: ${target}`);
      // What anybody mounts on the host appears in their namespaces as well.
      for (const mount of mounts(pid)) if (!ofHost.has(mount)) add(`mount of ${name}: ${mount}`);
    }
  }
  return held;
}

/** Names whose count differs between `before` and `after`, each with both numbers. */
export function difference(before: Held, after: Held): string[] {
  const names = new Set([...before.keys(), ...after.keys()]);
  return [...names]
    .filter((name) => before.get(name) !== after.get(name))
    .map((name) => `${name}: ${before.get(name) ?? 0} before, ${after.get(name) ?? 0} now`);
}

/** By its own report, the worker has this number of sandboxes of each kind, and runs none. */
export async function hasOnly(platform: Platform, prepared: number, idle: number): Promise<boolean> {
  const { workers } = (await (await platform.api('/workers')).json()) as { workers: WorkerStatus[] };
  const [worker] = workers;
  return worker?.prepared === prepared && worker.idle === idle && worker.busy === 0;
}

/** An empty cgroup such as a worker makes for a sandbox. */
export function cgroupOf(platform: Platform, id: string): string {
  return `${sandboxCgroups()}/${platform.pid('worker')}-${id}`;
}

/** Targets of the descriptors of a process, without the numbers that each process has for itself. */
function descriptors(pid: number): string[] {
  return namesIn(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/${pid}/fd/${fd}`);
      return [target.replace(/:\[\d+\]$/, '').replace(/\d+-[0-9a-f]{12}\b/, 'SANDBOX')];
    } catch {
      return []; // closed since
    }
  });
}

/** Where each is, and of what kind. */
function mounts(pid: number | 'self'): string[] {
  return readOr(`/proc/${pid}/mountinfo`)
    .split('\n')
    .filter(Boolean)
    .map((line) => `${line.split(' ')[4]} ${/ - (\S+)/.exec(line)?.[1]}`);
}

function descendants(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of namesIn('/proc').filter((entry) => /^\d+$/.test(entry))) {
    const parent = Number(/^PPid:\t(\d+)/m.exec(readOr(`/proc/${name}/status`))?.[1] ?? 0);
    children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  const found: number[] = [];
  const open = [root];
  for (let pid = open.pop(); pid !== undefined; pid = open.pop()) {
    const own = children.get(pid) ?? [];
    found.push(...own);
    open.push(...own);
  }
  return found;
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return []; // the process has ended
  }
}

function readOr(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
