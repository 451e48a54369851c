/** What the pool holds of one version of a function: its sandboxes, and the calls that wait for one. */
import type { AcquireKind, ColdReason } from '#contract/invocation.ts';
import type { LoadedVersion } from '../functions.ts';
import type { LogText } from '../invocation-log.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import type { FunctionHistory, FunctionView } from './policy.ts';

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

interface Waiter {
  resolve(lease: Lease): void;
  reject(error: unknown): void;
}

export class FunctionPool {
  readonly version: LoadedVersion;
  readonly members = new Set<Member>();
  readonly #waiters: Waiter[] = [];
  starting = 0;
  everReady = false;
  lastEnd: 'evicted' | 'died' | undefined;
  readonly #onIdle: () => void;

  constructor(version: LoadedVersion, onIdle: () => void) {
    this.version = version;
    this.#onIdle = onIdle;
  }

  get view(): FunctionView {
    return { waiting: this.#waiters.length, starting: this.starting };
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
    let best: Member | undefined;
    for (const member of this.members) {
      if (member.active >= this.version.manifest.concurrency || member.sandbox.exit) continue;
      if (!best || member.usedAt > best.usedAt) best = member;
    }
    return best && this.#lease(best);
  }

  wait(): Promise<Lease> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
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
    member.active++;
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
        member.active--;
        member.usedAt = performance.now();
        this.offer(member);
        if (member.active === 0) this.#onIdle();
      },
    };
  }
}
