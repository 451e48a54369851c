/**
 * Stores spans of a function's own that began after its answer. The gateway owns the record by then, so late spans get a list of
 * their own, like the log.
 */
import type { Redis } from 'ioredis';
import type { FunctionSpan } from '#contract/invocations/invocation.ts';
import { keys, RECORD_TTL_S } from '#contract/platform/keys.ts';
import { sendTogether } from '../redis/redis.ts';

/** Adds the late spans of an attempt to those of earlier ones. */
export function storeLateSpans(redis: Redis, id: string, spans: readonly FunctionSpan[]): void {
  const key = keys.lateSpans(id);
  const texts = spans.map((span) => JSON.stringify(span));
  sendTogether(redis, [[key, (pipeline) => pipeline.rpush(key, ...texts).expire(key, RECORD_TTL_S)]])
    // Redis is away, and no caller waits for this; the call itself was answered.
    .catch(() => undefined);
}
