/**
 * Computes limits for all sandboxes of a host together, so that the platform's own processes and the host keep the rest. Each
 * sandbox's own limit is no help there: enough sandboxes together could still take everything.
 */
import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { processesHere } from './user-limits.ts';

const MB = 1024 * 1024;
/** Lower bound on the memory left to Redis, gateways, workers and the host, which is a sixteenth otherwise. */
const LEAST_RESERVE_BYTES = 512 * MB;

export interface CommonLimits {
  readonly memoryBytes: number;
  readonly pids: number;
}

/**
 * `memory`: the host's, in bytes; `processes`: the limit for this user. On a very small host, sandboxes get half of the memory.
 */
export function commonLimits(memory: number, processes: number): CommonLimits {
  const reserve = Math.min(Math.max(memory / 16, LEAST_RESERVE_BYTES), memory / 2);
  return { memoryBytes: Math.floor(memory - reserve), pids: Math.floor((processes * 7) / 8) };
}

/**
 * Limits for this host. Processes of sandboxes count for the service user too, who could start no more at its limit. threads-max
 * may be below pid_max.
 */
export function commonLimitsHere(): CommonLimits {
  const bounds = ['pid_max', 'threads-max'].map((name) =>
    Number(readFileSync(`/proc/sys/kernel/${name}`, 'utf8')),
  );
  return commonLimits(totalmem(), Math.min(...bounds, processesHere()));
}
