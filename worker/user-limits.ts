/**
 * Limits of the service user that all sandboxes together use up. The kernel counts processes, and queued signals with POSIX
 * timers, for a sandbox's own user and for every user above (ucounts): the last is the service user, whom all tenants share.
 */
import { readFileSync } from 'node:fs';

/** Pending signals of one sandbox at most. Runtimes use none; programs in C with timers use a few. */
const MOST = 64;
/** Pending signals of one sandbox at least, even where all of them together could pass the limit. */
const LEAST = 8;
/** Share of the limit that all sandboxes together may use; the rest is the platform's. */
const SHARE = 0.5;

/** Pending signals of each of so many sandboxes; `limit` is the service user's, in signals, Infinity for none. */
export function pendingSignalsEach(limit: number, sandboxes: number): number {
  return Math.min(MOST, Math.max(LEAST, Math.floor((limit * SHARE) / sandboxes)));
}

/** The soft limit of this process, which its launchers take over: it is what the kernel holds sandboxes to. */
export function pendingSignalsHere(): number {
  return softLimit('Max pending signals');
}

/** Processes and threads that this process's user may have, in all user namespaces below it; Infinity for no limit. */
export function processesHere(): number {
  return softLimit('Max processes');
}

/** proc_pid_limits(5) */
function softLimit(name: string): number {
  const soft = new RegExp(`^${name}\\s+(\\S+)`, 'm').exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  return soft === undefined || soft === 'unlimited' ? Infinity : Number(soft);
}
