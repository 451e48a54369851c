/** Reads what a sandbox says of the items of a batch. It is a tenant's word: each line is checked, and none is believed missing. */
import { isUtf8 } from 'node:buffer';
import type { ItemResult } from '#contract/batch.ts';
import type { FunctionError } from '#contract/invocation.ts';
import { membersOf } from '#contract/json-scanner.ts';
import { MAX_ITEM_RESULT_BYTES } from '#contract/limits.ts';
import type { Outcome } from '#contract/outcome.ts';
import { decodePayload, NO_QUEUE_HANDLER, type BatchAnswer } from '#contract/payload.ts';
import { inSlices, nextTurn } from '#contract/turns.ts';
import { linesOf, type GroupResults, type Item } from '#storage/groups.ts';
import { readError } from '../run.ts';

/** Longest wait that a function may ask for. */
const MAX_DELAY_S = 86_400;

/** An item that has failed in the try that comes after `item.tries`. */
export function failed(
  item: Pick<Item, 'index' | 'tries'>,
  outcome: Outcome,
  error?: FunctionError,
): ItemResult {
  return { index: item.index, ok: false, outcome, ...(error && { error }), tries: item.tries + 1 };
}

/** Is it the answer of a function that has no `queue()`? */
export function isQueueless(payload: Buffer): boolean {
  // Such an answer is short, and has nothing after its meta part.
  if (payload.length > 1_024) return false;
  try {
    const { meta } = decodePayload(payload) as { meta: { status?: unknown; headers?: unknown } };
    return (
      meta.status === 501 &&
      Array.isArray(meta.headers) &&
      (meta.headers as unknown[]).some((pair) => Array.isArray(pair) && pair[0] === NO_QUEUE_HANDLER)
    );
  } catch {
    return false;
  }
}

/** Adds one result for each of `items`. Returns the longest wait that was asked for. */
export async function readBatchAnswers(
  payload: Buffer,
  items: readonly Item[],
  results: GroupResults,
): Promise<{ retryAfterMs: number }> {
  const unsaid = new Map(items.map((item) => [item.index, item]));
  let retryAfterMs = 0;
  await nextTurn();
  await inSlices(linesOf(bodyOf(payload)), (line) => {
    // One at a time: as values they may be many times as large.
    const answer = parse(line);
    const item = answer && unsaid.get(answer.index);
    if (!item) return;
    unsaid.delete(item.index);
    if (answer.ok)
      results.add({ index: item.index, ok: true, outcome: 'ok', tries: item.tries + 1 }, answer.result);
    else results.add(failed(item, 'error', readError(answer.error)));
    if (!answer.ok && answer.delay !== undefined && answer.delay > 0)
      retryAfterMs = Math.max(retryAfterMs, Math.min(answer.delay, MAX_DELAY_S) * 1000);
  });
  for (const item of unsaid.values())
    results.add(failed(item, 'bad_response', { name: 'Error', message: 'nothing was said of this item' }));
  return { retryAfterMs };
}

function bodyOf(payload: Buffer): Buffer {
  try {
    return decodePayload(payload).body;
  } catch {
    return Buffer.alloc(0);
  }
}

/** A line of the answer. What the function returned stays the JSON that it is. */
interface AnswerLine extends Omit<BatchAnswer, 'result'> {
  readonly result?: Buffer | undefined;
}

function parse(line: Buffer): AnswerLine | undefined {
  if (line.length > MAX_ITEM_RESULT_BYTES * 2 || !isUtf8(line)) return undefined;
  const members = membersOf(line);
  const value = (name: string): unknown => {
    const json = members?.get(name);
    return json && JSON.parse(json.toString('utf8'));
  };
  const [index, ok, delay] = [value('index'), value('ok'), value('delay')];
  if (typeof index !== 'number' || typeof ok !== 'boolean') return undefined;
  const error = ok ? undefined : (value('error') as BatchAnswer['error']);
  return {
    index,
    ok,
    result: members?.get('result'),
    delay: typeof delay === 'number' && delay > 0 ? delay : 0,
    ...(error !== undefined && { error }),
  };
}
