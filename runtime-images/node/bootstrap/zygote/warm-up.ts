/**
 * What a prepared sandbox does while it waits for its function: it loads and calls a sample once more. A fork shares its
 * memory with the zygote until it writes, and the first write to each page costs a page fault; these faults are most of
 * what a function's load would take. Here they are paid for before anybody waits. No tenant's byte is near, and nothing
 * may start a thread or need a turn of the event loop.
 */
import { encodePayload } from '#contract/wire/payload.ts';
import type { FunctionContext, Invocation } from '../handlers/invocation.ts';
import { loadFunction } from '../sandbox/load-function.ts';

/** As the sample of the rehearsal, but the zygote has not loaded this one, and it does not wait for a timer. */
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

/** Far more than it takes. */
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
  const init = {
    namespace: '',
    name: '',
    version: 1,
    entry: SAMPLE,
    env: {},
    memory: 128,
    timeout: 1,
    concurrency: 1,
  };
  const { answer } = await loadFunction(init);
  const headers: [string, string][] = [['content-type', 'application/json']];
  const request = { kind: 'http', method: 'POST', url: 'http://localhost/sample?a=1', headers } as const;
  await answer(invocation, encodePayload(request, Buffer.from('{"sample":true}')), context);
}
