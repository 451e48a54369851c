/**
 * Takes uncaught errors as Node does: listeners of the function's own come first, and without one the process ends. The platform
 * has no listener of its own, because reporters such as Sentry count them, and because the function could remove it.
 */

type FatalException = (error: unknown, fromPromise: boolean) => boolean;

/** Called by the C++ of Node for each uncaught error and unhandled rejection; returns false when the process is to end. */
const FATAL = '_fatalException';

export interface UncaughtWatch {
  /** Ends the process, for an error that no code has taken. */
  readonly fail: (error: unknown) => void;
  /** Code of the function takes the error, and goes on or ends the process itself. */
  readonly taken: (error: unknown) => void;
}

/** Starts watching; throws if Node has no such function any more. */
export function watchUncaught({ fail, taken }: UncaughtWatch): void {
  const node = process as unknown as { [FATAL]: FatalException };
  const original = node[FATAL];
  if (typeof original !== 'function') throw new Error('process._fatalException is no function');
  node[FATAL] = (error, fromPromise) => {
    const isTaken =
      process.listenerCount('uncaughtException') > 0 || process.hasUncaughtExceptionCaptureCallback();
    if (isTaken) taken(error);
    // Added for the call alone. Without it, Node would leave by an exit that fails in a forked process.
    else process.on('uncaughtException', fail);
    try {
      return original.call(process, error, fromPromise);
    } catch (thrown) {
      // By a listener, after which Node ends too.
      fail(thrown);
      return true;
    } finally {
      if (!isTaken) process.off('uncaughtException', fail);
    }
  };
}

/** Set by Node while those listeners run. */
const EXITING = '_exiting';

/** Calls the listeners to the end of the process, as Node does before it. One of them may end it by itself. */
export function tellExit(code: number): void {
  const state = process as unknown as { [EXITING]: boolean };
  process.exitCode = code;
  // Only meanwhile: Node takes no more work for a next tick while this is set, and the last frames need one.
  state[EXITING] = true;
  try {
    process.emit('exit', code);
  } catch {
    // The process ends for another error already.
  } finally {
    state[EXITING] = false;
  }
}
