/** What the pool holds of one version of a function: its sandboxes, and the calls that wait for one. */
import type { AcquireKind, ColdReason } from '#contract/invocation.ts';
import type { LoadedVersion } from '../functions.ts';
import { OutsideTime, type IdleBudget } from '../idle-cpu.ts';
import type { LogText } from '../invocation-log.ts';
import type { FunctionLog } from '../late-output.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { aheadDepth, mayRun, START_COST_MS, type FunctionHistory, type FunctionView } from './policy.ts';

export interface Member {
  readonly sandbox: Sandbox;
  readonly owner: FunctionPool;
  /** How it came to be, for the first invocation that it serves. */
  readonly kind: AcquireKind;
  readonly coldReason: ColdReason;
  /** It was loaded before any call asked for it: no invocation has waited for that. */
  readonly spare: boolean;
  /** Milliseconds that its module took to load. */
  readonly initMs: number;
  /** What the module wrote while it was loaded; the first invocation takes it over. */
  loadOutput: LogText[];
  served: number;
  active: number;
  usedAt: number;
  /** What it may use while nothing runs in it, and how much of what it has used so is accounted. */
  readonly idleBudget: IdleBudget;
  idleCpuMs: number;
}

/** A sandbox for one invocation, until release(). */
export interface Lease {
  readonly member: Member;
  readonly sandbox: Sandbox;
  readonly kind: AcquireKind;
  readonly coldReason: ColdReason | undefined;
  readonly initMs: number;
  /** No invocation has run in the sandbox before. */
  readonly firstUse: boolean;
  /** The function may run other invocations in the sandbox at the same time. */
  readonly shared: boolean;
  /** To be called when its code begins: it may have been handed ahead. */
  begin(): void;
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
  /** What no invocation can claim goes there. */
  readonly log: FunctionLog | undefined;
  readonly outside = new OutsideTime();
  readonly members = new Set<Member>();
  readonly #waiters: Waiter[] = [];
  #holdMs: number | undefined;
  #active = 0;
  #ahead = 0;
  #releasedAt = 0;
  #watches = false;
  #retired = false;
  starting = 0;
  everReady = false;
  lastEnd: 'evicted' | 'died' | undefined;
  readonly #onIdle: () => void;

  constructor(version: LoadedVersion, onIdle: () => void, log?: FunctionLog) {
    this.version = version;
    this.log = log;
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
      ahead: this.#ahead,
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
      singleUse: this.singleUse,
    };
  }

  /** Each of its sandboxes serves one invocation and ends. */
  get singleUse(): boolean {
    return this.version.manifest.isolation.mode === 'request';
  }

  /** A sandbox for a call that comes now: one that rests, or one whose turn comes soon. */
  take(): Lease | undefined {
    return this.#takeResting() ?? this.#takeAhead();
  }

  /** The sandbox with room that was used last: its memory is in the processor's caches, and the others can grow old. */
  #takeResting(): Lease | undefined {
    if (!mayRun(this.view)) return undefined;
    let best: Member | undefined;
    for (const member of this.members) {
      if (member.active >= this.version.manifest.concurrency || !member.sandbox.usable) continue;
      if (!best || member.usedAt > best.usedAt) best = member;
    }
    return best && this.#lease(best);
  }

  /** The running sandbox with the shortest line. */
  #takeAhead(): Lease | undefined {
    if (this.version.manifest.concurrency > 1 || this.singleUse) return undefined;
    const depth = aheadDepth(this.view);
    let best: Member | undefined;
    for (const member of this.members) {
      const { sandbox, active } = member;
      if (active === 0 || active > depth || !sandbox.usable || !sandbox.turns.open) continue;
      if (!best || active < best.active) best = member;
    }
    if (!best) return undefined;
    if (!this.#watches) this.#watchLines();
    return this.#lease(best);
  }

  /** Calls that lie behind one that takes long are taken back: they then wait for whichever sandbox is free first. */
  #watchLines(): void {
    this.#watches = true;
    setTimeout(() => {
      for (const { sandbox } of this.members) sandbox.turns.withdrawStuck(START_COST_MS);
      this.#watches = false;
      if (this.#ahead > 0) this.#watchLines();
    }, START_COST_MS);
  }

  /** Gives idle sandboxes to those who have stood in line in vain. */
  dispatch(): void {
    while (this.#waiters.length > 0) {
      const lease = this.take();
      if (!lease) return;
      this.#waiters.shift()?.resolve(lease);
    }
  }

  /** Its sandboxes end when what they run has ended, or when they have started for nobody. */
  retire(): void {
    this.#retired = true;
  }

  /** Stands in line, before those that have come later than `since`. */
  wait(since: number): Promise<Lease> {
    return new Promise((resolve, reject) => {
      let at = this.#waiters.length;
      while (at > 0 && (this.#waiters[at - 1]?.since ?? 0) > since) at--;
      this.#waiters.splice(at, 0, { since, resolve, reject });
    });
  }

  /** A start has failed: the call that has waited longest is told, because its turn it would have been. */
  fail(error: unknown): void {
    this.#waiters.shift()?.reject(error);
  }

  /** Gives a member that has been started to those who wait. */
  offer(member: Member): void {
    while (member.active < this.version.manifest.concurrency && member.sandbox.usable) {
      const waiter = this.#waiters.shift();
      if (!waiter) break;
      waiter.resolve(this.#lease(member));
    }
    if (this.#retired && member.active === 0) member.sandbox.kill('function_removed');
  }

  #lease(member: Member): Lease {
    const firstUse = member.served === 0;
    // Of a spare's start the invocation sees nothing.
    const starts = firstUse && !member.spare;
    member.served++;
    const { concurrency } = this.version.manifest;
    const ahead = concurrency === 1 && member.active > 0;
    if (member.active++ === 0) this.#active++;
    if (ahead) this.#ahead++;
    const leasedAt = performance.now();
    let begun = !ahead;
    let released = false;
    const begin = (): void => {
      if (begun) return;
      begun = true;
      this.#ahead--;
    };
    return {
      member,
      sandbox: member.sandbox,
      kind: starts ? member.kind : 'idle',
      coldReason: starts ? member.coldReason : undefined,
      initMs: starts ? member.initMs : 0,
      firstUse,
      shared: concurrency > 1,
      begin,
      release: () => {
        if (released) return;
        released = true;
        begin();
        if (--member.active === 0) this.#active--;
        if (member.active === 0 && (member.sandbox.spent || this.singleUse))
          member.sandbox.kill(this.singleUse ? 'single_use' : 'spent');
        member.usedAt = performance.now();
        this.#releasedAt = member.usedAt;
        // When one that was handed ahead began is known only roughly. And nobody gets a sandbox that is used once by
        // waiting for its invocation to end.
        if (!ahead && !this.singleUse) this.#learn(member.usedAt - leasedAt);
        // Whether this sandbox goes on or rests is the policy's choice too: otherwise a burst would keep all that it woke.
        this.dispatch();
        if (member.active > 0) return;
        if (this.#retired) member.sandbox.kill('function_removed');
        this.#onIdle();
      },
    };
  }

  #learn(heldMs: number): void {
    const known = this.#holdMs ?? heldMs;
    this.#holdMs = heldMs < known ? heldMs : known + (heldMs - known) * HOLD_WEIGHT;
  }
}
