/**
 * Every Redis key, built by a function, with its time to live beside it. Keys of one namespace share the hash tag
 * `{namespace}`, so that they lie in one slot of a Redis Cluster; those that one invocation changes together share `{id}`.
 */

/**
 * Seconds for which the record and the logs of an invocation are kept. For one that has not ended they count from the moment
 * after which it does not start any more.
 */
export const RECORD_TTL_S = 7 * 24 * 3600;

/**
 * Seconds between two writes of a live sandbox's isolation receipt, and seconds for which it is kept after the last: longer
 * than a record.
 */
export const RECEIPT_REFRESH_S = 24 * 3600;
export const RECEIPT_TTL_S = RECORD_TTL_S + 2 * RECEIPT_REFRESH_S;

/** Seconds for which the result of an invocation of the queued lane is kept. */
export const RESULT_TTL_S = 24 * 3600;

/** Seconds for which an Idempotency-Key stands for the invocation that it made. */
export const IDEMPOTENCY_TTL_S = 24 * 3600;

/** Seconds for which a request to cancel a running invocation is kept, in case its worker is lost. */
export const CANCEL_TTL_S = 3600;

/** Upper bound on the invocations in the list of a function, the newest. */
export const RECENT_LENGTH = 10_000;

/** Seconds after which a session of the dashboard ends, and its user signs in again. */
export const SESSION_TTL_S = 12 * 3600;

/** Prefix of every key. */
export const KEY_PREFIX = 'offshoot:';

/** Upper bound on the entries of a function's log stream, which `offshoot logs -f` follows. Trimmed approximately. */
export const LOG_STREAM_LENGTH = 2_000;

/** Part of a key for one function; empty for a whole namespace. */
const of = (name: string | undefined): string => (name === undefined ? '' : `:${name}`);

