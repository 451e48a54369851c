/** Items of a group whose function has no `queue()`: each runs by itself, a few at the same time. */
import { isUtf8 } from 'node:buffer';
import type { ItemResult } from '#contract/invocations/batch.ts';
import { whyNotJson } from '#contract/api/json-scanner.ts';
import { MAX_ITEM_RESULT_BYTES } from '#contract/functions/limits.ts';
import { hasFailed, isRefused, readRetryAfter } from '#contract/invocations/retry.ts';
import type { GroupResults, Item } from '#storage/queued/groups.ts';
import { failed } from './batch-answer.ts';
import { readAnswer } from './collector.ts';

/** Upper bound on items of one group that run at the same time. */
const ITEMS_AT_ONCE = 8;

/** The end of an item that ran by itself. */
export interface ItemEnd {
  readonly result: ItemResult;
  /** JSON. */
  readonly returned?: Buffer;
  /** Milliseconds that a failed item asks to wait before its next try. */
  readonly retryAfterMs?: number | undefined;
}

export interface OneByOne {
  /** For items that run beside the first one, which has the permit of its group's job. */
  readonly spare: SparePermits;
  /** Only one item at a time, because few invocations of its function may run. */
  readonly alone: boolean;
  readonly run: (item: Item) => Promise<ItemEnd> | ItemEnd;
}

/** Adds one result for each item. Resolves to the longest wait that an item asked for. */
export async function oneByOne(
  items: readonly Item[],
  results: GroupResults,
  { spare, alone, run }: OneByOne,
): Promise<{ retryAfterMs: number }> {
  const left = items.values();
  let longestMs = 0;
  const runner = async (): Promise<void> => {
    for (const item of left) {
      const { result, returned, retryAfterMs = 0 } = await run(item);
      results.add(result, returned);
      longestMs = Math.max(longestMs, retryAfterMs);
    }
  };
  const further = async (): Promise<void> => {
    if (!spare.tryTake()) return;
    await runner().finally(() => spare.give());
  };
  const beside = alone ? 0 : Math.min(ITEMS_AT_ONCE, items.length) - 1;
  await Promise.all([runner(), ...Array.from({ length: beside }, further)]);
  return { retryAfterMs: longestMs };
}

/** The end of an item by the response of its function. `now`: Unix time in milliseconds. */
export function endOfItem(item: Item, payload: Buffer, now: number): ItemEnd {
  const answered = readAnswer(payload);
  if (!answered) return { result: failed(item, 'bad_response') };
  const { status, retryAfter, body } = answered;
  if (body.length > MAX_ITEM_RESULT_BYTES) return { result: failed(item, 'response_too_large') };
  const ok = !hasFailed({ outcome: 'ok', status }) && !isRefused({ outcome: 'ok', status });
  return {
    result: { index: item.index, ok, outcome: 'ok', status, tries: item.tries + 1 },
    ...(body.length > 0 && { returned: jsonOf(body) }),
    ...(!ok && { retryAfterMs: readRetryAfter(retryAfter, now) }),
  };
}

/** JSON as it is, but in one line; anything else as text. */
function jsonOf(body: Buffer): Buffer {
  if (!isUtf8(body) || whyNotJson(body) !== undefined)
    return Buffer.from(JSON.stringify(body.toString('utf8')));
  if (!body.includes(LINE_FEED)) return body;
  // There it can stand only where a space can.
  return Buffer.from(body.map((byte) => (byte === LINE_FEED ? SPACE : byte)));
}
const LINE_FEED = 0x0a;
const SPACE = 0x20;

/** Permits for additional runs, used by groups whose items run one by one. Each group has one permit with its job. */
export class SparePermits {
  #free: number;

  constructor(count: number) {
    this.#free = count;
  }

  /** Takes a permit if one is free; a group without one runs its items more slowly and never waits. */
  tryTake(): boolean {
    if (this.#free <= 0) return false;
    this.#free--;
    return true;
  }

  give(): void {
    this.#free++;
  }
}
