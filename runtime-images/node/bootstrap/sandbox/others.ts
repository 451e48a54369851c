/**
 * Watches for processes, worker threads and native code in the sandbox: their output bypasses the runtime and would be logged for
 * the invocation that runs at the time. The worker needs this report, since it cannot know which of them are older than a run.
 */
import { subscribe } from 'node:diagnostics_channel';
import type { Worker } from 'node:worker_threads';
import { OTHERS_NATIVE, OTHERS_RUN } from '#contract/wire/channel.ts';

/**
 * Starts watching; returns a function that gives the current OTHERS_ bits. It runs at each end of an invocation, so it costs only
 * one system call. `hasChildren`: see ZygoteAddon.
 */
export function watchOthers(hasChildren: () => boolean): () => number {
  let threads = 0;
  let native = 0;
  // This channel reports a new thread at once; the process's event 'worker' may come only after the invocation has settled.
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
