/** Tells which bodies in the artifact store an invocation or a batch still needs, however old they are. */
import type { Redis } from 'ioredis';
import { keys } from '#contract/platform/keys.ts';

const OF_BATCH = /^batches\/([0-9a-f]+)\//;

/** Whether the blob is the input of an invocation, or belongs to a batch, that Redis knows. */
export async function isHeld(redis: Redis, key: string): Promise<boolean> {
  const batch = OF_BATCH.exec(key)?.[1];
  return (await redis.exists(batch === undefined ? keys.heldBlob(key) : keys.batch(batch))) === 1;
}
