/**
 * Connections to Redis. Each has one role, because what a connection should do while Redis is away depends on who waits:
 * a request must fail at once, a subscriber must wait as long as it takes.
 */
import { type ChainableCommander, Cluster, Redis, type RedisOptions } from 'ioredis';
import { OffshootError } from '#contract/api/errors.ts';
import { type Log, LogThrottle } from '../log.ts';
import { parseRedisAddress, type RedisAddress, type RedisNode, withoutPassword } from './address.ts';
import { SlotConnections } from './cluster-slot.ts';

export { parseRedisAddress, parseRedisUrl } from './address.ts';

/**
 * `commands`: short commands of a request path. They fail at once while Redis is away, and after COMMAND_TIMEOUT_MS when
 * it hangs. Commands of one event loop tick share a round trip.
 * `lane`: pushes of frames (LaneWriter). Fails at once as well, but never by a time of its own: after a timeout nobody could
 * say whether the frame will still be taken, and the caller's deadline bounds the wait already.
 * `background`: writes that nobody waits for. As `lane`, but apart from it, so that they never stand in its way.
 * `queue`: what BullMQ's workers do, who wait for Redis themselves.
 * `subscriber`: pub/sub. Waits for ever and subscribes again by itself.
 * `blocking`: one BLMPOP after the other (LaneReader), opened by connectBlocking. Its owner tries again.
 */
export type RedisRole = 'commands' | 'lane' | 'background' | 'queue' | 'subscriber' | 'blocking';

const COMMAND_TIMEOUT_MS = 2_000;
/** While Redis is away, one log line in this time. */
const AWAY_LOG_INTERVAL_MS = 5_000;
const RETRY_FIRST_MS = 25;
const RETRY_LAST_MS = 500;
/**
 * A connection that owes an answer and has been silent for so long is dead, though nobody has said so: a host that is gone,
 * or a firewall that forgot the connection, closes nothing, and the kernel would notice after a quarter of an hour.
 */
const SILENT_MS = 5_000;
/** The same where a command may block: BLMPOP of a LaneReader for 2 s, BullMQ's for 10. */
const BLOCKED_SILENT_MS = 6_000;
const QUEUE_SILENT_MS = 15_000;
/** One that nobody asks anything owes no answer, so each is asked this often: the first to use it would pay otherwise. */
const PING_MS = 5_000;

const ROLE_OPTIONS: Record<RedisRole, RedisOptions> = {
  commands: {
    enableAutoPipelining: true,
    enableOfflineQueue: false,
    commandTimeout: COMMAND_TIMEOUT_MS,
    socketTimeout: SILENT_MS,
  },
  lane: { enableOfflineQueue: false, socketTimeout: SILENT_MS },
  background: { enableOfflineQueue: false, socketTimeout: SILENT_MS },
  blocking: { socketTimeout: BLOCKED_SILENT_MS },
  // These two have no limit of retries, and without one a command that is neither sent again nor refused when its connection
  // is lost never settles: a worker of BullMQ would wait for it for ever. What BullMQ does may be done twice: a job that was
  // taken and not delivered is taken again after its lock, and an end that was written is refused the second time.
  queue: { maxRetriesPerRequest: null, autoResendUnfulfilledCommands: true, socketTimeout: QUEUE_SILENT_MS },
  subscriber: { maxRetriesPerRequest: null, autoResendUnfulfilledCommands: true, socketTimeout: SILENT_MS },
};

const retryDelay = (times: number): number =>
  Math.min(RETRY_FIRST_MS * 2 ** Math.min(times, 10), RETRY_LAST_MS);

/**
 * Opens a connection. Never throws because Redis is away: the connection is tried again for ever, with a log line every
 * few seconds, and commands fail meanwhile as the role says.
 *
 * Of a Cluster it is ioredis's client of one, which has the same commands, events and states; commands of several keys are up
 * to the caller (contract/platform/keys.ts says which keys share a slot). `eachPrimary` and `sendTogether` are there for what differs.
 */
export function connectRedis(url: string, role: RedisRole, log: Log): Redis {
  const address = parseRedisAddress(url);
  const options = optionsOf(address, role);
  const watch = watcher(url, role, log);
  if (address.cluster) {
    // Whatever is published on a Cluster reaches all of its nodes. ioredis would change the node without a word, and what was
    // published meanwhile would be missed without one; this tells by "ready", as it does with a single Redis.
    if (role === 'subscriber') {
      return withPings(new SlotConnections(address.cluster, options, watch).open(role).redis);
    }
    const cluster = connectCluster(address.cluster, options);
    watch(cluster);
    return withPings(cluster);
  }
  const redis = new Redis({ ...options, replyMapping: 'legacy' });
  watch(redis);
  // A reader that blocks asks all the time.
  return role === 'blocking' ? redis : withPings(redis);
}

/** Opens what a lane reader blocks on (openLaneReader): on a Cluster, that is a connection for each slot. */
export function connectBlocking(url: string, log: Log): Redis | SlotConnections {
  const address = parseRedisAddress(url);
  if (!address.cluster) return connectRedis(url, 'blocking', log);
  return new SlotConnections(address.cluster, optionsOf(address, 'blocking'), watcher(url, 'blocking', log));
}

function optionsOf({ options }: RedisAddress, role: RedisRole): RedisOptions {
  return {
    ...options,
    // A command is never sent twice: what a lost connection took with it may have been done. Its caller is told.
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    retryStrategy: retryDelay,
    // After a failover the old primary answers READONLY; connecting again finds the new one.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
    connectTimeout: 5_000,
    connectionName: `offshoot-${role}`,
    ...(options.sentinels && {
      sentinelRetryStrategy: retryDelay,
      sentinelCommandTimeout: COMMAND_TIMEOUT_MS,
      // Not failoverDetector: a message of Sentinel that arrives while a connection is being made ends it for good.
    }),
    ...ROLE_OPTIONS[role],
  };
}

