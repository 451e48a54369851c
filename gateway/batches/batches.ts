/** The stores that the routes of batches need, and cancelling a batch with all of its groups. */
import type { BatchStore } from '#storage/queued/batches.ts';
import { groupInvocationId } from '#storage/queued/batches.ts';
import type { BlobStore } from '#storage/artifacts/blobs.ts';
import { OffshootError } from '#contract/api/errors.ts';
import type { QueueControl } from '../queued/control.ts';
import type { IntakeDeps } from './intake.ts';

/** Upper bound on the groups whose state one read fetches. */
const GROUPS_AT_ONCE = 500;

export class Batches implements IntakeDeps {
  readonly store: BatchStore;
  readonly blobs: BlobStore;
  readonly #queued: QueueControl;

  constructor(store: BatchStore, blobs: BlobStore, queued: QueueControl) {
    this.store = store;
    this.blobs = blobs;
    this.#queued = queued;
  }

  get batches(): BatchStore {
    return this.store;
  }

  get enqueuer(): QueueControl['enqueuer'] {
    return this.#queued.enqueuer;
  }

  /** Ends a batch: no further item begins, and running ones are killed. `key`: id of the API key that asks for it. */
  async cancel(id: string, key: string): Promise<void> {
    await this.store.cancel(id, { by: 'key', key });
    const groups = (await this.store.find(id))?.batch.groups ?? 0;
    for (let from = 0; from < groups; from += GROUPS_AT_ONCE) {
      const entries = await this.store.groups(id, from, Math.min(groups, from + GROUPS_AT_ONCE));
      for (const [at, entry] of entries.entries()) {
        if (!entry || entry.done) continue;
        await this.#cancelGroup(id, from + at, key);
      }
    }
  }

  async #cancelGroup(id: string, group: number, key: string): Promise<void> {
    try {
      await this.#queued.cancel(groupInvocationId(id, group), { by: 'batch', key });
    } catch (error) {
      // The group has ended meanwhile, or is about to be queued and will see that its batch is cancelled.
      if (error instanceof OffshootError && ENDED.has(error.code)) return;
      throw error;
    }
  }
}
const ENDED: ReadonlySet<string> = new Set(['already_ended', 'invocation_not_found']);
