/**
 * What else there is in a sandbox that can print past the runtime, and so in the name of whichever invocation runs at the time:
 * processes, worker threads and native code. The worker is told, because it cannot know what is older than a run.
 */
import { subscribe } from 'node:diagnostics_channel';
import type { Worker } from 'node:worker_threads';
import { OTHERS_NATIVE, OTHERS_RUN } from '#contract/channel.ts';

/**
 * Watches from now on; returns what gives the OTHERS_ bits at the time. Asked at each end of an invocation, so it costs one system
 * call. `hasChildren`: see ZygoteAddon.
 */
export function watchOthers(hasChildren: () => boolean): () => number {
  let threads = 0;
  let native = 0;
  // Told at once; the event 'worker' of the process comes when an invocation may have settled.
  subscribe('worker_threads', (message) => {
    threads++;
    (message as { worker: Worker }).worker.once('exit', () => threads--);
  });
  const dlopen = process.dlopen.bind(process);
  process.dlopen = (...given) => {
    native = OTHERS_NATIVE;
    dlopen(...given);
  };
  return () => (threads > 0 || hasChildren() ? OTHERS_RUN : 0) | native;
}
