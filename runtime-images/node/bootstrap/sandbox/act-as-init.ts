/**
 * What is different for a runtime that is PID 1 of its namespace: orphans become its children and wait to be reaped, and
 * the kernel keeps from it what a process of the namespace sends to it without there being a handler, SIGKILL included
 * (pid_namespaces(7)). A program in between that is PID 1 would do both, for a second fork at each start.
 */
import { constants } from 'node:os';
import type { ZygoteAddon } from '../main.ts';

/** Time for threads of native code that wait for children of their own. */
const LOOK_AGAIN_MS = 20;

/** Signals that end no process which has no handler, signal(7). SIGPIPE is one that Node ignores. */
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

/** A function may replace the global ones, by a clock that is played for a test for example. */
const { setImmediate, setTimeout } = globalThis;

/** `endBySignal` has the sandbox ended as by a signal of this number. */
export function actAsInit(addon: ZygoteAddon, endBySignal: (signal: number) => void): void {
  reapOrphans(addon);
  obeyOwnSignals(endBySignal);
}

function reapOrphans(addon: ZygoteAddon): void {
  let due = false;
  const lookSoon = (): void => {
    if (due) return;
    due = true;
    // The turn after the timer: in between, the event loop has seen the end of the children that the runtime knows.
    setTimeout(() => setImmediate(look), LOOK_AGAIN_MS).unref();
  };
  const look = (): void => {
    due = false;
    if (addon.reapOrphans() > 0) lookSoon();
  };
  process.on('SIGCHLD', lookSoon);
}

/**
 * process.kill() of the main thread. Native code and child processes meet the kernel's rule; but abort(3) and faults end
 * this process as any other, since the kernel forces them.
 */
function obeyOwnSignals(endBySignal: (signal: number) => void): void {
  const kill = process.kill.bind(process);
  process.kill = (pid, signal) => {
    // Throws what is no signal.
    kill(pid, signal);
    const number = typeof signal === 'number' ? signal : (numbers.get(signal ?? 'SIGTERM') ?? 0);
    // 0 is the process group, which PID 1 leads.
    if ((pid === 1 || pid === 0) && endsProcess(number)) endBySignal(number);
    return true;
  };
}

function endsProcess(signal: number): boolean {
  // Some numbers have two names; real-time signals have none.
  const names = [...numbers].filter(([, number]) => number === signal).map(([name]) => name);
  // 0 only asks whether the process is there.
  return signal > 0 && !names.some((name) => HARMLESS.has(name) || process.listenerCount(name) > 0);
}
