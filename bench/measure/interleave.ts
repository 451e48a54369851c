/**
 * Runs contestants in turns. A machine drifts while a benchmark runs, so compared figures must drift together: A B A B,
 * not A A B B.
 */
import { missing, type Figure, type Unit } from './stats.ts';

export interface Contestant<T> {
  readonly row: string;
  /**
   * Number of turns that count. The contestant with the most sets the pace, and the turns of the others are spread over
   * the whole run.
   */
  readonly turns: number;
  /** Number of turns before those, whose results are discarded. */
  readonly warmUp: number;
  turn(): Promise<T>;
}

export interface Standing<T> {
  readonly row: string;
  readonly results: readonly T[];
  /** Reason for which it dropped out. */
  readonly failure?: string;
}

/** Runs all contestants to their end. One that fails drops out with its reason, and the others go on. */
export async function interleave<T>(
  contestants: readonly Contestant<T>[],
  stopping: AbortSignal,
): Promise<Standing<T>[]> {
  const states = contestants.map((contestant) => ({ contestant, results: [] as T[], failure: '' }));
  const take = async (state: (typeof states)[number]): Promise<T | undefined> => {
    stopping.throwIfAborted();
    if (state.failure) return undefined;
    try {
      return await state.contestant.turn();
    } catch (error) {
      stopping.throwIfAborted();
      state.failure = messageOf(error);
      return undefined;
    }
  };
  for (const state of states) for (let turn = 0; turn < state.contestant.warmUp; turn++) await take(state);
  const pace = Math.max(0, ...contestants.map(({ turns }) => turns));
  for (let round = 0; round < pace; round++) {
    for (const state of states) {
      if (!hasTurn(state.contestant.turns, round, pace)) continue;
      const result = await take(state);
      if (result !== undefined) state.results.push(result);
    }
  }
  return states.map(({ contestant: { row }, results, failure }) => ({
    row,
    results,
    ...(failure && { failure }),
  }));
}

/** A standing's figure; `of` computes it from the results. */
export function figureOf<T>(
  { row, results, failure }: Standing<T>,
  unit: Unit,
  of: (results: readonly T[], row: string) => Figure,
): Figure {
  return failure === undefined ? of(results, row) : missing(row, unit, failure);
}

/** Spreads `turns` evenly over `pace` rounds. */
function hasTurn(turns: number, round: number, pace: number): boolean {
  return Math.floor(((round + 1) * turns) / pace) > Math.floor((round * turns) / pace);
}

/** First line of the error, for a table. */
export function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.trim().split('\n')[0] || 'it failed without a word';
}
