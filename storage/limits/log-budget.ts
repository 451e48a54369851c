/**
 * Bounds the bytes of logs that are kept of a function. A list in Redis names the parts that were written, oldest first. Parts
 * over the budget are removed from the logs of their invocations, ended or not, and from the function's stream. This costs one
 * command per second for each function that prints, and none for a call.
 */
import type { ChainableCommander, Redis } from 'ioredis';
import { keys, RECORD_TTL_S } from '#contract/platform/keys.ts';
import { LOG_STREAM_BYTES } from '#contract/functions/limits.ts';
import { type Log, LogThrottle } from '../log.ts';
import { sendTogether } from '../redis/redis.ts';
import { Script } from '../redis/script.ts';

/** Memory of Redis that a part of a log takes beside its text: its key, its expiry, its place in the list. */
const PART_BYTES = 256;
const FLUSH_MS = 1_000;
/** Output of one function after which its account in Redis is updated at once. */
const FLUSH_BYTES = 1024 * 1024;
/** Upper bound on the parts that one script removes beyond the number that it adds, because Redis is blocked meanwhile. */
const AT_ONCE = 500;

/**
 * Adds parts (cost, lines, id), and returns those over the budget, as id and lines in turn. Redis itself measures the stream.
 * Where it does not, as in some hosted services, the number of entries bounds the stream.
 */
const KEEP = new Script(`
local total = tonumber(redis.call('GET', KEYS[2]) or '0')
for at = 4, #ARGV, 3 do
  redis.call('RPUSH', KEYS[1], ARGV[at] .. ' ' .. ARGV[at + 1] .. ' ' .. ARGV[at + 2])
  total = total + ARGV[at]
end
local over = {}
for _ = 1, ${AT_ONCE} + (#ARGV - 3) / 3 do
  if total <= tonumber(ARGV[1]) then break end
  local part = redis.call('LPOP', KEYS[1])
  if not part then total = 0 break end
  local cost, lines, id = string.match(part, '^(%d+) (%d+) (.+)$')
  total = total - cost
  table.insert(over, id)
  table.insert(over, lines)
end
redis.call('SET', KEYS[2], total, 'EX', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[3])
for _ = 1, 100 do
  local size = redis.pcall('MEMORY', 'USAGE', KEYS[3], 'SAMPLES', 0)
  if type(size) ~= 'number' or size <= tonumber(ARGV[2]) then break end
  redis.call('XTRIM', KEYS[3], 'MAXLEN', math.floor(redis.call('XLEN', KEYS[3]) * 0.8))
end
return over`);

interface Part {
  cost: number;
  lines: number;
}

/** Output of a function that its account in Redis does not have yet. */
interface Printed {
  readonly namespace: string;
  readonly name: string;
  /** Parts by id of the invocation. */
  readonly parts: Map<string, Part>;
  cost: number;
}

export class LogBudget {
  readonly #redis: Redis;
  readonly #bytes: number;
  readonly #log: Log;
  readonly #complaints = new LogThrottle(5_000);
  readonly #printed = new Map<string, Printed>();
  readonly #telling = new Set<Promise<void>>();
  #timer: NodeJS.Timeout | undefined;

  /** `bytes`: upper bound on the logs of all invocations of one function. */
  constructor(redis: Redis, bytes: number, log: Log) {
    this.#redis = redis;
    this.#bytes = bytes;
    this.#log = log;
  }

  /** Counts lines that were added to the log of an invocation, and their bytes. */
  add(of: { namespace: string; name: string; id: string }, lines: number, bytes: number): void {
    const { namespace, name, id } = of;
    const key = `${namespace}/${name}`;
    let printed = this.#printed.get(key);
    if (!printed) this.#printed.set(key, (printed = { namespace, name, parts: new Map(), cost: 0 }));
    const before = printed.parts.get(id);
    const cost = before ? bytes : bytes + PART_BYTES;
    if (before) {
      before.cost += cost;
      before.lines += lines;
    } else printed.parts.set(id, { cost, lines });
    printed.cost += cost;
    if (printed.cost >= FLUSH_BYTES) {
      this.#printed.delete(key);
      this.#tell(printed);
    } else this.#timer ??= setTimeout(() => this.#flush(), FLUSH_MS);
  }

  /** Resolves when the account in Redis has all output. */
  async close(): Promise<void> {
    this.#flush();
    await Promise.all(this.#telling);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const printed of this.#printed.values()) this.#tell(printed);
    this.#printed.clear();
  }

  /** Updates the account. Output that misses it stays until it expires; an unavailable Redis has taken few of the logs anyway. */
  #tell(printed: Printed): void {
    const telling = this.#keep(printed)
      .catch((error: unknown) =>
        this.#complaints.run(() =>
          this.#log.warn({ error: String(error) }, 'old logs of functions were not removed'),
        ),
      )
      .finally(() => this.#telling.delete(telling));
    this.#telling.add(telling);
  }

  async #keep({ namespace, name, parts }: Printed): Promise<void> {
    const over = (await KEEP.run(
      this.#redis,
      [keys.keptLogs(namespace, name), keys.keptLogBytes(namespace, name), keys.logStream(namespace, name)],
      [
        this.#bytes,
        LOG_STREAM_BYTES,
        RECORD_TTL_S,
        ...[...parts].flatMap(([id, { cost, lines }]) => [cost, lines, id]),
      ],
    )) as string[];
    if (over.length === 0) return;
    // On a Cluster the logs are in other slots than the list. Parts of one log come in the order of writing.
    const commands = Array.from({ length: over.length / 2 }, (_, at) => {
      const key = keys.logs(over[2 * at] ?? '');
      const lines = Number(over[2 * at + 1]);
      return [key, (pipeline: ChainableCommander) => pipeline.ltrim(key, lines, -1)] as const;
    });
    await sendTogether(this.#redis, commands);
  }
}
