/**
 * Takes the items of a batch as they arrive: a group that is full goes to the artifact store and into the queue, and while
 * many of the batch wait already, no more is read from who sends them.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { OffshootError } from '#contract/errors.ts';
import { MAX_GROUP_BYTES, WINDOW_GROUPS } from '#contract/limits.ts';
import { groupRecord, type BatchFacts, type BatchStore } from '#storage/batches.ts';
import type { BlobStore } from '#storage/blobs.ts';
import { sharedNow } from '#storage/clock.ts';
import type { Enqueuer } from '../queued/enqueuer.ts';
import { itemCutter, type ItemForm } from './items.ts';

export interface IntakeDeps {
  readonly batches: BatchStore;
  readonly blobs: BlobStore;
  readonly enqueuer: Enqueuer;
}

/** A group that is not full goes when nothing has come for so long: who sends slowly has each item run soon. */
const QUIET_MS = 50;
const LOOK_AGAIN_MS = 20;
/** Groups that are written at the same time. */
const GROUPS_AT_ONCE = 16;

interface Group {
  readonly items: Buffer[];
  bytes: number;
}

/**
 * Reads a body to its end. Resolves to how many of its items the batch has; rejects with `bad_item` for one that is none, and
 * with `conflict` when the batch takes no more. `details.taken` of both says how many of this body it has all the same.
 */
export async function takeItems(
  deps: IntakeDeps,
  facts: BatchFacts,
  body: AsyncIterable<Buffer>,
  form: ItemForm,
): Promise<number> {
  let full: Group[] = [];
  let filling: Group = { items: [], bytes: 0 };
  let taken = 0;
  let outstanding = 0;
  const cutter = itemCutter(form, (json) => {
    const isFull = filling.items.length >= facts.size || filling.bytes + json.length > MAX_GROUP_BYTES;
    if (isFull && filling.items.length > 0) {
      full.push(filling);
      filling = { items: [], bytes: 0 };
    }
    filling.items.push(json);
    filling.bytes += json.length + 1;
  });
  const flush = async (all: boolean): Promise<void> => {
    const ready = full;
    full = [];
    if (all && filling.items.length > 0) {
      ready.push(filling);
      filling = { items: [], bytes: 0 };
    }
    for (let at = 0; at < ready.length; at += GROUPS_AT_ONCE) {
      const groups = ready.slice(at, at + GROUPS_AT_ONCE);
      if (outstanding + groups.length > WINDOW_GROUPS) await roomIn(deps, facts);
      outstanding = await queueGroups(deps, facts, groups);
      for (const { items } of groups) taken += items.length;
    }
  };
  const read = async (): Promise<void> => {
    for (let next = pieces.next(); ; next = pieces.next()) {
      if (filling.items.length > 0) {
        const quiet = await Promise.race([next.then(() => false), sleep(QUIET_MS, true, { ref: false })]);
        if (quiet) await flush(true);
      }
      const { done, value } = await next;
      if (done === true) break;
      cutter.push(value);
      await flush(false);
    }
    cutter.end();
  };
  const pieces = body[Symbol.asyncIterator]();
  try {
    await read();
    await flush(true);
    return taken;
  } catch (error) {
    if (!(error instanceof OffshootError)) throw error;
    // What came before the mistake is sound, and the sender is told how much that is.
    if (error.code === 'bad_item') await flush(true);
    throw new OffshootError(error.code, error.message, {
      details: { ...error.details, taken, batch: facts.id },
    });
  } finally {
    await pieces.return?.();
  }
}

/** Resolves to the number of groups of the batch that have not ended. */
async function queueGroups(
  { batches, blobs, enqueuer }: IntakeDeps,
  facts: BatchFacts,
  groups: readonly Group[],
): Promise<number> {
  const inputs = await Promise.all(
    groups.map(async ({ items }) => {
      const input = `batches/${facts.id}/in/${randomUUID()}`;
      const lines = Buffer.concat(items.flatMap((item) => [item, LINE_END]));
      await blobs.put(input, lines, { durable: true });
      return input;
    }),
  );
  // Their places in the batch are those of their items in the body, so these are asked for one after the other.
  let outstanding = 0;
  const queueing: Promise<void>[] = [];
  for (const [at, { items, bytes }] of groups.entries()) {
    const added = await batches.add(facts.id, items.length, bytes, inputs[at] ?? '');
    if (!added.added) {
      await Promise.all([...queueing, ...inputs.slice(at).map((input) => blobs.remove(input))]);
      throw new OffshootError('conflict', `the batch takes no more items: it is ${WHY[added.why]}`);
    }
    const { group, first } = added;
    outstanding = added.outstanding;
    const record = groupRecord(facts, group, { first, items: items.length, bytes, at: sharedNow() });
    const queued = enqueuer.queue(record);
    // Its error is thrown below, if no other is before: nobody looks at it then, and it would end the process.
    queued.catch(() => undefined);
    queueing.push(queued);
  }
  await Promise.all(queueing);
  return outstanding;
}
const LINE_END = Buffer.from('\n');
const WHY = { gone: 'not there any more', sealed: 'sealed', cancelled: 'cancelled' } as const;

/** Waits until the batch has room for another group, or will take no more anyway. */
async function roomIn({ batches, enqueuer }: IntakeDeps, facts: BatchFacts): Promise<void> {
  for (;;) {
    const found = await batches.find(facts.id);
    if (!found || found.batch.state !== 'open') return;
    const { groups, groupsDone } = found.batch;
    if (groups - groupsDone < WINDOW_GROUPS && (await enqueuer.hasRoom(facts.namespace))) return;
    await sleep(LOOK_AGAIN_MS);
  }
}
