/** Limits that more than one process enforces or explains. Sizes are bytes, times are milliseconds, unless named otherwise. */

/**
 * Size up to which a request body, or a result of the queued lane, goes through Redis in one piece. A larger one lies in the
 * artifact store, and only its key goes through Redis.
 */
export const DEFAULT_INLINE_BODY_BYTES = 1024 * 1024;

/**
 * Upper bound on the status and headers of a response, as JSON. Gateway and worker parse them at once, which must stall neither. A
 * response over it is a `bad_response` in both lanes.
 */
export const MAX_RESPONSE_META_BYTES = 256 * 1024;

/**
 * Upper bound on a request body at the gateway, whatever a function's `requestSize` says; OFFSHOOT_MAX_BODY_BYTES overrides it.
 */
export const DEFAULT_MAX_BODY_BYTES = 1024 * 1024 * 1024;

/**
 * Upper bounds on an archive: compressed size, unpacked size, number of entries, length of a path. Checked while streaming,
 * before any write.
 */
export const MAX_ARCHIVE_BYTES = 64 * 1024 * 1024;
export const MAX_UNPACKED_BYTES = 250 * 1024 * 1024;
export const MAX_ARCHIVE_ENTRIES = 20_000;
export const MAX_PATH_BYTES = 1_024;

/** Upper bounds on the log text of one invocation (`logSize`) and of one line; the rest is cut, and the record says how much. */
export const DEFAULT_LOG_BYTES = 256 * 1024;
export const MAX_LOG_LINE_BYTES = 16 * 1024;
/**
 * Least cost of a line, since each is an entry of its own in the worker and in Redis. Without it, a function that prints only
 * line ends would never reach a limit in bytes.
 */
export const LEAST_LOG_LINE_BYTES = 32;
/** Upper bound on the bytes of the lines in one entry of a function's log stream; a single longer line is one entry. */
export const LOG_ENTRY_BYTES = 32 * 1024;

/** Upper bound on the memory of Redis for the log stream of a function, exceeded slightly between two checks. */
export const LOG_STREAM_BYTES = 8 * 1024 * 1024;
/** MB of logs of invocations kept for one function; OFFSHOOT_KEPT_LOG_MB overrides it. */
export const DEFAULT_KEPT_LOG_MB = 64;

/**
 * Upper bound on the bytes of log lines in one answer of the API, the newest. Older lines are available by invocation, or by
 * following the log.
 */
export const MAX_LOG_ANSWER_BYTES = 8 * 1024 * 1024;

/** Upper bound on the bytes of a streamed response that are on their way; beyond it the worker waits for the gateway. */
export const STREAM_WINDOW_BYTES = 1024 * 1024;

/** Interval between the heartbeats of a worker, and silence after which it counts as dead. */
export const WORKER_HEARTBEAT_MS = 400;
export const WORKER_TTL_MS = 1_500;

/** Time after which a running call is reported as taken, so that its gateway knows which worker to watch. */
export const TAKEN_NOTICE_MS = 5;

/** Default and largest number of items in a group (`batch.size`), and upper bound on their bytes. */
export const DEFAULT_GROUP_ITEMS = 100;
export const MAX_GROUP_ITEMS = 1_000;
export const MAX_GROUP_BYTES = 1024 * 1024;
/** Upper bound on the bytes of one item. */
export const MAX_ITEM_BYTES = 256 * 1024;
/** Upper bound on the nesting of arrays and objects in one item: common JSON readers in other languages accept this depth. */
export const MAX_ITEM_DEPTH = 1_000;
/** Upper bound on the bytes kept of the result of one item. */
export const MAX_ITEM_RESULT_BYTES = 256 * 1024;
/** Upper bound on the bytes of the answer of `queue()` for a whole group. */
export const MAX_GROUP_RESULT_BYTES = 16 * 1024 * 1024;

/**
 * Upper bound on the groups of one batch that may wait or run at the same time. Beyond it the gateway stops reading from the
 * sender, so a batch of any length takes no more of Redis than this.
 */
export const WINDOW_GROUPS = 256;

/** Upper bound on the pools in each heartbeat of a worker, which is read and written several times a second. */
export const MAX_POOLS_SHOWN = 100;
