/**
 * Loaded into a process of the platform before its own code (`node --import`): measures for how long its event loop stood still.
 * On SIGUSR2 it writes the longest stalls since the last time to a file, as Stall.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Milliseconds. */
export interface Stall {
  /** Between two beats of the loop, by the clock of the wall: other programs of the machine count as well. */
  readonly wall: number;
  /** Processor time of the thread between two beats: what its own work took. */
  readonly cpu: number;
}

const BEAT_MS = 2;
const folder = process.env['HEARTBEAT_FOLDER'];

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

if (folder !== undefined) {
  let longest: Stall = { wall: 0, cpu: 0 };
  let wall = performance.now();
  let cpu = cpuMs();
  setInterval(() => {
    const [beganAt, usedBefore] = [wall, cpu];
    wall = performance.now();
    cpu = cpuMs();
    longest = {
      wall: Math.max(longest.wall, wall - beganAt - BEAT_MS),
      cpu: Math.max(longest.cpu, cpu - usedBefore),
    };
  }, BEAT_MS).unref();
  let answered = 0;
  process.on('SIGUSR2', () => {
    const path = join(folder, `${process.pid}-${++answered}`);
    writeFileSync(`${path}.new`, JSON.stringify(longest));
    renameSync(`${path}.new`, path);
    longest = { wall: 0, cpu: 0 };
  });
}
