/** The firewall of one egress namespace: changes of ruleset.ts, carried out one after the other by nft(8). */
import { setTimeout as sleep } from 'node:timers/promises';
import type { NetworkOwner } from './owner.ts';
import { forgetDenied, listDenied, MAX_DENIED, parseDenied, resolvedRules } from './ruleset.ts';

/** A sandbox may have its refusals read this many times at once, and once more each second: each reading is a process. */
const READINGS = 5;
/** Addresses that names resolved to are opened together where they come quicker than this: each time is a process. */
const OPEN_INTERVAL_MS = 50;
/** An address is opened anew when it would be closed within this time. */
const RENEW_BEFORE_MS = 120_000;
/** Addresses of all sets of which it is remembered that they are open; opening one again does no harm. */
const MAX_REMEMBERED = 10_000;

export class Firewall {
  readonly #owner: NetworkOwner;
  readonly #namespace: number;
  readonly #openUntil = new Map<string, number>();
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;
  /** What is to be opened next, by set; and the promise of everybody who waits for that. */
  #opening: { readonly sets: Map<string, Map<string, number>>; readonly done: Promise<void> } | undefined;
  #openedAt = 0;

  constructor(owner: NetworkOwner, namespace: number) {
    this.#owner = owner;
    this.#namespace = namespace;
  }

  /** Settles when the change holds, the whole of it. */
  change(rules: string): Promise<void> {
    const change = this.#last.then(async () => {
      if (this.#closed) throw new Error('the egress namespace is closed');
      await this.#owner.run(['nft', '-f', '-'], { network: this.#namespace, input: rules });
    });
    this.#last = change.catch(() => undefined);
    return change;
  }

  /** Settles when all changes so far have been carried out, or have failed. */
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

  /** Lets whoever may reach what is in `set` reach these addresses for so many seconds at least. */
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
    // From here on, whoever comes waits for the next one.
    this.#opening = undefined;
    this.#openedAt = performance.now();
    await this.change([...sets].map(([set, wanted]) => resolvedRules(set, wanted)).join(''));
    if (this.#openUntil.size > MAX_REMEMBERED) this.#openUntil.clear();
    const now = performance.now();
    for (const [set, wanted] of sets)
      for (const [address, seconds] of wanted) this.#openUntil.set(`${set} ${address}`, now + seconds * 1000);
  }

  /** Sets that are gone: what was open in them is not open any more. */
  forget(sets: readonly string[]): void {
    for (const key of this.#openUntil.keys())
      if (sets.some((set) => key.startsWith(`${set} `))) this.#openUntil.delete(key);
  }

  /**
   * Reads what was refused to the sandbox behind a link, as what has come since the last time. Gives undefined where it
   * was asked too often; it is told the next time then.
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
      // Full: what comes next would not be told. What came between is lost, and refused all the same.
      if (listed.size >= MAX_DENIED) {
        await this.change(forgetDenied(index));
        seen = new Map();
      }
      return fresh;
    };
  }
}
