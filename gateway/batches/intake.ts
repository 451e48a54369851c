/**
 * Takes the items of a batch as they arrive. A full group goes to the artifact store and into the queue. While many groups of
 * the batch wait already, the gateway stops reading from the client.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { OffshootError } from '#contract/api/errors.ts';
import { MAX_GROUP_BYTES, WINDOW_GROUPS } from '#contract/functions/limits.ts';
import { groupRecord, type Added, type BatchFacts, type BatchStore } from '#storage/queued/batches.ts';
import type { BlobStore } from '#storage/artifacts/blobs.ts';
import { sharedNow } from '#storage/redis/clock.ts';
import { redisError } from '#storage/redis/redis.ts';
import { nextSlice } from '#contract/platform/slices.ts';
import type { Enqueuer, Room } from '../queued/enqueuer.ts';
import { itemCutter, type ItemForm } from './items.ts';

export interface IntakeDeps {
  readonly batches: BatchStore;
  readonly blobs: BlobStore;
  readonly enqueuer: Enqueuer;
}

/** Pause of the client after which a group that is not full is queued, so that the items of a slow client run soon. */
const QUIET_MS = 50;
/** Upper bound on the bytes that are cut in one turn of the event loop: each of them may be an item. */
const PIECE_BYTES = 16 * 1024;
const LOOK_AGAIN_MS = 20;
/** Upper bound on the groups that are written to the store at the same time. */
const GROUPS_AT_ONCE = 16;

interface Group {
  readonly items: Buffer[];
  bytes: number;
}

interface HeldRoom extends Extract<Added, { added: true }> {
  readonly room: Room;
}

/**
 * Reads a body to its end and resolves to the number of items that the batch took. Rejects with `bad_item` for an invalid item,
 * and with `conflict` when the batch takes no more. `details.taken` of every error is the number of items taken before it. With
 * `redis_unavailable` only confirmed items are counted; the state of the batch shows whether it has the group in transit too.
 * `gone`: aborted when the client has disconnected; no further item is queued then.
 */
export async function takeItems(
  deps: IntakeDeps,
  facts: BatchFacts,
  body: AsyncIterable<Buffer>,
  form: ItemForm,
  gone: AbortSignal,
): Promise<number> {
  const intake = new Intake(deps, facts, gone);
  try {
    await intake.read(body, form);
    await intake.flush(true);
    return intake.taken;
  } catch (error) {
    gone.throwIfAborted();
    throw await intake.refusal(error);
  }
}

class Intake {
  readonly #deps: IntakeDeps;
  readonly #facts: BatchFacts;
  readonly #gone: AbortSignal;
  #full: Group[] = [];
  #filling: Group = { items: [], bytes: 0 };
  /** Items that have their room in the batch. */
  taken = 0;

  constructor(deps: IntakeDeps, facts: BatchFacts, gone: AbortSignal) {
    this.#deps = deps;
    this.#facts = facts;
    this.#gone = gone;
  }

  async read(body: AsyncIterable<Buffer>, form: ItemForm): Promise<void> {
    const cutter = itemCutter(form, (json) => this.#take(json));
    const pieces = body[Symbol.asyncIterator]();
    try {
      for (let next = pieces.next(); ; next = pieces.next()) {
        if (this.#filling.items.length > 0) {
          const quiet = await Promise.race([next.then(() => false), sleep(QUIET_MS, true, { ref: false })]);
          if (quiet) await this.flush(true);
        }
        const { done, value } = await next;
        if (done === true) break;
        for (let at = 0; at < value.length; at += PIECE_BYTES) {
          // Other requests get a turn between pieces, however fast this client sends.
          await nextSlice();
          cutter.push(value.subarray(at, at + PIECE_BYTES));
          await this.flush(false);
        }
      }
      cutter.end();
    } finally {
      // Not awaited: return() waits for the next piece, but the client waits for the answer.
      pieces.return?.().catch(() => undefined);
    }
  }

  #take(json: Buffer): void {
    const { items, bytes } = this.#filling;
    const isFull = items.length >= this.#facts.size || bytes + json.length > MAX_GROUP_BYTES;
    if (isFull && items.length > 0) {
      this.#full.push(this.#filling);
      this.#filling = { items: [], bytes: 0 };
    }
    this.#filling.items.push(json);
    this.#filling.bytes += json.length + 1;
  }

