/** Limits that more than one process enforces or explains. Sizes are bytes, times are milliseconds, unless named otherwise. */

/**
 * A request body, or a result of the queued lane, up to this size goes through Redis in one piece; a larger one lies in the
 * artifact store, and only its key goes through Redis.
 */
export const DEFAULT_INLINE_BODY_BYTES = 1024 * 1024;

/**
 * Largest status and headers of a response, as JSON: gateway and worker read them as one value, which must hold neither up. A
 * response over it is a `bad_response` in both lanes.
 */
export const MAX_RESPONSE_META_BYTES = 256 * 1024;

/** Largest request body that the gateway takes, whatever a function's `requestSize` says; OFFSHOOT_MAX_BODY_BYTES overrides it. */
export const DEFAULT_MAX_BODY_BYTES = 1024 * 1024 * 1024;

/** Archives: compressed size, unpacked size, number of entries. Checked while streaming, before anything is written. */
export const MAX_ARCHIVE_BYTES = 64 * 1024 * 1024;
export const MAX_UNPACKED_BYTES = 250 * 1024 * 1024;
export const MAX_ARCHIVE_ENTRIES = 20_000;
export const MAX_PATH_BYTES = 1_024;

/** Log text kept of one line, and of one invocation (`logSize`); what is over is cut, and the record says how much. */
export const DEFAULT_LOG_BYTES = 256 * 1024;
export const MAX_LOG_LINE_BYTES = 16 * 1024;
/**
 * What a line costs of that at least, since each is an entry of its own in the worker and in Redis: a function that prints
 * nothing but ends of lines would never reach a limit of its bytes.
 */
export const LEAST_LOG_LINE_BYTES = 32;
/** Bytes of the lines in one entry of a function's log stream, or a single longer line. */
export const LOG_ENTRY_BYTES = 32 * 1024;

/** Memory of Redis that the log stream of a function takes; somewhat more for the moment between two looks. */
export const LOG_STREAM_BYTES = 8 * 1024 * 1024;
/** MB of logs of invocations that are kept of one function; OFFSHOOT_KEPT_LOG_MB overrides it. */
export const DEFAULT_KEPT_LOG_MB = 64;

/** Bytes of log lines in one answer of the API, the newest: what is older is had by invocation, or while it is followed. */
export const MAX_LOG_ANSWER_BYTES = 8 * 1024 * 1024;

/** A streamed response may have this much on its way before the worker waits for the gateway to catch up. */
export const STREAM_WINDOW_BYTES = 1024 * 1024;

/** A worker tells Redis that it lives this often; after WORKER_TTL_MS of silence it counts as dead. */
export const WORKER_HEARTBEAT_MS = 400;
export const WORKER_TTL_MS = 1_500;

/** A call that runs longer than this is reported as taken, so that its gateway knows which worker to watch. */
export const TAKEN_NOTICE_MS = 5;

/** Items that a group has at most, unless the function's `batch.size` says otherwise, and their bytes. */
export const DEFAULT_GROUP_ITEMS = 100;
export const MAX_GROUP_ITEMS = 1_000;
export const MAX_GROUP_BYTES = 1024 * 1024;
/** Bytes of one item. */
export const MAX_ITEM_BYTES = 256 * 1024;
/** Arrays and objects of one item within one another: as many as common readers of JSON in other languages take. */
export const MAX_ITEM_DEPTH = 1_000;
/** Bytes that are kept of what one item came to. */
export const MAX_ITEM_RESULT_BYTES = 256 * 1024;
/** Bytes of what `queue()` says of a whole group. */
export const MAX_GROUP_RESULT_BYTES = 16 * 1024 * 1024;

/**
 * Groups of one batch that may wait or run at the same time. What is over is not read from who sends it, so that a batch of any
 * length takes no more of Redis than this.
 */
export const WINDOW_GROUPS = 256;

/** Pools that a worker tells of in each heartbeat: it is read and written several times a second. */
export const MAX_POOLS_SHOWN = 100;
