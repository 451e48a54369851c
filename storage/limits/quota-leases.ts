/**
 * Leases of limited invocations, shared by all gateways and workers. They bound how many invocations run at the same time, and
 * how often one begins. The process that runs an invocation renews its lease, so a process that dies gives its leases back.
 */
import type { Redis } from 'ioredis';
import { keys } from '#contract/platform/keys.ts';
import type { Allowance, Quota } from '#contract/functions/quota.ts';
import type { Log } from '../log.ts';
import { Script } from '../redis/script.ts';

/** Time without a renewal after which a lease lapses. */
export const LEASE_MS = 6_000;
const RENEW_MS = 2_000;
/** Time over which the pace of returned leases is averaged, the latest counting most; it is forgotten after a minute. */
const PACE_MS = 10_000;
const PACE_TTL_MS = 60_000;

/**
 * Takes a lease of the namespace and of the function, or of neither. It uses the clock of Redis, so that the clocks of gateways
 * and workers need not agree.
 *
 *   KEYS 1, 2  leases of the namespace and the function       ARGV 1     id of the invocation
 *   KEYS 3, 4  their rates                                    ARGV 2     milliseconds of the lease
 *   KEYS 5, 6  their paces                                    ARGV 3, 4  most at the same time; 0 is no limit
 *                                                             ARGV 5, 6  milliseconds per start by the rate; 0 is no limit
 *                                                             ARGV 7, 8  burst of the rate
 *                                                             ARGV 9     milliseconds over which the pace is averaged
 *
 * The rate is the generic cell rate algorithm: it keeps one time, at which the rate has caught up with all starts.
 * Returns {0}, {1 or 2, running, ended per second} or {3 or 4, milliseconds to wait}.
 */
const TAKE = new Script(`
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
for i = 1, 2 do
  local most = tonumber(ARGV[2 + i])
  if most > 0 then
    redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
    -- No lease ends later, unless the clock was set back.
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[i], '(' .. (now + ARGV[2] + 1), '+inf')) do
      redis.call('ZADD', KEYS[i], now + ARGV[2], id)
    end
    local running = redis.call('ZCARD', KEYS[i])
    if running >= most then
      local pace = redis.call('HMGET', KEYS[4 + i], 'from', 'at', 'sum')
      local perSecond = 0
      if pace[1] then
        local mean = tonumber(ARGV[9])
        local seen = 1 - math.exp((pace[1] - math.max(now, pace[1] + 1000)) / mean)
        perSecond = pace[3] * math.exp(math.min(0, pace[2] - now) / mean) / mean * 1000 / seen
      end
      return { i, running, tostring(perSecond) }
    end
  end
end
local recovered = {}
for i = 1, 2 do
  local each = tonumber(ARGV[4 + i])
  if each > 0 then
    local begun = tonumber(redis.call('GET', KEYS[2 + i]) or 0)
    -- No more can have begun than that, unless the clock was set back.
    local most = now + each * ARGV[6 + i]
    if begun > most then
      begun = most
      redis.call('SET', KEYS[2 + i], string.format('%.3f', begun), 'PX', math.ceil(begun - now) + 1)
    end
    local after = math.max(begun, now) + each
    local wait = after - each * ARGV[6 + i] - now
    if wait > 0.001 then return { 2 + i, tostring(wait) } end
    recovered[i] = after
  end
end
for i = 1, 2 do
  if recovered[i] then
    redis.call('SET', KEYS[2 + i], string.format('%.3f', recovered[i]), 'PX', math.ceil(recovered[i] - now) + 1)
  end
  if tonumber(ARGV[2 + i]) > 0 then
    redis.call('ZADD', KEYS[i], now + ARGV[2], ARGV[1])
    redis.call('PEXPIRE', KEYS[i], ARGV[2])
  end
end
return { 0 }`);

/**
 * Gives leases back, and counts them in the pace.
 *
 *   KEYS 1, 2  leases of the namespace and the function       ARGV 1  id of the invocation
 *   KEYS 3, 4  their paces                                    ARGV 2  milliseconds over which the pace is averaged
 *                                                             ARGV 3  milliseconds that a pace is kept
 */
const LEAVE = new Script(`
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
for i = 1, 2 do
  if redis.call('ZREM', KEYS[i], ARGV[1]) == 1 then
    local pace = redis.call('HMGET', KEYS[2 + i], 'from', 'at', 'sum')
    local sum = 1
    if pace[1] then sum = sum + pace[3] * math.exp(math.min(0, pace[2] - now) / ARGV[2]) end
    redis.call('HSET', KEYS[2 + i], 'from', pace[1] or now, 'at', now, 'sum', sum)
    redis.call('PEXPIRE', KEYS[2 + i], ARGV[3])
  end
end`);

