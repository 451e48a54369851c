/**
 * Connections to Redis. Each has one role, because what a connection should do while Redis is away depends on who waits:
 * a request must fail at once, a subscriber must wait as long as it takes.
 */
import { Redis, type RedisOptions } from 'ioredis';
import { OffshootError } from '#contract/errors.ts';
import { type Log, LogThrottle } from './log.ts';

/**
 * `commands`: short commands of a request path. They fail at once while Redis is away, and after COMMAND_TIMEOUT_MS when
 * it hangs. Commands of one event loop tick share a round trip.
 * `lane`: pushes of frames (LaneWriter). Fails at once as well, but never by time: after a timeout nobody could say
 * whether the frame will still be taken, and the caller's deadline bounds the wait already.
 * `background`: writes that nobody waits for. As `lane`, but apart from it, so that they never stand in its way.
 * `blocking`: one BLMPOP after the other (LaneReader). Its owner tries again.
 * `queue`: what BullMQ's workers do, who wait for Redis themselves.
 * `subscriber`: pub/sub. Waits for ever and subscribes again by itself.
 */
export type RedisRole = 'commands' | 'lane' | 'background' | 'blocking' | 'queue' | 'subscriber';

const COMMAND_TIMEOUT_MS = 2_000;
/** While Redis is away, one log line in this time. */
const AWAY_LOG_INTERVAL_MS = 5_000;
const RETRY_FIRST_MS = 25;
const RETRY_LAST_MS = 500;
/** A blocked connection that has heard nothing for this long is dead: twice what a BLMPOP may wait. */
const BLOCKED_SOCKET_TIMEOUT_MS = 15_000;

const ROLE_OPTIONS: Record<RedisRole, RedisOptions> = {
  commands: {
    enableAutoPipelining: true,
    enableOfflineQueue: false,
    commandTimeout: COMMAND_TIMEOUT_MS,
  },
  lane: { enableOfflineQueue: false },
  background: { enableOfflineQueue: false },
  blocking: { socketTimeout: BLOCKED_SOCKET_TIMEOUT_MS },
  // A command that a lost connection took with it would otherwise never be answered, and BullMQ's loop would wait for it for
  // ever. Done twice, it does no harm: a job that was taken without anybody knowing is found stalled.
  queue: { maxRetriesPerRequest: null, autoResendUnfulfilledCommands: true },
  subscriber: { maxRetriesPerRequest: null },
};

/**
 * Opens a connection. Never throws because Redis is away: the connection is tried again for ever, with a log line every
 * few seconds, and commands fail meanwhile as the role says.
 */
export function connectRedis(url: string, role: RedisRole, log: Log): Redis {
  const options: RedisOptions & { replyMapping: 'legacy' } = {
    ...parseRedisUrl(url),
    // A command is never sent twice: what a lost connection took with it may have been done. Its caller is told.
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    retryStrategy: (times) => Math.min(RETRY_FIRST_MS * 2 ** Math.min(times, 10), RETRY_LAST_MS),
    // After a failover the old primary answers READONLY; connecting again finds the new one.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
    connectTimeout: 5_000,
    connectionName: `offshoot-${role}`,
    ...ROLE_OPTIONS[role],
    replyMapping: 'legacy',
  };
  const redis = new Redis(options);
  const throttle = new LogThrottle(AWAY_LOG_INTERVAL_MS);
  let away = false;
  redis.on('error', (error: Error) => {
    away = true;
    throttle.run((heldBack) =>
      log.error(
        { role, url: withoutPassword(url), error: error.message, heldBack },
        'Redis cannot be reached; trying again until it can',
      ),
    );
  });
  redis.on('ready', () => {
    if (away) log.info({ role, url: withoutPassword(url) }, 'Redis can be reached again');
    away = false;
    throttle.reset();
  });
  return redis;
}

/** Understands redis://, rediss:// (TLS) and unix:///path/to.sock. Throws on anything else. */
export function parseRedisUrl(url: string): RedisOptions {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed?.protocol === 'unix:' && parsed.pathname.length > 1) {
    const db = Number(parsed.searchParams.get('db') ?? 0);
    return { path: decodeURIComponent(parsed.pathname), db, ...credentials(parsed) };
  }
  if (parsed?.protocol === 'redis:' || parsed?.protocol === 'rediss:') {
    return {
      host: parsed.hostname.replace(/^\[|\]$/g, '') || '127.0.0.1',
      port: parsed.port ? Number(parsed.port) : 6379,
      db: Number(parsed.pathname.slice(1) || 0),
      ...credentials(parsed),
      ...(parsed.protocol === 'rediss:' && { tls: {} }),
    };
  }
  throw new Error(
    `"${withoutPassword(url)}" is not the address of a Redis: use redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH`,
  );
}

function credentials(url: URL): RedisOptions {
  return {
    ...(url.username && { username: decodeURIComponent(url.username) }),
    ...(url.password && { password: decodeURIComponent(url.password) }),
  };
}

function withoutPassword(url: string): string {
  return url.replace(/:[^:@/]*@/, ':***@');
}

/**
 * Does Redis keep what it is given? Any eviction policy but `noeviction` drops calls and functions when memory is short.
 * Undefined when Redis does not say.
 */
export async function keepsEverything(redis: Redis): Promise<boolean | undefined> {
  // INFO rather than CONFIG GET: hosted Redis services forbid CONFIG.
  const policy = /^maxmemory_policy:(\S+)/m.exec(await redis.info('memory'))?.[1];
  return policy === undefined ? undefined : policy === 'noeviction';
}

/** Errors that Redis itself answers with, and that mean: not now. */
const REFUSALS =
  /^(OOM|MISCONF|READONLY|LOADING|NOAUTH|WRONGPASS|NOPERM|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY)\b/;

/** Errors of ioredis for a connection that is not there, which have no code. */
const NOT_CONNECTED =
  /^(Connection is closed|Stream isn't writeable|Command timed out|Command aborted|Reached the max retries|connect ETIMEDOUT|Socket timeout)/;
/** Errors of a socket, by system call: a file that is not there has ENOENT too, but no `connect`. */
const SOCKET_CALLS: ReadonlySet<unknown> = new Set(['connect', 'getaddrinfo']);
const BROKEN_PIPES: ReadonlySet<unknown> = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT']);

function isRedisAway(error: Error): boolean {
  if (error.name === 'ReplyError') return REFUSALS.test(error.message);
  if (NOT_CONNECTED.test(error.message)) return true;
  return (
    ('syscall' in error && SOCKET_CALLS.has(error.syscall)) ||
    ('code' in error && BROKEN_PIPES.has(error.code))
  );
}

/**
 * What a failed step means to a caller, for the edges of modules: `redis_unavailable` when Redis was away or refused,
 * `internal` for everything else. Passes an OffshootError through.
 */
export function redisError(error: unknown): OffshootError {
  if (error instanceof OffshootError) return error;
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof Error && isRedisAway(error)) {
    return new OffshootError('redis_unavailable', `Redis did not do what was asked: ${message}`, {
      cause: error,
    });
  }
  return new OffshootError('internal', 'the gateway failed at this request', { cause: error });
}
