/** Says in the log that the network refused a function something: most clients tell their callers only that they failed. */
import { egressAdvice, parseDestination, type DeniedEgress } from '#contract/functions/network.ts';
import type { LogLine } from '#contract/invocations/invocation.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';

/** Upper bound on destinations of one invocation that the runtime may tell. */
const MAX_UNREACHED = 16;

/** Sandboxes whose first refusal is in a log. A client that is refused tries again, and the log must not fill with it. */
const told = new WeakSet<object>();

/** Destinations that a sandbox without a network could not reach, as its runtime has seen them. */
export class Unreached {
  readonly #counts = new Map<string, number>();

  /** Adds the payload of an UNREACHED frame. Code of the function may have sent it, so anything else than a destination is left out. */
  add(payload: Buffer): void {
    const to = parseDestination(payload.toString('utf8'));
    if (to === undefined || (!this.#counts.has(to) && this.#counts.size >= MAX_UNREACHED)) return;
    this.#counts.set(to, (this.#counts.get(to) ?? 0) + 1);
  }

  list(): DeniedEgress[] {
    return [...this.#counts].map(([to, count]) => ({ to, count }));
  }
}

/** Returns the line for the log at a sandbox's first refusal, and undefined afterwards. `open`: the function has egress rules. */
export function refusedNetworkLine(
  sandbox: Pick<Sandbox, 'id'>,
  denied: readonly DeniedEgress[],
  open: boolean,
): LogLine | undefined {
  const [first] = denied;
  if (!first || told.has(sandbox)) return undefined;
  told.add(sandbox);
  const because = open ? 'no rule of "network.egress" covers it' : 'this function has no "network.egress"';
  const next = egressAdvice(denied);
  const text = `network: ${first.to} is out of reach: ${because}${next === undefined ? '' : `; next: ${next}`}`;
  return { time: Date.now(), level: 'platform', text };
}
