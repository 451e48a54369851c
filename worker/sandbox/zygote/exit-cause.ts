/** Decides why a sandbox ended by itself, and whether a limit was behind a failure. Pure functions. */
import type { RuntimeKind } from '#contract/functions/runtimes.ts';
import type { EndingOutcome, LoadFailure, Outcome } from '#contract/invocations/outcome.ts';
import { EXHAUSTED_STATUS } from '#contract/wire/control.ts';
import type { Exit } from './zygote.ts';

/**
 * Returns the outcome of an exit. `oomKills`: number of the sandbox's processes that the kernel killed for memory. A sandbox
 * outlives such a kill by no more than a moment. So memory is the reason, whatever its first process made of the loss of a child.
 * It is too where the runtime itself has found no room for an object.
 */
export function whyEnded(exit: Exit, oomKills: number): EndingOutcome & LoadFailure {
  if (exit.zygoteLost) return 'platform_error';
  if (oomKills > 0 || exit.code === EXHAUSTED_STATUS) return 'out_of_memory';
  return exit.signal === undefined ? 'exited' : 'crashed';
}

/**
 * Returns the outcome of a run during which `refused` processes or threads were refused. A function that copes with the refusal
 * keeps its outcome. A function that ended by it, or names it as its error in the words of its runtime, has hit its limit.
 */
export function blamePids<T extends Outcome>(
  outcome: T,
  refused: number,
  error: string | undefined,
  { refusedProcess }: Pick<RuntimeKind, 'refusedProcess'>,
): T | 'pids_limit' {
  if (refused <= 0) return outcome;
  if (outcome === 'exited' || outcome === 'crashed') return 'pids_limit';
  const mayTell = outcome === 'error' || outcome === 'load_error';
  return mayTell && error !== undefined && refusedProcess.test(error) ? 'pids_limit' : outcome;
}

/**
 * Returns the outcome of a run that failed by `error`: the end of a thread for memory is that limit's doing. The sandbox has no more
 * memory than its threads together.
 */
export function blameMemory<T extends Outcome>(
  outcome: T,
  error: string | undefined,
  { threadExhausted }: Pick<RuntimeKind, 'threadExhausted'>,
): T | 'out_of_memory' {
  const mayTell = outcome === 'error' || outcome === 'load_error';
  return mayTell && error !== undefined && threadExhausted.test(error) ? 'out_of_memory' : outcome;
}
