/** Runs Lua scripts by their digest, and sends the whole text to a Redis that does not have it (any more). */
import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';

export class Script {
  readonly #text: string;
  readonly #sha: string;

  constructor(text: string) {
    this.#text = text;
    this.#sha = createHash('sha1').update(text).digest('hex');
  }

  /** `keys`: all keys that the script touches, in one slot. */
  run(
    redis: Redis,
    keys: readonly string[],
    values: readonly (string | number | Buffer)[],
  ): Promise<unknown> {
    return redis.evalsha(this.#sha, keys.length, ...keys, ...values).catch((error: unknown) => {
      // Redis has restarted since, and has no scripts.
      if (error instanceof Error && error.message.startsWith('NOSCRIPT'))
        return redis.eval(this.#text, keys.length, ...keys, ...values);
      throw error;
    });
  }
}
