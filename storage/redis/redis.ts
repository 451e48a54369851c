/**
 * Opens connections to Redis. Each has one role, because its behaviour while Redis is unavailable depends on its user: a request
 * must fail at once, a subscriber must wait without limit.
 */
import { type ChainableCommander, Cluster, Redis, type RedisOptions } from 'ioredis';
import { OffshootError } from '#contract/api/errors.ts';
import { type Log, LogThrottle } from '../log.ts';
import { parseRedisAddress, type RedisAddress, type RedisNode, withoutPassword } from './address.ts';
import { SlotConnections } from './cluster-slot.ts';

export { parseRedisAddress, parseRedisUrl } from './address.ts';

/**
 * `commands`: short commands of a request path. They fail at once while Redis is unavailable, and after COMMAND_TIMEOUT_MS
 * when it hangs. Commands of one event loop tick share a round trip.
 * `lane`: pushes of frames (LaneWriter). They fail at once as well, but have no timeout: after a timeout it would be unknown
 * whether the frame will still be taken, and the caller's deadline bounds the wait already.
 * `background`: writes that no caller waits for. Like `lane`, but separate, so that they never delay it.
 * `queue`: commands of BullMQ's workers, which wait for Redis themselves.
 * `subscriber`: pub/sub. Waits without limit and subscribes again by itself.
 * `blocking`: one BLMPOP after the other (LaneReader), opened by connectBlocking. Its owner retries.
 */
export type RedisRole = 'commands' | 'lane' | 'background' | 'queue' | 'subscriber' | 'blocking';

const COMMAND_TIMEOUT_MS = 2_000;
/** Interval between log lines while Redis is unavailable. */
const AWAY_LOG_INTERVAL_MS = 5_000;
const RETRY_FIRST_MS = 25;
const RETRY_LAST_MS = 500;
/**
 * Silence after which a connection with a pending answer counts as dead. A host that is gone, or a firewall that forgot the
 * connection, closes nothing. The kernel would notice only after a quarter of an hour.
 */
const SILENT_MS = 5_000;
/** The same for connections whose commands block: BLMPOP of a LaneReader for 2 s, BullMQ's for 10. */
const BLOCKED_SILENT_MS = 6_000;
const QUEUE_SILENT_MS = 15_000;
/** Interval between pings: an idle connection has no pending answer, and its first user would pay for its death otherwise. */
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
  // These two have no limit of retries, so a lost connection must resend its commands. Otherwise they would never settle, and a
  // worker of BullMQ would wait for ever. Commands of BullMQ may run twice: a job that was taken and not delivered is taken
  // again after its lock, and an end that was written is refused the second time.
  queue: { maxRetriesPerRequest: null, autoResendUnfulfilledCommands: true, socketTimeout: QUEUE_SILENT_MS },
  subscriber: { maxRetriesPerRequest: null, autoResendUnfulfilledCommands: true, socketTimeout: SILENT_MS },
};

const retryDelay = (times: number): number =>
  Math.min(RETRY_FIRST_MS * 2 ** Math.min(times, 10), RETRY_LAST_MS);

/**
 * Opens a connection. Never throws because Redis is unavailable: it reconnects for ever, with a log line every few seconds, and
 * commands fail meanwhile as the role says.
 *
 * For a Cluster this is ioredis's Cluster client, which has the same commands, events and states. The caller must keep a command
 * of several keys to one slot (contract/platform/keys.ts says which keys share one). `eachPrimary` and `sendTogether` cover the
 * differences.
 */
export function connectRedis(url: string, role: RedisRole, log: Log): Redis {
  const address = parseRedisAddress(url);
  const options = optionsOf(address, role);
  const watch = watcher(url, role, log);
  if (address.cluster) {
    // A message that is published on a Cluster reaches all of its nodes. The Cluster client would change its node silently, and
    // messages meanwhile would be missed unnoticed. This connection emits "ready" then, as with a single Redis.
    if (role === 'subscriber') {
      return withPings(new SlotConnections(address.cluster, options, watch).open(role).redis);
    }
    const cluster = connectCluster(address.cluster, options);
    watch(cluster);
    return withPings(cluster);
  }
  const redis = new Redis({ ...options, replyMapping: 'legacy' });
  watch(redis);
  // A blocking reader always has a pending command.
  return role === 'blocking' ? redis : withPings(redis);
}

/** Opens the connection on which a lane reader blocks (openLaneReader): on a Cluster, one for each slot. */
export function connectBlocking(url: string, log: Log): Redis | SlotConnections {
  const address = parseRedisAddress(url);
  if (!address.cluster) return connectRedis(url, 'blocking', log);
  return new SlotConnections(address.cluster, optionsOf(address, 'blocking'), watcher(url, 'blocking', log));
}

