/** Spans of a function's own that began after its answer: its record is the gateway's by then, so they lie beside it, as its log does. */
import type { Redis } from 'ioredis';
import type { FunctionSpan } from '#contract/invocations/invocation.ts';
import { keys, RECORD_TTL_S } from '#contract/platform/keys.ts';
import { sendTogether } from '#storage/redis/redis.ts';

/** Those of each try are added to those before. */
export function storeLateSpans(redis: Redis, id: string, spans: readonly FunctionSpan[]): void {
  const key = keys.lateSpans(id);
  const texts = spans.map((span) => JSON.stringify(span));
  sendTogether(redis, [[key, (pipeline) => pipeline.rpush(key, ...texts).expire(key, RECORD_TTL_S)]])
    // Redis is away, and the end of the work is told nobody; that the call was answered is what counts.
    .catch(() => undefined);
}
