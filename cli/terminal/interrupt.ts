/** Ctrl-C as a signal that ends what is under way, so that it can clean up. */
import { EXIT_CODES } from './errors.ts';

/** One Ctrl-C may arrive twice, from the terminal and from a parent such as npm; only a later one means impatience. */
const SAME_PRESS_MS = 1_000;

/** Aborted at the first signal; another one after a moment ends the process at once. */
export function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  let first: number | undefined;
  const interrupted = (): void => {
    const now = performance.now();
    first ??= now;
    controller.abort();
    if (now - first > SAME_PRESS_MS) process.exit(EXIT_CODES.interrupted.code);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupted);
  return controller.signal;
}