function optionsOf({ options }: RedisAddress, role: RedisRole): RedisOptions {
  return {
    ...options,
    // A command is never sent twice, because a command on a lost connection may have run. Its caller gets an error.
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
      // No failoverDetector: a message of Sentinel that arrives during a connection attempt would end the connection for good.
    }),
    ...ROLE_OPTIONS[role],
  };
}

function connectCluster(nodes: readonly RedisNode[], options: RedisOptions): Redis {
  const {
    enableOfflineQueue = true,
    autoResendUnfulfilledCommands: resend,
    // A Cluster redirects commands one by one; a batch that meets a moving slot would be refused in part.
    enableAutoPipelining: _together,
    // The client forgets a lost node, and finds it again through the others.
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
      // After MOVED, ASK, TRYAGAIN and CLUSTERDOWN a refused command may be sent again, but not after a lost connection.
      retryDelayOnFailover: resend ? RETRY_LAST_MS : 0,
    },
  );
  // The two classes share no type, though the commands, events and states in use are the same.
  return cluster as unknown as Redis;
}

/**
 * Refuses commands while the Cluster cannot be reached. ioredis without an offline queue would also refuse them while it connects
 * to one node: at the first command for that node, and at the first after a failover.
 */
class PromptCluster extends Cluster {
  override sendCommand(...given: Parameters<Cluster['sendCommand']>): unknown {
    const [command] = given;
    // CLUSTER commands pass, because they find out whether the Cluster can be reached.
    if (this.status === 'ready' || command.name === 'cluster') return super.sendCommand(...given);
    command.reject(new Error('Connection is closed.'));
    return command.promise;
  }
}

function asCluster(redis: object): Cluster | undefined {
  return redis instanceof Cluster ? redis : undefined;
}

/** Logs at intervals that Redis is unavailable, and once that it is back. */
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

/** Sends pings, so that the silence of an idle connection is noticed. */
function withPings(redis: Redis): Redis {
  const timer = setInterval(() => {
    for (const one of asCluster(redis)?.nodes() ?? [redis])
      if (one.status === 'ready') one.ping().catch(() => undefined);
  }, PING_MS).unref();
  redis.once('end', () => clearInterval(timer));
  return redis;
}

/** The servers that hold data: the single one, or each primary of a Cluster. */
export function eachPrimary(redis: Redis): Redis[] {
  return asCluster(redis)?.nodes('master') ?? [redis];
}

/** A command for a key: adds itself to a pipeline. */
export type KeyedCommand = readonly [key: string, add: (pipeline: ChainableCommander) => unknown];

/**
 * Sends commands in one round trip, or on a Cluster in one for each slot, because two slots may be on two servers. Rejects with
 * the first error.
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

/** The part of a key that decides its slot: the part in braces, or the whole key. */
function slotTag(key: string): string {
  return /\{([^}]+)\}/.exec(key)?.[1] ?? key;
}

/**
 * Whether Redis keeps all data. Any eviction policy but `noeviction` drops calls and functions when memory is short.
 * Undefined when Redis does not tell its policy.
 */
export async function keepsEverything(redis: Redis): Promise<boolean | undefined> {
  // INFO rather than CONFIG GET: hosted Redis services forbid CONFIG.
  const infos = await Promise.all(eachPrimary(redis).map((primary) => primary.info('memory')));
  const policies = infos.map((info) => /^maxmemory_policy:(\S+)/m.exec(info)?.[1]);
  if (policies.some((policy) => policy !== undefined && policy !== 'noeviction')) return false;
  return policies.length === 0 || policies.includes(undefined) ? undefined : true;
}

/** Errors from Redis itself that mean a temporary refusal. */
const REFUSALS =
  /^(OOM|MISCONF|READONLY|LOADING|NOAUTH|WRONGPASS|NOPERM|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY|NOREPLICAS|MOVED|ASK|UNBLOCKED)\b/;

/** Errors of ioredis for a missing connection, which have no code. */
const NOT_CONNECTED =
  /^(Connection is closed|Stream isn't writeable|Command timed out|Command aborted|Reached the max retries|connect ETIMEDOUT|Socket timeout|Cluster is|Cluster isn't|None of startup nodes|Failed to refresh slots|Too many Cluster redirections|All sentinels)/;
/** Errors of a socket, by system call: a missing file has ENOENT too, but no `connect`. */
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
 * The error of a failed step for its caller, at the edges of modules: `redis_unavailable` when Redis was unavailable or
 * refused, `internal` for all else. An OffshootError passes unchanged.
 */
export function redisError(error: unknown): OffshootError {
  if (error instanceof OffshootError) return error;
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof Error && isRedisAway(error)) {
    return new OffshootError('redis_unavailable', `Redis did not execute the command: ${message}`, {
      cause: error,
    });
  }
  return new OffshootError('internal', 'the gateway failed at this request', { cause: error });
}
