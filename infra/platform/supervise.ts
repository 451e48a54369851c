/**
 * Keeps a process running: starts it again when it ends, a little later each time.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Restarts } from '#watchdog/settings.ts';
import { describeEnd, type Running } from './process.ts';

const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 5_000;
/** Time after which a process that ran is not in a crash loop. */
const STABLE_MS = 10_000;

/** Delay before the next start. */
export function nextDelay(previousDelayMs: number | undefined, ranForMs: number): number {
  if (previousDelayMs === undefined || ranForMs >= STABLE_MS) return FIRST_DELAY_MS;
  return Math.min(previousDelayMs * 2, LONGEST_DELAY_MS);
}

export interface Service {
  readonly name: string;
  /** No more restarts: the process may go on, and when it ends it is not started again. */
  retire(): void;
  /** No more restarts; stops the process, with SIGKILL after `graceMs`. */
  stop(graceMs: number): Promise<void>;
}

export interface ServiceOptions {
  readonly name: string;
  /** The signal ends a start that takes long. `restarts`: number of restarts, this one included. */
  readonly start: (signal: AbortSignal, restarts: Restarts) => Promise<Running>;
  /** A process that is already running, to begin with. */
  readonly first?: Running;
  readonly say: (line: string) => void;
}

/** Starts the process and goes on starting it until `stop`. */
export function supervise({ name, start, first, say }: ServiceOptions): Service {
  const stopping = new AbortController();
  let current: Running | undefined = first;

  async function keep(): Promise<void> {
    let delay: number | undefined;
    const restarts = { ended: 0, stood_still: 0 };
    while (!stopping.signal.aborted) {
      const startedAt = Date.now();
      let ended: string;
      let stoodStill = false;
      try {
        current ??= await start(stopping.signal, restarts);
        const exit = await current.exited;
        ended = describeEnd(exit);
        stoodStill = exit.stillness !== undefined;
        restarts[stoodStill ? 'stood_still' : 'ended']++;
      } catch (error) {
        restarts.ended++;
        ended = `ended (${error instanceof Error ? error.message : String(error)})`;
      }
      current = undefined;
      if (stopping.signal.aborted) {
        if (stoodStill) say(ended);
        return;
      }
      delay = nextDelay(delay, Date.now() - startedAt);
      say(`${ended}; starting it again in ${delay} ms`);
      await sleep(delay, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  }

  const kept = keep();
  return {
    name,
    retire: () => stopping.abort(),
    async stop(graceMs) {
      stopping.abort();
      await current?.stop(graceMs);
      await kept;
    },
  };
}
