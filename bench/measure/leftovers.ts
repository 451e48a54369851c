/** Removes everything that a bench leaves on the machine: this one, or an earlier one that was killed. */
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { detectCgroups } from '../../worker/cgroup/detect.ts';
import { messageOf } from './interleave.ts';

const PREFIX = 'offshoot-bench-';

/** A directory that is named after this process, so that others can see whether it is still needed. */
export async function makeTemporary(): Promise<string> {
  const parent = tmpdir();
  for (const name of await readdir(parent)) {
    const pid = Number(new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1]);
    if (!pid || existsSync(`/proc/${pid}`)) continue;
    // It may belong to another user, who will remove it.
    await rm(join(parent, name), { recursive: true, force: true }).catch(() => undefined);
  }
  return await mkdtemp(join(parent, `${PREFIX}${process.pid}-`));
}

/** A worker that ends may leave cgroups of sandboxes that ended with it. Those of living workers are left alone. */
export function sweepCgroups(): void {
  try {
    detectCgroups().sweep();
  } catch (error) {
    console.error(`cgroups of the bench may be left: ${messageOf(error)}`);
  }
}
