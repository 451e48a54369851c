/** Reads the results of a batch as lines of JSON, in the order of its items or in the order in which they ended. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { BatchStore, GroupEntry } from '#storage/queued/batches.ts';
import type { BlobStore } from '#storage/artifacts/blobs.ts';

export interface ResultsDeps {
  readonly batches: BatchStore;
  readonly blobs: BlobStore;
}

export interface ResultsOptions {
  readonly order: 'input' | 'completed';
  /** Wait for groups that have not ended, instead of stopping at them. */
  readonly wait: boolean;
}

const LOOK_AGAIN_MS = 100;
/** Upper bound on the groups that one read fetches. */
const GROUPS_AT_ONCE = 100;

/** Yields lines, in pieces. Beside one piece it holds only numbers of groups, so its memory does not grow with the results. */
export async function* resultsOf(
  deps: ResultsDeps,
  id: string,
  { order, wait }: ResultsOptions,
): AsyncGenerator<Buffer> {
  const { batches } = deps;
  const given = new Set<number>();
  for (let next = 0; ;) {
    const found = await batches.find(id);
    if (!found) return;
    const { groups } = found.batch;
    const isOver = found.batch.endedAt !== undefined;
    if (order === 'input') {
      const entries = await batches.groups(id, next, Math.min(groups, next + GROUPS_AT_ONCE));
      const ready = entries.findIndex((entry) => entry?.done !== true);
      for (const entry of ready === -1 ? entries : entries.slice(0, ready)) yield* linesOf(deps, entry);
      const count = ready === -1 ? entries.length : ready;
      next += count;
      if (count > 0) continue;
    } else {
      const ended = await batches.ended(id, next, GROUPS_AT_ONCE);
      for (const group of ended) {
        // A group that was taken out of the dead letters ends a second time.
        if (given.has(group)) continue;
        given.add(group);
        yield* linesOf(deps, await batches.group(id, group));
      }
      next += ended.length;
      if (ended.length > 0) continue;
    }
    if (isOver || !wait) return;
    await sleep(LOOK_AGAIN_MS);
  }
}

async function* linesOf({ blobs }: ResultsDeps, entry: GroupEntry | undefined): AsyncGenerator<Buffer> {
  const lines = entry?.results === undefined ? undefined : await blobs.open(entry.results);
  if (lines) yield* lines as AsyncIterable<Buffer>;
}
