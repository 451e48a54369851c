/**
 * The error for an artifact store that is away before a run has begun. The invocation then waits in the queue, and no attempt is
 * counted.
 */
import { OffshootError } from '#contract/api/errors.ts';

export class StoreAway extends Error {
  static readonly LOOK_AGAIN_MS = 2_000;
  override readonly name = 'StoreAway';
}

/** Awaits a read that is needed before the run. Throws StoreAway when the store does not answer. */
export async function beforeStart<T>(reading: Promise<T>): Promise<T> {
  try {
    return await reading;
  } catch (error) {
    if (!(error instanceof OffshootError) || error.code !== 'storage_unavailable') throw error;
    throw new StoreAway('the artifact store is away', { cause: error });
  }
}
