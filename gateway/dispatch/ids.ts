/** Makes random identifiers. They come from a pool, because a call of the system's generator for each would cost more. */
import { randomFillSync } from 'node:crypto';

const pool = Buffer.alloc(8192);
let at = pool.length;

function randomHex(bytes: number): string {
  if (at + bytes > pool.length) {
    randomFillSync(pool);
    at = 0;
  }
  at += bytes;
  return pool.toString('hex', at - bytes, at);
}

/** Id of an invocation: 32 hexadecimal digits. */
export function newInvocationId(): string {
  return randomHex(16);
}

/** https://www.w3.org/TR/trace-context/#trace-id. All zeros is not allowed, but has a chance of only 1 in 2^128. */
export function newTraceId(): string {
  return randomHex(16);
}

export function newSpanId(): string {
  return randomHex(8);
}
