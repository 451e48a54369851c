/** What the pool holds of one version of a function: its sandboxes, and the calls that wait for one. */
import type { AcquireKind, ColdReason } from '#contract/invocation.ts';
import type { LoadedVersion } from '../functions.ts';
import type { LogText } from '../invocation-log.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { mayRun, type FunctionHistory, type FunctionView } from './policy.ts';

export interface Member {
  readonly sandbox: Sandbox;
  readonly owner: FunctionPool;
  /** How it came to be, for the first invocation that it serves. */
  readonly kind: AcquireKind;
  readonly coldReason: ColdReason;
  /** Milliseconds that its module took to load. */
  readonly initMs: number;
  /** What the module wrote while it was loaded; the first invocation takes it over. */
  loadOutput: LogText[];
  served: number;
  active: number;
  usedAt: number;
}

/** A sandbox for one invocation, until release(). */
export interface Lease {
  readonly member: Member;
  readonly sandbox: Sandbox;
  readonly kind: AcquireKind;
  readonly coldReason: ColdReason | undefined;
  readonly initMs: number;
  release(): void;
}

/** How fast the figure for quick invocations follows slower ones; it follows quicker ones at once. */
const HOLD_WEIGHT = 0.01;

interface Waiter {
  readonly since: number;
  resolve(lease: Lease): void;
  reject(error: unknown): void;
}

export class FunctionPool {
  readonly version: LoadedVersion;
  readonly members = new Set<Member>();
  readonly #waiters: Waiter[] = [];
  #holdMs: number | undefined;
  #active = 0;
  #releasedAt = 0;
  starting = 0;
  everReady = false;
  lastEnd: 'evicted' | 'died' | undefined;
  readonly #onIdle: () => void;

  constructor(version: LoadedVersion, onIdle: () => void) {
    this.version = version;
    this.#onIdle = onIdle;
  }

  get view(): FunctionView {
    const [oldest] = this.#waiters;
    const now = performance.now();
    return {
      waiting: this.#waiters.length,
      starting: this.starting,
      members: this.members.size,
      active: this.#active,
      holdMs: this.#holdMs,
      oldestWaitMs: oldest ? now - oldest.since : 0,
      sinceReleaseMs: now - this.#releasedAt,
    };
  }

  history(otherVersion: boolean): FunctionHistory {
    return {
      live: this.members.size + this.starting,
      everReady: this.everReady,
      otherVersion,
      lastEnd: this.lastEnd,
    };
  }

  /** The sandbox with room that was used last: its memory is in the processor's caches, and the others can grow old. */
  take(): Lease | undefined {
    if (!mayRun(this.view)) return undefined;
    let best: Member | undefined;
    for (const member of this.members) {
      if (member.active >= this.version.manifest.concurrency || member.sandbox.exit) continue;
      if (!best || member.usedAt > best.usedAt) best = member;
    }
    return best && this.#lease(best);
  }

  /** Gives idle sandboxes to those who have stood in line in vain. */
  dispatch(): void {
    while (this.#waiters.length > 0) {
      const lease = this.take();
      if (!lease) return;
      this.#waiters.shift()?.resolve(lease);
    }
  }

  wait(): Promise<Lease> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ since: performance.now(), resolve, reject });
    });
  }

  /** A start has failed: the call that has waited longest is told, because its turn it would have been. */
  fail(error: unknown): void {
    this.#waiters.shift()?.reject(error);
  }

  /** Gives a member that has room to those who wait. */
  offer(member: Member): void {
    while (member.active < this.version.manifest.concurrency && !member.sandbox.exit) {
      const waiter = this.#waiters.shift();
      if (!waiter) return;
      waiter.resolve(this.#lease(member));
    }
  }

  #lease(member: Member): Lease {
    const first = member.served === 0;
    member.served++;
    if (member.active++ === 0) this.#active++;
    const leasedAt = performance.now();
    let released = false;
    return {
      member,
      sandbox: member.sandbox,
      kind: first ? member.kind : 'idle',
      coldReason: first ? member.coldReason : undefined,
      initMs: first ? member.initMs : 0,
      release: () => {
        if (released) return;
        released = true;
        if (--member.active === 0) this.#active--;
        member.usedAt = performance.now();
        const held = member.usedAt - leasedAt;
        this.#releasedAt = member.usedAt;
        const known = this.#holdMs ?? held;
        this.#holdMs = held < known ? held : known + (held - known) * HOLD_WEIGHT;
        // Whether this sandbox goes on or rests is the policy's choice too: otherwise a burst would keep all that it woke.
        this.dispatch();
        if (member.active === 0) this.#onIdle();
      },
    };
  }
}
