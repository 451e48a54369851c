/**
 * Reads limits of the service user that all sandboxes together use up. The kernel counts processes, and queued signals with POSIX
 * timers, for a sandbox's own user and for every user above it (ucounts). The last of them is the service user, shared by all
 * tenants.
 */
import { readFileSync } from 'node:fs';

/** Upper bound on pending signals of one sandbox. Runtimes use none; programs in C with timers use a few. */
const MOST = 64;
/** Lower bound on pending signals of one sandbox, even where all sandboxes together could exceed the limit. */
const LEAST = 8;
/** Share of the limit that all sandboxes together may use; the rest is the platform's. */
const SHARE = 0.5;

/**
 * Returns the pending signals for each of `sandboxes` sandboxes; `limit` is the service user's, in signals, Infinity for none.
 */
export function pendingSignalsEach(limit: number, sandboxes: number): number {
  return Math.min(MOST, Math.max(LEAST, Math.floor((limit * SHARE) / sandboxes)));
}

/** Returns the soft limit of this process, which its launchers inherit: the kernel holds sandboxes to it. */
export function pendingSignalsHere(): number {
  return softLimit('Max pending signals');
}

/**
 * Returns the number of processes and threads that this process's user may have, in all user namespaces below it; Infinity for no
 * limit.
 */
export function processesHere(): number {
  return softLimit('Max processes');
}

/** Reads a soft limit, proc_pid_limits(5). */
function softLimit(name: string): number {
  const soft = new RegExp(`^${name}\\s+(\\S+)`, 'm').exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  return soft === undefined || soft === 'unlimited' ? Infinity : Number(soft);
}
