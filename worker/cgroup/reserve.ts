/**
 * What all sandboxes of a host may have together, so that the platform's own processes and the host keep the rest: with
 * every limit of every sandbox kept, enough of them would still take everything.
 */
import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { processesHere } from '../user-limits.ts';

const MB = 1024 * 1024;
/** Memory that is left to Redis, gateways, workers and the host: a sixteenth, but not less than this. */
const LEAST_RESERVE_BYTES = 512 * MB;

export interface CommonLimits {
  readonly memoryBytes: number;
  readonly pids: number;
}

/** `memory` in bytes is what the host has, `processes` what this user may have of it. On a very small host half of its memory is left to sandboxes. */
export function commonLimits(memory: number, processes: number): CommonLimits {
  const reserve = Math.min(Math.max(memory / 16, LEAST_RESERVE_BYTES), memory / 2);
  return { memoryBytes: Math.floor(memory - reserve), pids: Math.floor((processes * 7) / 8) };
}

/**
 * Those of this host. Processes of sandboxes count for the service user as well, who could start no more where they reached
 * its limit; and threads-max may be below the numbers that there are.
 */
export function commonLimitsHere(): CommonLimits {
  const bounds = ['pid_max', 'threads-max'].map((name) =>
    Number(readFileSync(`/proc/sys/kernel/${name}`, 'utf8')),
  );
  return commonLimits(totalmem(), Math.min(...bounds, processesHere()));
}