  /** Queues the full groups; with `all`, also the one that is being filled. */
  async flush(all: boolean): Promise<void> {
    const ready = this.#full;
    this.#full = [];
    if (all && this.#filling.items.length > 0) {
      ready.push(this.#filling);
      this.#filling = { items: [], bytes: 0 };
    }
    for (let at = 0; at < ready.length; at += GROUPS_AT_ONCE)
      await this.#queue(ready.slice(at, at + GROUPS_AT_ONCE));
  }

  /** The error for the client, with the number of items that were taken before it. */
  async refusal(error: unknown): Promise<OffshootError> {
    let told = redisError(error);
    // The items before the invalid one are valid, so they are queued.
    try {
      if (told.code === 'bad_item') await this.flush(true);
    } catch (later) {
      told = redisError(later);
    }
    return new OffshootError(told.code, told.message, {
      cause: error,
      details: { ...told.details, taken: this.taken, batch: this.#facts.id },
      id: this.#facts.id,
    });
  }

  async #queue(groups: readonly Group[]): Promise<void> {
    const { blobs, enqueuer } = this.#deps;
    const inputs = await Promise.all(groups.map((group) => this.#keep(group)));
    // Groups keep the order of their items in the body, so their rooms are requested one after the other.
    const queueing: Promise<void>[] = [];
    for (const [at, { items, bytes }] of groups.entries()) {
      const held = await this.#takeRoom(items.length, bytes, inputs[at] ?? '').catch(
        async (error: unknown) => {
          await Promise.allSettled(queueing);
          // A group whose request got no answer from Redis may have its room, so its input stays.
          const unused = inputs.slice(error instanceof Unanswered ? at + 1 : at);
          await Promise.all(unused.map((input) => blobs.remove(input)));
          throw error instanceof Unanswered ? error.cause : error;
        },
      );
      this.taken += items.length;
      const { group, first, room } = held;
      const facts = { first, items: items.length, bytes, at: sharedNow() };
      const queued = enqueuer.queue(groupRecord(this.#facts, group, facts)).finally(() => room.queued());
      // Promise.all below throws its error, unless another one came first: then an unhandled rejection would end the process.
      queued.catch(() => undefined);
      queueing.push(queued);
    }
    await Promise.all(queueing);
  }

  async #keep({ items }: Group): Promise<string> {
    const input = `batches/${this.#facts.id}/in/${randomUUID()}`;
    const lines = Buffer.concat(items.flatMap((item) => [item, LINE_END]));
    await this.#deps.blobs.put(input, lines, { durable: true });
    return input;
  }

  /** Waits for room in the window of the batch and in the queue of its namespace, and takes both. */
  async #takeRoom(items: number, bytes: number, input: string): Promise<HeldRoom> {
    const { batches, enqueuer } = this.#deps;
    const { id, namespace } = this.#facts;
    for (;;) {
      this.#gone.throwIfAborted();
      const room = await enqueuer.takeRoom(namespace);
      // Asked also when the queue is full (with a window of 0): the answer tells when the batch takes no more anyway.
      const adding = batches.add(id, items, bytes, input, room ? WINDOW_GROUPS : 0);
      const added = await adding.catch((error: unknown) => {
        room?.giveBack();
        throw new Unanswered('the batch was asked for room', { cause: error });
      });
      if (added.added && room) return { ...added, room };
      room?.giveBack();
      if (!added.added && added.why !== 'full')
        throw new OffshootError('conflict', `the batch takes no more items: it is ${WHY[added.why]}`);
      await sleep(LOOK_AGAIN_MS, undefined, { signal: this.#gone });
    }
  }
}
/** Redis did not answer a request for room, so the group may have it or not. */
class Unanswered extends Error {}

const LINE_END = Buffer.from('\n');
const WHY = { gone: 'not there any more', sealed: 'sealed', cancelled: 'cancelled' } as const;
