/**
 * Reads the answer of a sandbox about the items of a batch. A tenant wrote it, so each line is checked, and an item without a
 * valid line counts as failed.
 */
import { isUtf8 } from 'node:buffer';
import type { ItemResult } from '#contract/invocations/batch.ts';
import type { FunctionError } from '#contract/invocations/invocation.ts';
import { membersOf } from '#contract/api/json-scanner.ts';
import { MAX_ITEM_RESULT_BYTES } from '#contract/functions/limits.ts';
import type { Outcome } from '#contract/invocations/outcome.ts';
import { decodePayload, NO_QUEUE_HANDLER, type BatchAnswer } from '#contract/wire/payload.ts';
import { inSlices, nextSlice } from '#contract/platform/slices.ts';
import { linesOf, type GroupResults, type Item } from '#storage/queued/groups.ts';
import { readError } from '../run/failure.ts';

/** Upper bound on the delay that a function may ask for. */
const MAX_DELAY_S = 86_400;

/** Result of an item that has failed in the attempt after `item.tries`. */
export function failed(
  item: Pick<Item, 'index' | 'tries'>,
  outcome: Outcome,
  error?: FunctionError,
): ItemResult {
  return { index: item.index, ok: false, outcome, ...(error && { error }), tries: item.tries + 1 };
}

/** Is the payload the answer of a function that has no `queue()`? */
export function isQueueless(payload: Buffer): boolean {
  // Such an answer is short, and has no body.
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

/** Adds one result for each of `items`. Returns the longest delay that the function asked for. */
export async function readBatchAnswers(
  payload: Buffer,
  items: readonly Item[],
  results: GroupResults,
): Promise<{ retryAfterMs: number }> {
  const unsaid = new Map(items.map((item) => [item.index, item]));
  let retryAfterMs = 0;
  await nextSlice();
  await inSlices(linesOf(bodyOf(payload)), (line) => {
    // Parsed one at a time: as values they may be many times as large.
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
    results.add(
      failed(item, 'bad_response', { name: 'Error', message: 'the answer does not mention this item' }),
    );
  return { retryAfterMs };
}

function bodyOf(payload: Buffer): Buffer {
  try {
    return decodePayload(payload).body;
  } catch {
    return Buffer.alloc(0);
  }
}

/** A line of the answer; the function's result stays unparsed JSON. */
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
