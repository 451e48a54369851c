/**
 * Measures how long the event loop of a process stands still. It is loaded into a process of the platform before its
 * own code (`node --import`). On SIGUSR2 it writes the longest stalls since the last time to a file, as Stall.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Milliseconds. */
export interface Stall {
  /** Time between two beats of the loop, by the clock: other programs of the machine count as well. */
  readonly wall: number;
  /** Processor time of the thread between two beats: its own work. */
  readonly cpu: number;
}

const BEAT_MS = 2;

/** Returns a function that gives the longest stalls since its last call. */
export function beat(): () => Stall {
  let longest: Stall = { wall: 0, cpu: 0 };
  let wall = performance.now();
  let cpu = cpuMs();
  setInterval(() => {
    const [wallBefore, cpuBefore] = [wall, cpu];
    wall = performance.now();
    cpu = cpuMs();
    longest = {
      wall: Math.max(longest.wall, wall - wallBefore - BEAT_MS),
      cpu: Math.max(longest.cpu, cpu - cpuBefore),
    };
  }, BEAT_MS).unref();
  return () => {
    const told = longest;
    longest = { wall: 0, cpu: 0 };
    return told;
  };
}

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

const folder = process.env['HEARTBEAT_FOLDER'];
if (folder !== undefined) {
  const longest = beat();
  let answered = 0;
  process.on('SIGUSR2', () => {
    const path = join(folder, `${process.pid}-${++answered}`);
    writeFileSync(`${path}.new`, JSON.stringify(longest()));
    renameSync(`${path}.new`, path);
  });
}
