/** Why a sandbox ended that nobody ended on purpose, and whether a limit is behind a failure: pure decisions. */
import type { Outcome } from '#contract/outcome.ts';
import type { Exit } from './sandbox/zygote.ts';

export type ExitOutcome = 'out_of_memory' | 'crashed' | 'exited' | 'platform_error';

/**
 * `oomKills`: processes of the sandbox that the kernel has ended for memory. A sandbox outlives none of them by more than a
 * moment, so memory is the reason, whatever its first process made of the loss of a child.
 */
export function whyEnded(exit: Exit, oomKills: number): ExitOutcome {
  if (exit.zygoteLost) return 'platform_error';
  if (oomKills > 0) return 'out_of_memory';
  return exit.signal === undefined ? 'exited' : 'crashed';
}

/** How Node and libuv say that a process or thread could not be made. */
const REFUSED = /EAGAIN|ERR_WORKER_INIT_FAILED|Resource temporarily unavailable/;

/**
 * The outcome, when `refused` processes or threads were refused meanwhile. A function that lives with that is none the
 * worse for it; one that was ended by it, or says itself that it failed by it, has met its limit.
 */
export function blamePids<T extends Outcome>(
  outcome: T,
  refused: number,
  error: string | undefined,
): T | 'pids_limit' {
  if (refused <= 0) return outcome;
  if (outcome === 'exited' || outcome === 'crashed') return 'pids_limit';
  const mayTell = outcome === 'error' || outcome === 'load_error';
  return mayTell && error !== undefined && REFUSED.test(error) ? 'pids_limit' : outcome;
}
