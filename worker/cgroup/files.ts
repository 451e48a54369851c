/** Reads and writes the kernel's cgroup files, for both drivers. */
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmdirSync,
  writeFileSync,
  constants,
} from 'node:fs';
import { rmdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

const REMOVE_ATTEMPTS = 50;
const REMOVE_PAUSE_MS = 20;

/** Writes a kernel interface file. Synchronous, because none of these calls waits for a device. */
export function writeControl(directory: string, file: string, value: string | number): void {
  try {
    writeFileSync(`${directory}/${file}`, String(value));
  } catch (error) {
    throw new Error(`cgroup: write ${value} to ${directory}/${file}`, { cause: error });
  }
}

export function openForJoining(path: string): number {
  return openSync(path, constants.O_WRONLY);
}

export function closeAll(fds: number[]): void {
  for (const fd of fds.splice(0)) closeSync(fd);
}

export function readPids(directory: string): number[] {
  try {
    return readFileSync(`${directory}/cgroup.procs`, 'utf8').split('\n').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** Reads the figure in a file that has only one. */
export function readFigure(path: string): number {
  return Number(readFileSync(path, 'utf8'));
}

/** Upper bound on a file of `key value` lines. Shared, because one is read each second for each sandbox. */
const keyedBytes = Buffer.alloc(4096);

/** Reads the figure behind `key` anew from an open file of `key value` lines; 0 where there is none. */
export function readKeyed(fd: number, key: string): number {
  try {
    const text = keyedBytes.toString('latin1', 0, readSync(fd, keyedBytes, 0, keyedBytes.length, 0));
    const line = text.split('\n').find((candidate) => candidate.startsWith(`${key} `));
    return line ? Number(line.slice(key.length + 1)) : 0;
  } catch {
    return 0;
  }
}

/** Removes cgroups, with retries: rmdir answers EBUSY until the last process has been torn down, shortly after it was reaped. */
export async function removeWhenEmpty(directories: readonly string[]): Promise<void> {
  for (const directory of directories) {
    for (let attempt = 0; ; attempt++) {
      try {
        await rmdir(directory);
        break;
      } catch (error) {
        const code = (error as NodeJS.ErrnoException).code;
        if (code === 'ENOENT') break;
        if (code !== 'EBUSY' || attempt === REMOVE_ATTEMPTS) throw error;
        await sleep(REMOVE_PAUSE_MS);
      }
    }
  }
}

/** Name of a sandbox's cgroup, with the pid of the worker that owns it. */
export function cgroupName(sandboxId: string): string {
  return `${process.pid}-${sandboxId}`;
}

/** Removes the empty sub-directories of workers that no longer run. */
export function sweepDirectory(parent: string): void {
  let names: string[] = [];
  try {
    names = readdirSync(parent, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name)
      .filter((name) => /^\d+-/.test(name) && !existsSync(`/proc/${Number.parseInt(name, 10)}`));
  } catch {
    return;
  }
  for (const name of names) {
    try {
      rmdirSync(`${parent}/${name}`);
    } catch {
      // Its last process is still being torn down; the next start of a worker removes it.
    }
  }
}
