/**
 * Measures how long the event loop of a process stands still. It is loaded into a process of the platform before its
 * own code (`node --import`). On SIGUSR2 it writes the longest stalls since the last time to a file, as Stall.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PerformanceObserver } from 'node:perf_hooks';

/** Milliseconds. */
export interface Stall {
  /** Time between two beats of the loop, by the clock: other programs of the machine count as well. */
  readonly wall: number;
  /** Processor time of the thread between two beats, without garbage collection: its own work. */
  readonly cpu: number;
  /** Longest pause for garbage collection. It depends on the whole heap of the process, and not on one input. */
  readonly gc: number;
}

interface Beat {
  readonly from: number;
  readonly to: number;
  readonly cpu: number;
}

const BEAT_MS = 2;
/** Number of beats with the most work that are kept, to take the collections off when their times are known. */
const KEPT_BEATS = 20;

/** Returns a function that gives the longest stalls since its last call. */
export function beat(): () => Stall {
  let longest = 0;
  let beats: Beat[] = [];
  let collections: { from: number; to: number }[] = [];
  // The observer reports a collection one turn of the loop later, so the times are compared only in the result.
  new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries())
      collections.push({ from: startTime, to: startTime + duration });
  }).observe({ entryTypes: ['gc'] });
  let wall = performance.now();
  let cpu = cpuMs();
  setInterval(() => {
    const [wallBefore, cpuBefore] = [wall, cpu];
    wall = performance.now();
    cpu = cpuMs();
    longest = Math.max(longest, wall - wallBefore - BEAT_MS);
    beats.push({ from: wallBefore, to: wall, cpu: cpu - cpuBefore });
    if (beats.length > 2 * KEPT_BEATS) beats = beats.toSorted((a, b) => b.cpu - a.cpu).slice(0, KEPT_BEATS);
  }, BEAT_MS).unref();
  return () => {
    const within = ({ from, to }: Beat): number =>
      collections.reduce((sum, one) => sum + Math.max(0, Math.min(to, one.to) - Math.max(from, one.from)), 0);
    const told = {
      wall: longest,
      cpu: Math.max(0, ...beats.map((one) => one.cpu - within(one))),
      gc: Math.max(0, ...collections.map(({ from, to }) => to - from)),
    };
    longest = 0;
    beats = [];
    collections = [];
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
