/** Limits and bits that worker and runtime share. The generator writes them into the C header too. */
export { LOG_HAS_SPAN } from './layouts.ts';

/** Bit of OTHERS: other processes, or worker threads. */
export const OTHERS_RUN = 1;
/** Bit of OTHERS: native code has been loaded, and its output may belong to any invocation. */
export const OTHERS_NATIVE = 2;
/** Bit of OTHERS: the function listens to the end of its process, so a STOP is worth its time. */
export const OTHERS_LISTEN = 4;

/**
 * Size up to which a response body goes in one RESULT; a larger one goes as HEAD and CHUNKs of at most this size. So a worker
 * never holds more than one frame of a sandbox, whatever the response's length.
 */
export const MAX_PIECE_BYTES = 256 * 1024;
/**
 * Largest piece of a large request body, and upper bound on its bytes that are on their way or unread in the sandbox. A
 * function that reads slowly slows down the reader of the blob, and fills no memory.
 */
export const BODY_PIECE_BYTES = 64 * 1024;
export const BODY_WINDOW_BYTES = 4 * BODY_PIECE_BYTES;
/** Upper bound on a frame from a sandbox: a piece, and the meta part of a response. */
export const MAX_SANDBOX_FRAME_BYTES = MAX_PIECE_BYTES + 256 * 1024;
/** Upper bound on a frame from the worker; such frames are trusted, so this only limits the damage of a bug. */
export const MAX_WORKER_FRAME_BYTES = 1024 * 1024 * 1024;

export const CONTROL_VERSION = 4;

/** Number of descriptors before the cgroup ones in a FORK, and upper bound on all of them. */
export const FORK_FIXED_FDS = 5;
export const FORK_MAX_FDS = 12;

/** Upper bound on the slots of a worker: one sub-uid each, from FIRST_SANDBOX_UID on. */
export const MAX_SLOTS = 60_000;
export const FIRST_SANDBOX_UID = 1_000;

/**
 * Exit status of a sandbox whose runtime finds no room for another object within `memory`: 128 + SIGABRT, as a shell shows the end
 * of Node for that reason.
 */
export const EXHAUSTED_STATUS = 134;