function connectCluster(nodes: readonly RedisNode[], options: RedisOptions): Redis {
  const {
    enableOfflineQueue = true,
    autoResendUnfulfilledCommands: resend,
    // Commands of a Cluster are redirected one by one; of a batch that meets a slot on the move, a part would be refused.
    enableAutoPipelining: _together,
    // A node that is lost is forgotten, and found again through the others.
    retryStrategy: _retry,
    reconnectOnError: _reconnect,
    ...redisOptions
  } = options;
  const Client = enableOfflineQueue ? Cluster : PromptCluster;
  const cluster = new Client(
    nodes.map((node) => ({ ...node })),
    {
      redisOptions: { ...redisOptions, replyMapping: 'legacy' },
      clusterRetryStrategy: retryDelay,
      slotsRefreshTimeout: COMMAND_TIMEOUT_MS,
      // MOVED, ASK, TRYAGAIN and CLUSTERDOWN refuse a command, which may then be sent again. A lost connection does not.
      retryDelayOnFailover: resend ? RETRY_LAST_MS : 0,
    },
  );
  // The two classes have no type in common, though the commands, events and states that we use are the same.
  return cluster as unknown as Redis;
}

/**
 * Refuses commands while the Cluster cannot be reached. ioredis's own way (no offline queue) refuses them as well while one
 * node's connection is being made, which is at the first command for it, and the first after a failover.
 */
class PromptCluster extends Cluster {
  override sendCommand(...given: Parameters<Cluster['sendCommand']>): unknown {
    const [command] = given;
    // What finds out whether it can be reached.
    if (this.status === 'ready' || command.name === 'cluster') return super.sendCommand(...given);
    command.reject(new Error('Connection is closed.'));
    return command.promise;
  }
}

function asCluster(redis: object): Cluster | undefined {
  return redis instanceof Cluster ? redis : undefined;
}

/** Logs, once in a while, that Redis is away, and once that it is back. */
function watcher(url: string, role: RedisRole, log: Log): (redis: Redis) => void {
  const throttle = new LogThrottle(AWAY_LOG_INTERVAL_MS);
  const address = withoutPassword(url);
  let away = false;
  const failed = (error: Error): void => {
    away = true;
    throttle.run((heldBack) =>
      log.error(
        { role, url: address, error: error.message, heldBack },
        'Redis cannot be reached; trying again until it can',
      ),
    );
  };
  const ready = (): void => {
    if (away) log.info({ role, url: address }, 'Redis can be reached again');
    away = false;
    throttle.reset();
  };
  return (redis) => {
    redis.on('error', failed).on('ready', ready);
    asCluster(redis)?.on('node error', failed);
  };
}

/** Sees to it that silence is noticed on connections that are not in use. */
function withPings(redis: Redis): Redis {
  const timer = setInterval(() => {
    for (const one of asCluster(redis)?.nodes() ?? [redis])
      if (one.status === 'ready') one.ping().catch(() => undefined);
  }, PING_MS).unref();
  redis.once('end', () => clearInterval(timer));
  return redis;
}

/** The servers that hold data: the one there is, or each primary of a Cluster. */
export function eachPrimary(redis: Redis): Redis[] {
  return asCluster(redis)?.nodes('master') ?? [redis];
}

/** A command for a key: adds itself to a pipeline. */
export type KeyedCommand = readonly [key: string, add: (pipeline: ChainableCommander) => unknown];

/**
 * Sends commands in one round trip, or in one for each key's slot where that is a Cluster's: there, two slots may be with two
 * servers. Rejects with the first error.
 */
export async function sendTogether(redis: Redis, commands: readonly KeyedCommand[]): Promise<void> {
  const batches = asCluster(redis)
    ? [...Map.groupBy(commands, ([key]) => slotTag(key)).values()]
    : [commands];
  await Promise.all(
    batches.map(async (batch) => {
      const pipeline = redis.pipeline();
      for (const [, add] of batch) add(pipeline);
      const results = await pipeline.exec();
      const failed = results?.find(([error]) => error)?.[0];
      if (failed) throw failed;
    }),
  );
}

/** What of a key decides on its slot: the part in braces, or all of it. */
function slotTag(key: string): string {
  return /\{([^}]+)\}/.exec(key)?.[1] ?? key;
}

/**
 * Does Redis keep what it is given? Any eviction policy but `noeviction` drops calls and functions when memory is short.
 * Undefined when Redis does not say.
 */
export async function keepsEverything(redis: Redis): Promise<boolean | undefined> {
  // INFO rather than CONFIG GET: hosted Redis services forbid CONFIG.
  const infos = await Promise.all(eachPrimary(redis).map((primary) => primary.info('memory')));
  const policies = infos.map((info) => /^maxmemory_policy:(\S+)/m.exec(info)?.[1]);
  if (policies.some((policy) => policy !== undefined && policy !== 'noeviction')) return false;
  return policies.length === 0 || policies.includes(undefined) ? undefined : true;
}

/** Errors that Redis itself answers with, and that mean: not now. */
const REFUSALS =
  /^(OOM|MISCONF|READONLY|LOADING|NOAUTH|WRONGPASS|NOPERM|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY|NOREPLICAS|MOVED|ASK|UNBLOCKED)\b/;

/** Errors of ioredis for a connection that is not there, which have no code. */
const NOT_CONNECTED =
  /^(Connection is closed|Stream isn't writeable|Command timed out|Command aborted|Reached the max retries|connect ETIMEDOUT|Socket timeout|Cluster is|Cluster isn't|None of startup nodes|Failed to refresh slots|Too many Cluster redirections|All sentinels)/;
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