/**
 * Renews leases, even lapsed ones: their invocations still run, though their process was delayed.
 *
 *   KEYS 1  leases        ARGV 1  milliseconds of the lease        ARGV 2...  ids
 */
const RENEW = new Script(`
local time = redis.call('TIME')
local ends = time[1] * 1000 + time[2] / 1000 + ARGV[1]
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], ends, ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])`);

/** The limit that refused a lease. */
export interface Refusal {
  readonly of: 'namespace' | 'function';
  readonly limit: 'concurrency' | 'rateLimit';
  /** For a rate: the exact wait until the invocation may begin, if no other one begins before. */
  readonly waitMs?: number;
  /** For concurrency: number of running invocations, and of those that have ended per second lately. */
  readonly running?: number;
  readonly endedPerSecond?: number;
}

export interface QuotaLease {
  /** To be called once, when the invocation has ended. */
  leave(): void;
}

export type Taken = QuotaLease | { readonly refused: Refusal };

export class QuotaLeases {
  readonly #redis: Redis;
  readonly #log: Log;
  /** Ids of invocations that hold a lease, by the key of its leases. */
  readonly #held = new Map<string, Set<string>>();
  #renewing: NodeJS.Timeout | undefined;

  /** `redis`: a connection of the role `commands`. */
  constructor(redis: Redis, log: Log) {
    this.#redis = redis;
    this.#log = log;
  }

  /** Takes a lease for an invocation of a function, which holds it until leave(). Throws when Redis is unavailable. */
  async take(namespace: string, name: string, quota: Quota, id: string): Promise<Taken> {
    const of = [undefined, name];
    const allowances = [quota.namespace, quota.function];
    const answer = (await TAKE.run(
      this.#redis,
      [
        ...of.map((one) => keys.leases(namespace, one)),
        ...of.map((one) => keys.rate(namespace, one)),
        ...of.map((one) => keys.leasePace(namespace, one)),
      ],
      [
        id,
        LEASE_MS,
        ...allowances.map(({ concurrency = 0 }) => concurrency),
        ...allowances.map(({ rateLimit }) => (rateLimit ? 1000 / rateLimit.rate : 0)),
        ...allowances.map(burstOf),
        PACE_MS,
      ],
    )) as [number, (number | string)?, string?];
    const refused = readRefusal(answer);
    if (refused) return { refused };
    const counted = of.filter((_, index) => allowances[index]?.concurrency !== undefined);
    for (const one of counted) this.#hold(keys.leases(namespace, one), id);
    return { leave: () => (counted.length > 0 ? this.#leave(namespace, name, id) : undefined) };
  }

  /** Renews no more leases; those that are still held lapse. */
  stop(): void {
    clearInterval(this.#renewing);
    this.#held.clear();
  }

  #hold(key: string, id: string): void {
    const ids = this.#held.get(key);
    if (ids) ids.add(id);
    else this.#held.set(key, new Set([id]));
    this.#renewing ??= setInterval(() => void this.#renew(), RENEW_MS);
  }

  #leave(namespace: string, name: string, id: string): void {
    const leases = [keys.leases(namespace), keys.leases(namespace, name)];
    for (const key of leases) {
      const ids = this.#held.get(key);
      ids?.delete(id);
      if (ids?.size === 0) this.#held.delete(key);
    }
    const paces = [keys.leasePace(namespace), keys.leasePace(namespace, name)];
    LEAVE.run(this.#redis, [...leases, ...paces], [id, PACE_MS, PACE_TTL_MS]).catch((error: unknown) =>
      this.#log.info({ error: String(error), id }, 'a lease was not given back; it lapses by itself'),
    );
  }

  async #renew(): Promise<void> {
    const renewed = [...this.#held].map(([key, ids]) => RENEW.run(this.#redis, [key], [LEASE_MS, ...ids]));
    await Promise.all(renewed).catch((error: unknown) =>
      this.#log.info({ error: String(error) }, 'leases were not renewed'),
    );
  }
}

function burstOf({ rateLimit }: Allowance): number {
  if (!rateLimit) return 0;
  return rateLimit.burst ?? Math.max(1, Math.ceil(rateLimit.rate));
}

function readRefusal([code, first = 0, second = '0']: [number, (number | string)?, string?]):
  | Refusal
  | undefined {
  if (code === 0) return undefined;
  const of = code % 2 === 1 ? 'namespace' : 'function';
  if (code > 2) return { of, limit: 'rateLimit', waitMs: Number(first) };
  return { of, limit: 'concurrency', running: Number(first), endedPerSecond: Number(second) };
}
