/**
 * Gives a batch to the function's `queue(batch, env, ctx)`, and reports each item by itself: one item's failure need not fail the
 * others.
 */
import {
  encodePayload,
  NO_QUEUE_HANDLER,
  type BatchAnswer,
  type BatchRequest,
} from '#contract/wire/payload.ts';
import { ChannelKind } from '#contract/wire/channel.ts';
import { describeError } from '../runtime/describe-error.ts';
import type { FunctionContext, Invocation } from './invocation.ts';
import { sendWhole } from './body.ts';

/** One item of a batch, as the function sees it. */
export interface Message {
  readonly id: string;
  /** Position in the batch, from 0. */
  readonly index: number;
  readonly body: unknown;
  /** Number of attempts, this one included. */
  readonly attempts: number;
  /** Marks the item done, whatever happens to the others; `result` appears in the batch's results. */
  ack(result?: unknown): void;
  /** Has the item tried again, whatever happens to the others. */
  retry(options?: { delaySeconds?: number }): void;
}

export interface MessageBatch {
  readonly id: string;
  readonly messages: readonly Message[];
  ackAll(): void;
  retryAll(options?: { delaySeconds?: number }): void;
}

export type QueueHandler = (batch: MessageBatch, env: object, context: FunctionContext) => unknown;

const EMPTY = new Uint8Array(0);

/** Tells the worker to call the function for each item by itself. */
export function refuseBatch(invocation: Invocation): void {
  const meta = { status: 501, headers: [[NO_QUEUE_HANDLER, '1']] as [string, string][] };
  invocation.send(ChannelKind.RESULT, encodePayload(meta, EMPTY));
}

/**
 * Calls `queue` and sends a line for each item. An item that was neither acknowledged nor retried is done when `queue` returns,
 * and has failed when it throws. If `queue` returns an array with a value for each item, the values are the results.
 */
export async function answerBatch(
  invocation: Invocation,
  body: Buffer,
  queue: (batch: MessageBatch) => unknown,
): Promise<void> {
  const { id, items } = JSON.parse(body.toString('utf8')) as BatchRequest;
  const decided = new Map<number, BatchAnswer>();
  const messages = items.map(({ index, tries, body: value }): Message => {
    return {
      id: `${id}-${index}`,
      index,
      body: value,
      attempts: tries,
      ack: (result) => void decided.set(index, { index, ok: true, result }),
      retry: (options) => void decided.set(index, asked(index, options)),
    };
  });
  const undecided = (): Message[] => messages.filter(({ index }) => !decided.has(index));
  let returned: unknown;
  let error: ReturnType<typeof describeError> | undefined;
  try {
    returned = await queue({
      id,
      messages,
      ackAll: () => undecided().forEach((message) => message.ack()),
      retryAll: (options) => undecided().forEach((message) => message.retry(options)),
    });
  } catch (thrown) {
    error = describeError(thrown);
    console.error(error.stack ?? `${error.name}: ${error.message}`);
  }
  const values = Array.isArray(returned) && returned.length === messages.length ? returned : undefined;
  const lines = messages.map(({ index }, at) =>
    line(
      decided.get(index) ??
        (error ? { index, ok: false, error } : { index, ok: true, result: values?.[at] as unknown }),
    ),
  );
  const meta = { status: 200, headers: [['content-type', 'application/x-ndjson']] as [string, string][] };
  await sendWhole(invocation, meta, Buffer.from(lines.join('')));
}

function asked(index: number, options: { delaySeconds?: number } | undefined): BatchAnswer {
  const error = { name: 'Retry', message: 'the function asked for another try' };
  const delay = options?.delaySeconds ?? 0;
  return { index, ok: false, error, ...(delay > 0 && { delay }) };
}

function line(answer: BatchAnswer): string {
  try {
    return `${JSON.stringify(answer)}\n`;
  } catch (error) {
    const { name, message } = describeError(error);
    return `${JSON.stringify({ index: answer.index, ok: false, error: { name, message: `its result is not JSON: ${message}` } })}\n`;
  }
}
