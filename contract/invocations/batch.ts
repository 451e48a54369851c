/**
 * Batches: many items for one function. They come in groups, each an invocation of the queued lane of its own. The result of
 * each item is a line of JSON (ItemResult). A sandbox gets the form in payload.ts.
 */
import { z } from 'zod';
import { Canceller, FunctionError, Outcome } from './invocation.ts';

export const BatchState = z.enum(['open', 'running', 'done', 'cancelled']);
export type BatchState = z.infer<typeof BatchState>;

export const Batch = z.object({
  id: z.string(),
  namespace: z.string(),
  name: z.string(),
  version: z.number(),
  /** `open`: more items may come; `running`: all have come, and not all have ended. */
  state: BatchState,
  /** Unix times in milliseconds. */
  createdAt: z.number(),
  endedAt: z.number().optional(),
  /** Set for `cancelled`. */
  cancelledBy: Canceller.optional(),
  /** Items that have come. */
  items: z.number(),
  succeeded: z.number(),
  /** Only those that are not tried again. */
  failed: z.number(),
  groups: z.number(),
  groupsDone: z.number(),
});
export type Batch = z.infer<typeof Batch>;

export const BatchList = z.object({ batches: z.array(Batch) });
export type BatchList = z.infer<typeof BatchList>;

/** Answer to sent items: the number taken from this request, and the state of the whole batch. */
export const ItemsTaken = z.object({ taken: z.number(), batch: Batch });
export type ItemsTaken = z.infer<typeof ItemsTaken>;

/** Result of one item. */
export const ItemResult = z.object({
  /** Place in the batch, from 0. */
  index: z.number(),
  ok: z.boolean(),
  outcome: Outcome,
  /** HTTP status, if the function answers each item by itself. */
  status: z.number().optional(),
  /** Return value of the function: JSON, or text if it was not JSON. */
  result: z.unknown().optional(),
  error: FunctionError.optional(),
  /** Number of tries. */
  tries: z.number(),
});
export type ItemResult = z.infer<typeof ItemResult>;
