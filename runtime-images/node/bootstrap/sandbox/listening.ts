/** Notices servers that a module starts while it is loaded, and waits for one where the module exports no handler. */
import { subscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import type { Server } from 'node:net';

/** Interval in milliseconds between two looks at what a module has begun. */
const LOOK_MS = 5;
/** Number of looks in a row that must find nothing open, since one step of a start may follow on another. */
const QUIET_LOOKS = 4;

const started: Server[] = [];
let collects = false;

/** Begins to notice servers; to be called once, in the zygote, so that no sandbox pays for it. */
export function noticeServers(): void {
  subscribe('tracing:net.server.listen:asyncStart', (message) => {
    if (collects) started.push((message as { server: Server }).server);
  });
}

/** From now on servers are noticed, until `stopCollecting`. */
export function collectServers(): void {
  started.length = 0;
  collects = true;
}

export function stopCollecting(): void {
  collects = false;
}

/**
 * Resolves to the first server that listens. Resolves to undefined when the module has nothing open that could still start one,
 * or after `patienceMs`.
 */
export async function firstServer(patienceMs: number): Promise<Server | undefined> {
  const end = performance.now() + patienceMs;
  const isIdle = idleCheck();
  for (let quiet = 0; quiet < QUIET_LOOKS && performance.now() < end; quiet = isIdle() ? quiet + 1 : 0) {
    const server = started.find(({ listening }) => listening) ?? started[0];
    if (server) {
      if (!server.listening) await once(server, 'listening', { signal: AbortSignal.timeout(patienceMs) });
      return server;
    }
    await new Promise<void>((resolve) => {
      setTimeout(resolve, LOOK_MS).unref();
    });
  }
  return started[0];
}

/** Types of the runtime's own resources. */
const OWN = new Set(['PipeWrap', 'TTYWrap', 'SignalWrap']);

/** True if nothing is open that keeps a process alive, beside the runtime's own channel. */
function idleCheck(): () => boolean {
  return () => process.getActiveResourcesInfo().every((type) => OWN.has(type));
}
