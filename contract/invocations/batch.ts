/**
 * Batches: many items for one function. They come in groups, each an invocation of the queued lane of its own; what comes of
 * each item is a line of JSON (ItemResult). What a sandbox sees of it is in payload.ts.
 */
import { z } from 'zod';
import { FunctionError } from './invocation.ts';
import { Outcome } from './outcome.ts';

export const BatchState = z.enum(['open', 'running', 'done', 'cancelled']);
export type BatchState = z.infer<typeof BatchState>;

export const Batch = z.object({
  id: z.string(),
  namespace: z.string(),
  name: z.string(),
  version: z.number(),
  /** `open`: more items may come; `running`: they have all come, and not all have ended. */
  state: BatchState,
  /** Unix times in milliseconds. */
  createdAt: z.number(),
  endedAt: z.number().optional(),
  /** Items that have come. */
  items: z.number(),
  succeeded: z.number(),
  /** Of those that are not tried again. */
  failed: z.number(),
  groups: z.number(),
  groupsDone: z.number(),
});
export type Batch = z.infer<typeof Batch>;

export const BatchList = z.object({ batches: z.array(Batch) });
export type BatchList = z.infer<typeof BatchList>;

/** Answer to items that were sent: how many the batch has of this request, and of all. */
export const ItemsTaken = z.object({ taken: z.number(), batch: Batch });
export type ItemsTaken = z.infer<typeof ItemsTaken>;

/** What came of one item. */
export const ItemResult = z.object({
  /** Place in the batch, from 0. */
  index: z.number(),
  ok: z.boolean(),
  outcome: Outcome,
  /** HTTP status, where the function answers each item by itself. */
  status: z.number().optional(),
  /** What the function returned: JSON, or text where it was none. */
  result: z.unknown().optional(),
  error: FunctionError.optional(),
  /** How often it was tried. */
  tries: z.number(),
});
export type ItemResult = z.infer<typeof ItemResult>;
