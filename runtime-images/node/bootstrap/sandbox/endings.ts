/**
 * Ends an invocation or the process at the worker's STOP: the function's code is told, has its time, and what it prints is kept. The
 * worker ends the sandbox when the time is over, so nothing here has to hold.
 */
import type { Stop } from '#contract/wire/channel.ts';
import type { StopHooks } from '../handlers/stop-hooks.ts';
import { currentHandle } from '../output/capture-logs.ts';

/** Share of the grace in which an invocation may end by itself, before the process is told. */
const INVOCATION_SHARE = 0.5;
/** Share of the grace after which the process exits; the rest is for its last output. */
const PROCESS_SHARE = 0.9;
/** Exit code of a process that SIGTERM has ended, as a shell shows it. */
const TERMINATED = 128 + 15;

/** Taken before the function loads, because it may replace them. */
const { setTimeout } = globalThis;
const exit = process.exit.bind(process);

/** An invocation that runs. */
export interface OpenInvocation {
  readonly hooks: StopHooks;
  /** Promises given to waitUntil() that have not settled. */
  readonly pending: ReadonlySet<Promise<unknown>>;
  settled: boolean;
  onSettled?: () => void;
}

/** Has the function listeners for the end of its process? */
export function listensToEnd(): boolean {
  return process.listenerCount('SIGTERM') > 0 || process.listenerCount('exit') > 0;
}

/** `tell` answers the STOP: whether it is of use to wait. `open` is undefined for the sandbox as a whole. */
export async function endAs(
  handle: number,
  stop: Stop,
  open: OpenInvocation | undefined,
  tell: (waits: boolean) => void,
): Promise<void> {
  const { graceMs, reason } = stop;
  const alone = stop.alone === 1;
  const start = performance.now();
  await currentHandle.run(handle, async () => {
    const isHeard = open !== undefined && (open.hooks.stop(reason.toString('utf8')) || open.pending.size > 0);
    if (!isHeard && !(alone && listensToEnd())) return tell(false);
    tell(true);
    if (open && isHeard && (await settles(open, graceMs * INVOCATION_SHARE))) return;
    if (!alone) return;
    if (process.listenerCount('SIGTERM') > 0) {
      process.emit('SIGTERM', 'SIGTERM');
      const left = start + graceMs * PROCESS_SHARE - performance.now();
      // An invocation may end by its process's listener too.
      if (open ? await settles(open, left) : await later(left)) return;
    }
    exit(TERMINATED);
  });
}

async function settles(open: OpenInvocation, ms: number): Promise<boolean> {
  if (open.settled) return true;
  await Promise.race([
    later(ms),
    new Promise<void>((resolve) => {
      open.onSettled = resolve;
    }),
  ]);
  return open.settled;
}

async function later(ms: number): Promise<false> {
  await new Promise((resolve) => setTimeout(resolve, ms));
  return false;
}
