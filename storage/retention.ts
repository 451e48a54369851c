/**
 * How many ended invocations of a function are kept. Their records expire by time as well, but a function that is called
 * thousands of times a second would fill Redis long before: what is past the newest so many is removed.
 */
import type { Redis } from 'ioredis';
import { KEY_PREFIX, keys, RECORD_TTL_S } from '#contract/keys.ts';
import { Script } from './script.ts';

/** Removed by one script: Redis does nothing else meanwhile. */
const AT_ONCE = 500;

/** Takes what is over off the list, and gives it back. */
const TAKE = `
redis.call('RPUSH', KEYS[1], unpack(ARGV, 4))
redis.call('EXPIRE', KEYS[1], ARGV[2])
local over = redis.call('LLEN', KEYS[1]) - ARGV[1]
if over <= 0 then return {} end
local ids = redis.call('LPOP', KEYS[1], math.min(over, ${AT_ONCE}))`;
const TAKE_ONLY = new Script(`${TAKE}\nreturn ids`);
/** On one Redis the script removes the keys as well, which costs a tenth of a command for each. */
const TAKE_AND_REMOVE = new Script(`${TAKE}
for _, id in ipairs(ids) do
  local tag = '{' .. id .. '}'
  redis.call('UNLINK', ARGV[3] .. 'invocation:' .. tag, ARGV[3] .. 'input:' .. tag, ARGV[3] .. 'result:' .. tag,
    ARGV[3] .. 'logs:' .. id, ARGV[3] .. 'late-spans:' .. id)
end
return {}`);

export class Retention {
  readonly #redis: Redis;
  readonly #kept: number;

  /** `kept`: of each function. */
  constructor(redis: Redis, kept: number) {
    this.#redis = redis;
    this.#kept = kept;
  }

  /** These have ended, up to a few hundred of them; `list` is one of keys.ended*(). Removes as many of the oldest as there are too many. */
  async ended(list: string, ids: readonly string[]): Promise<void> {
    const values = [this.#kept, RECORD_TTL_S, KEY_PREFIX, ...ids];
    if (!this.#redis.isCluster) return void (await TAKE_AND_REMOVE.run(this.#redis, [list], values));
    // There, the keys of an invocation lie in another slot than the list.
    const over = (await TAKE_ONLY.run(this.#redis, [list], values)) as string[];
    await Promise.all(
      over.flatMap((id) => [
        this.#redis.unlink(keys.invocation(id), keys.input(id), keys.result(id)),
        this.#redis.unlink(keys.logs(id)),
        this.#redis.unlink(keys.lateSpans(id)),
      ]),
    );
  }
}