export const keys = {
  /** List with expiry (RECORD_TTL_S): ids of ended calls of a function, oldest first, and of ended jobs. */
  endedCalls: (namespace: string, name: string) => `offshoot:{${namespace}}:ended-calls:${name}`,
  endedJobs: (namespace: string, name: string) => `offshoot:{${namespace}}:ended-jobs:${name}`,

  /**
   * Sorted set with expiry (RECORD_TTL_S): ids of ended jobs with an Idempotency-Key, by the time until which the key may stand
   * for them.
   */
  endedKeyed: (namespace: string, name: string) => `offshoot:{${namespace}}:ended-keyed:${name}`,

  /** Hash: the time line of the platform, by the clock of Redis (storage/redis/clock.ts). */
  clock: () => 'offshoot:clock',
  /** Set of all namespaces. */
  namespaces: () => 'offshoot:namespaces',
  /** Hash: namespace → JSON of its NamespaceLimits. One hash for all, so that a worker reads all weights at once. */
  limits: () => 'offshoot:limits',
  /** Sorted set: running invocations of a function or of its whole namespace, by the time at which their leases lapse. */
  leases: (namespace: string, name?: string) => `offshoot:{${namespace}}:leases${of(name)}`,
  /** String with expiry: the time at which the rate limit of a function or namespace has recovered. */
  rate: (namespace: string, name?: string) => `offshoot:{${namespace}}:rate${of(name)}`,
  /** Hash with expiry: the rate at which leases have ended lately. */
  leasePace: (namespace: string, name?: string) => `offshoot:{${namespace}}:lease-pace${of(name)}`,
  /** Hash: name of a function → JSON of its FunctionRecord. */
  functions: (namespace: string) => `offshoot:{${namespace}}:functions`,
  /** Hash: version number → JSON of its VersionRecord. */
  versions: (namespace: string, name: string) => `offshoot:{${namespace}}:versions:${name}`,
  /** Sorted set: version numbers by the time until which something may refer to them (storage/functions/kept-versions.ts). */
  keptVersions: (namespace: string, name: string) => `offshoot:{${namespace}}:kept-versions:${name}`,
  /** Counter of versions, never reset, so that a number is never used twice. */
  versionCounter: (namespace: string, name: string) => `offshoot:{${namespace}}:version-counter:${name}`,
  /** Hash: sha256 of an API key → JSON of its ApiKeyRecord. */
  apiKeys: () => 'offshoot:api-keys',
  /** String with expiry (SESSION_TTL_S): JSON of a session of the dashboard, by the sha256 of its cookie. */
  session: (hash: string) => `offshoot:session:${hash}`,
  /** Pub/sub channel: `namespace/name` of a function whose record has changed, or `*` for API keys and namespaces. */
  changes: () => 'offshoot:changes',

  /** List: call frames of the sync lane, oldest at the head. */
  lane: (namespace: string) => `offshoot:{${namespace}}:lane`,
  /** List: reply frames for one gateway. */
  replies: (gatewayId: string) => `offshoot:replies:${gatewayId}`,
  /** Sorted set: gateway ids by the time of their last heartbeat; the reply lists of silent ones are cleared away. */
  gateways: () => 'offshoot:gateways',
  /** String with expiry: a gateway is looking after open invocations now. */
  queueRepair: () => 'offshoot:queue-repair',
  /** Sorted set: digests of archives that no version names, by the time since which no version has. */
  unnamedArchives: () => 'offshoot:{archives}:unnamed',
  /** String with expiry: an archive is being removed from the artifact store. */
  archiveRemoval: (digest: string) => `offshoot:{archives}:removal:${digest}`,
  /** String with expiry: a gateway has looked for archives that no version names. */
  archiveCollector: () => 'offshoot:archive-collector',
  /** List: control frames (cancel, credit, refresh) for one worker. */
  control: (workerId: string) => `offshoot:control:${workerId}`,
  /** String with expiry (WORKER_TTL_MS): JSON of WorkerStatus; its absence means that the worker is dead. */
  worker: (workerId: string) => `offshoot:worker:${workerId}`,
  /** Sorted set: worker ids by the time of their last heartbeat. */
  workers: () => 'offshoot:workers',

  /** String with expiry (RECORD_TTL_S): JSON of AnyInvocation. */
  invocation: (id: string) => `offshoot:invocation:{${id}}`,
  /** String with the expiry of its record: request payload of an invocation of the queued lane. */
  input: (id: string) => `offshoot:input:{${id}}`,
  /** String with the expiry of the record: the blob of this key is the input of an invocation, and must not be swept away. */
  heldBlob: (key: string) => `offshoot:held-blob:${key}`,
  /** String with expiry (RESULT_TTL_S): response payload of an invocation of the queued lane. */
  result: (id: string) => `offshoot:result:{${id}}`,
  /** String with expiry (CANCEL_TTL_S), JSON: who asked to cancel the invocation, and how often it had been redriven then. */
  cancelled: (id: string) => `offshoot:cancelled:{${id}}`,
  /** String with expiry (IDEMPOTENCY_TTL_S): id of the invocation for which a caller's own key stands. */
  idempotency: (namespace: string, name: string, keyHash: string) =>
    `offshoot:{${namespace}}:idempotency:${name}:${keyHash}`,
  /** Sorted set: ids of dead letters by the time of their end. */
  dead: (namespace: string) => `offshoot:{${namespace}}:dead`,
  /** String with the expiry of its record: id of the latest invocation that a schedule made. */
  scheduleTurn: (namespace: string, name: string) => `offshoot:{${namespace}}:schedule-turn:${name}`,
  /** Hash with the longest expiry among the records of its groups: the facts of a batch, and its counts. */
  batch: (id: string) => `offshoot:batch:{${id}}`,
  /** Hash with the same expiry: number of a group → JSON of its GroupEntry. */
  batchGroups: (id: string) => `offshoot:batch-groups:{${id}}`,
  /** List with the same expiry: numbers of the groups that have ended, in that order. */
  batchEnded: (id: string) => `offshoot:batch-ended:{${id}}`,
  /** Sorted set: ids of batches by the time of their creation; trimmed to its newest 1,000. */
  batches: (namespace: string) => `offshoot:{${namespace}}:batches`,
  /** Sorted set: ids of batches that may have groups to come or to end, by the time of their creation. */
  openBatches: (namespace: string) => `offshoot:{${namespace}}:open-batches`,
  /** Sorted set: ids of invocations that have not ended, by the time of their creation, or by the time of their next check. */
  open: (namespace: string) => `offshoot:{${namespace}}:open`,
  /** Set of the namespaces that have had a callback; gateways read the delivery queues of these. */
  callbackNamespaces: () => 'offshoot:callback-namespaces',
  /** List: JSON of CallbackSecret, newest first. */
  callbackSecrets: (namespace: string) => `offshoot:{${namespace}}:callback-secrets`,
  /** Prefix of the BullMQ queues of a namespace. */
  queuePrefix: (namespace: string) => `offshoot:{${namespace}}`,
  /** String with expiry (RECEIPT_TTL_S): JSON of the IsolationReceipt of a sandbox. */
  isolation: (workerId: string, sandboxId: string) => `offshoot:isolation:${workerId}:${sandboxId}`,
  /** List with expiry (RECORD_TTL_S): JSON of LogLine. */
  logs: (id: string) => `offshoot:logs:${id}`,
  /** List with expiry (RECORD_TTL_S): JSON of FunctionSpan; spans of an invocation that began after its answer. */
  lateSpans: (id: string) => `offshoot:late-spans:${id}`,
  /** Stream: fields `i` (invocation id) and `l` (JSON of LogLine[]), of a function's recent past. */
  logStream: (namespace: string, name: string) => `offshoot:{${namespace}}:log-stream:${name}`,
  /** List with expiry (RECORD_TTL_S): parts of logs of a function's invocations, oldest first: `cost lines id`. */
  keptLogs: (namespace: string, name: string) => `offshoot:{${namespace}}:kept-logs:${name}`,
  /** String with expiry (RECORD_TTL_S): the cost of these parts together, in bytes. */
  keptLogBytes: (namespace: string, name: string) => `offshoot:{${namespace}}:kept-log-bytes:${name}`,
  /** Sorted set: ids of recent invocations of a function by start time; trimmed to its newest RECENT_LENGTH. */
  recent: (namespace: string, name: string) => `offshoot:{${namespace}}:recent:${name}`,
} as const;
