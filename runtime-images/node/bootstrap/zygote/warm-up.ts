/**
 * Loads and calls a sample function in a prepared sandbox that waits for its own function. A fork shares memory with the zygote
 * until it writes, and the first write to each page costs a page fault. Such faults are most of a function's load time; here they
 * happen before a call waits.
 *
 * No tenant's data is present yet. Nothing here may start a thread or need a turn of the event loop.
 */
import type { FunctionContext, Invocation } from '../handlers/invocation.ts';
import { loadFunction } from '../sandbox/load-function.ts';
import { sampleInit, sampleRequest } from './sample-call.ts';

/** Like the rehearsal's sample; but the zygote has not loaded this one, and it does not wait for a timer. */
const SAMPLE = '../../opt/offshoot/warm-up.mjs';

const invocation: Invocation = {
  handle: 0,
  context: { id: '', remainingMs: 1, traceparent: '' },
  send: () => undefined,
  sendAndWait: () => Promise.resolve(),
};

const context: FunctionContext = {
  invocationId: '',
  traceparent: '',
  remainingMs: () => 0,
  waitUntil: () => undefined,
};

/** Upper bound on awaited microtasks, far above the number that the sample takes. */
const MAX_MICROTASKS = 1_000;

/** Settles within microtasks, whatever happens: a turn of the event loop would be the zygote's. */
export async function warmUp(): Promise<void> {
  const playing = { over: false };
  void play().finally(() => {
    playing.over = true;
  });
  const microtask = Promise.resolve();
  for (let left = MAX_MICROTASKS; left > 0 && !playing.over; left--) await microtask;
}

async function play(): Promise<void> {
  const { answer } = await loadFunction(sampleInit(SAMPLE));
  await answer(invocation, sampleRequest('POST'), context);
}
