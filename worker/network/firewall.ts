/** Applies changes of ruleset.ts to the firewall of one egress namespace, one after the other, by nft(8). */
import { setTimeout as sleep } from 'node:timers/promises';
import type { NetworkOwner } from './owner.ts';
import { forgetDenied, listDenied, MAX_DENIED, parseDenied, resolvedRules } from './ruleset.ts';

/**
 * Number of readings of its refusals that a sandbox may cause at once; one more is allowed each second. Each reading starts a
 * process.
 */
const READINGS = 5;
/** Interval at which resolved addresses are opened, batched together: each time starts a process. */
const OPEN_INTERVAL_MS = 50;
/** Remaining time below which an open address is opened anew. */
const RENEW_BEFORE_MS = 120_000;
/** Upper bound on addresses remembered as open, over all sets; opening an address again does no harm. */
const MAX_REMEMBERED = 10_000;

export class Firewall {
  readonly #owner: NetworkOwner;
  readonly #namespace: number;
  readonly #openUntil = new Map<string, number>();
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;
  /** Addresses that are opened next, by set, and the promise that all their callers await. */
  #opening: { readonly sets: Map<string, Map<string, number>>; readonly done: Promise<void> } | undefined;
  #openedAt = 0;

  constructor(owner: NetworkOwner, namespace: number) {
    this.#owner = owner;
    this.#namespace = namespace;
  }

  /** Settles when the whole change is in force. */
  change(rules: string): Promise<void> {
    const change = this.#last.then(async () => {
      if (this.#closed) throw new Error('the egress namespace is closed');
      await this.#owner.run(['nft', '-f', '-'], { network: this.#namespace, input: rules });
    });
    this.#last = change.catch(() => undefined);
    return change;
  }

  /** Settles when all pending changes have been applied or have failed. */
  async idle(): Promise<void> {
    await this.#last;
  }

  async close(): Promise<void> {
    await this.#last;
    this.#closed = true;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Opens these addresses in `set` for at least `seconds`, to the functions that use the set. */
  async open(set: string, addresses: readonly string[], seconds: number): Promise<void> {
    const now = performance.now();
    const missing = addresses.filter(
      (address) => (this.#openUntil.get(`${set} ${address}`) ?? 0) < now + RENEW_BEFORE_MS,
    );
    if (missing.length === 0) return;
    if (!this.#opening) {
      const sets = new Map<string, Map<string, number>>();
      this.#opening = { sets, done: this.#openSoon(sets) };
    }
    const { sets, done } = this.#opening;
    const wanted = sets.get(set) ?? new Map<string, number>();
    for (const address of missing) wanted.set(address, seconds);
    sets.set(set, wanted);
    await done;
  }

  async #openSoon(sets: Map<string, Map<string, number>>): Promise<void> {
    await sleep(Math.max(0, this.#openedAt + OPEN_INTERVAL_MS - performance.now()));
    await this.#last;
    // Later calls go into the next batch.
    this.#opening = undefined;
    this.#openedAt = performance.now();
    await this.change([...sets].map(([set, wanted]) => resolvedRules(set, wanted)).join(''));
    if (this.#openUntil.size > MAX_REMEMBERED) this.#openUntil.clear();
    const now = performance.now();
    for (const [set, wanted] of sets)
      for (const [address, seconds] of wanted) this.#openUntil.set(`${set} ${address}`, now + seconds * 1000);
  }

  /** Forgets the open addresses of sets that are gone. */
  forget(sets: readonly string[]): void {
    for (const key of this.#openUntil.keys())
      if (sets.some((set) => key.startsWith(`${set} `))) this.#openUntil.delete(key);
  }

  /**
   * Returns a function that reads the refusals to the sandbox behind a link since its last reading. It returns undefined when
   * called too often; the next reading then includes them.
   */
  refusalsOf(index: number): () => Promise<Map<string, number> | undefined> {
    let seen = new Map<string, number>();
    let readings = READINGS;
    let readAt = performance.now();
    return async () => {
      const now = performance.now();
      readings = Math.min(READINGS, readings + (now - readAt) / 1000);
      readAt = now;
      if (readings < 1 || this.#closed) return undefined;
      readings--;
      const fresh = new Map<string, number>();
      const listed = parseDenied(await this.#owner.run(listDenied(index), { network: this.#namespace }));
      for (const [to, packets] of listed) {
        const count = packets - (seen.get(to) ?? 0);
        if (count > 0) fresh.set(to, count);
      }
      seen = listed;
      // The set is full, so new destinations would go unreported; empty it. Refusals between the two commands are not reported.
      if (listed.size >= MAX_DENIED) {
        await this.change(forgetDenied(index));
        seen = new Map();
      }
      return fresh;
    };
  }
}
