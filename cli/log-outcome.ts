/** Log lines of invocations that have ended in one way: they are held until that is known. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { FunctionLogLine } from '#contract/api.ts';
import type { Outcome } from '#contract/outcome.ts';
import type { Client } from './client.ts';
import { CliError } from './errors.ts';

/** How often it is asked whether invocations have ended, and of how many at a time. */
const LOOK_MS = 500;
const ASKED_AT_ONCE = 20;
/** Lines that are held; when there are more, those of one invocation are given up. */
const MAX_HELD = 10_000;
/** Invocations whose end is remembered, for lines of work that was left to waitUntil(). */
const MAX_KNOWN = 10_000;
/** Invocations of one answer of the list; the gateway gives no more. */
const MAX_LISTED = 1_000;

/** Of lines that are all there: those of the newest invocations of the function that have ended so. */
export async function endedIn(
  client: Client,
  of: { readonly namespace: string; readonly name: string },
  outcome: Outcome,
  lines: readonly FunctionLogLine[],
): Promise<FunctionLogLine[]> {
  const found = await client.invocations({ ...of, outcome, limit: String(MAX_LISTED) });
  const ids = new Set(found.map(({ id }) => id));
  return lines.filter(({ invocation }) => invocation !== undefined && ids.has(invocation));
}

/** Of lines that come: each when its invocation has ended so. `onGivenUp` is told how many were held for too long. */
export async function* followEndedIn(
  client: Client,
  outcome: Outcome,
  lines: AsyncIterable<FunctionLogLine>,
  onGivenUp: (count: number) => void = () => undefined,
): AsyncGenerator<FunctionLogLine> {
  const held = new Map<string, FunctionLogLine[]>();
  const known = new Map<string, boolean>();
  let count = 0;
  const take = (id: string): FunctionLogLine[] => {
    const taken = held.get(id) ?? [];
    held.delete(id);
    count -= taken.length;
    return taken;
  };
  const source = lines[Symbol.asyncIterator]();
  const ask = (): Promise<IteratorResult<FunctionLogLine>> => {
    const asked = source.next();
    // It may fail while nobody waits for it; whoever does next is told.
    asked.catch(() => undefined);
    return asked;
  };
  let next = ask();
  let look = pause();
  for (;;) {
    const event = await Promise.race([next, look]);
    if (event === 'look') {
      const ids = [...held.keys()].slice(0, ASKED_AT_ONCE);
      const found = await Promise.all(ids.map(async (id) => [id, await outcomeOf(client, id)] as const));
      for (const [id, ended] of found) {
        const taken = take(id);
        if (ended === undefined) {
          // Back to the end, so that those which last do not keep others from being asked for.
          held.set(id, taken);
          count += taken.length;
          continue;
        }
        if (known.size >= MAX_KNOWN) known.delete(known.keys().next().value ?? '');
        known.set(id, ended === outcome);
        if (ended === outcome) yield* taken;
      }
      look = pause();
      continue;
    }
    if (event.done === true) return;
    next = ask();
    const line = event.value;
    // Of no invocation, and so of none with this outcome.
    if (line.invocation === undefined) continue;
    const fits = known.get(line.invocation);
    if (fits === true) yield line;
    if (fits !== undefined) continue;
    const same = held.get(line.invocation);
    if (same) same.push(line);
    else held.set(line.invocation, [line]);
    if (++count > MAX_HELD) onGivenUp(take(held.keys().next().value ?? '').length);
  }
}

function pause(): Promise<'look'> {
  return sleep(LOOK_MS, 'look' as const, { ref: false });
}

/** Undefined while it is not known. */
async function outcomeOf(client: Client, id: string): Promise<Outcome | undefined> {
  try {
    const found = await client.invocation(id);
    return found.state === 'done' ? found.outcome : undefined;
  } catch (error) {
    // It is written a moment after its end; and a gateway that is away for a while comes back.
    if (error instanceof CliError) return undefined;
    throw error;
  }
}
