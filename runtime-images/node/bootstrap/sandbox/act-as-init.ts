/**
 * Does the duties of PID 1 for the runtime, pid_namespaces(7). Orphans become its children, so it reaps them. The kernel drops
 * signals that processes of the namespace send it without a handler, SIGKILL included, so it obeys its own signals itself. A
 * separate init program would do both, but costs a second fork at each start.
 */
import { constants } from 'node:os';
import type { ZygoteAddon } from '../runtime/addon.ts';

/** Delay before another look: threads of native code may still wait for children of their own. */
const LOOK_AGAIN_MS = 20;

/** Signals that end no process without a handler, signal(7). Node ignores SIGPIPE. */
const HARMLESS = new Set<string>([
  'SIGCHLD',
  'SIGCONT',
  'SIGURG',
  'SIGWINCH',
  'SIGSTOP',
  'SIGTSTP',
  'SIGTTIN',
  'SIGTTOU',
  'SIGPIPE',
]);

const numbers = new Map<string, number>(Object.entries(constants.signals));

/** Taken before the function loads, because it may replace the global ones, for example by a test's fake clock. */
const { setImmediate, setTimeout } = globalThis;

/** Takes over the duties of PID 1. `endBySignal` has the sandbox ended as by the signal with this number. */
export function actAsInit(addon: ZygoteAddon, endBySignal: (signal: number) => void): void {
  reapOrphans(addon);
  obeyOwnSignals(endBySignal);
}

function reapOrphans(addon: ZygoteAddon): void {
  let due = false;
  const lookSoon = (): void => {
    if (due) return;
    due = true;
    // The look comes one turn after the timer: by then the event loop has collected the children that Node itself started.
    setTimeout(() => setImmediate(look), LOOK_AGAIN_MS).unref();
  };
  const look = (): void => {
    due = false;
    if (addon.reapOrphans() > 0) lookSoon();
  };
  process.on('SIGCHLD', lookSoon);
}

/**
 * Wraps process.kill() on the main thread. Signals sent by native code and child processes stay under the kernel's rule. abort(3)
 * and faults end this process as any other, since the kernel forces them.
 */
function obeyOwnSignals(endBySignal: (signal: number) => void): void {
  const kill = process.kill.bind(process);
  process.kill = (pid, signal) => {
    // Throws when `signal` is not valid.
    kill(pid, signal);
    const number = typeof signal === 'number' ? signal : (numbers.get(signal ?? 'SIGTERM') ?? 0);
    // 0 means the process group, which PID 1 leads.
    if ((pid === 1 || pid === 0) && endsProcess(number)) endBySignal(number);
    return true;
  };
}

function endsProcess(signal: number): boolean {
  // Some numbers have two names; real-time signals have none.
  const names = [...numbers].filter(([, number]) => number === signal).map(([name]) => name);
  // Signal 0 only asks whether the process exists.
  return signal > 0 && !names.some((name) => HARMLESS.has(name) || process.listenerCount(name) > 0);
}
