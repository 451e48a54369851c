/**
 * Tells when the event loop has nothing left of an invocation: no timer, request or connection that it has opened and that would
 * keep a process alive. Node counts these by type, so the count from the start of the invocation is taken off.
 */

/** Interval in milliseconds between two looks, doubled up to the second number. */
const FIRST_LOOK_MS = 1;
const LAST_LOOK_MS = 50;

/** Returns the number of open resources by type. */
export function openResources(): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const type of process.getActiveResourcesInfo()) counts.set(type, (counts.get(type) ?? 0) + 1);
  return counts;
}

/** Resolves when no more resources are open than `before`; never when `abandoned` is aborted first. */
export async function emptyLoop(before: ReadonlyMap<string, number>, abandoned: AbortSignal): Promise<void> {
  for (let wait = FIRST_LOOK_MS; !abandoned.aborted; wait = Math.min(wait * 2, LAST_LOOK_MS)) {
    // Two looks, because a callback that has just run may start the next step in a later phase of the same turn.
    if (isEmpty(before) && (await nextLook(0), isEmpty(before))) return;
    await nextLook(wait);
  }
  await new Promise<never>(() => undefined);
}

function isEmpty(before: ReadonlyMap<string, number>): boolean {
  for (const [type, count] of openResources()) if (count > (before.get(type) ?? 0)) return false;
  return true;
}

/** A timer that does not count as a resource itself. */
async function nextLook(ms: number): Promise<void> {
  await new Promise<void>((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}
