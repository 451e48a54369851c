/** Lua scripts, sent by their digest, and whole to a Redis that does not know them (any more). */
import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';

export class Script {
  readonly #text: string;
  readonly #sha: string;

  constructor(text: string) {
    this.#text = text;
    this.#sha = createHash('sha1').update(text).digest('hex');
  }

  /** `keys`: of one slot, all that the script touches. */
  run(
    redis: Redis,
    keys: readonly string[],
    values: readonly (string | number | Buffer)[],
  ): Promise<unknown> {
    return redis.evalsha(this.#sha, keys.length, ...keys, ...values).catch((error: unknown) => {
      // A Redis that has been started anew.
      if (error instanceof Error && error.message.startsWith('NOSCRIPT'))
        return redis.eval(this.#text, keys.length, ...keys, ...values);
      throw error;
    });
  }
}
