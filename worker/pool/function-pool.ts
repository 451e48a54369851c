/** The pool's state for one version of a function: its sandboxes, and the calls that wait for one. */
import type { AcquireKind, ColdReason } from '#contract/invocations/invocation.ts';
import type { LoadedVersion } from '../code/version-cache.ts';
import { OutsideTime, type IdleBudget } from '../cgroup/idle-cpu.ts';
import type { LogText } from '../run/invocation-log.ts';
import type { FunctionLog } from '../run/late-output.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { IdleDeaths } from './idle-deaths.ts';
import { aheadDepth, mayRun, START_COST_MS, type FunctionHistory, type FunctionView } from './policy.ts';

export interface Member {
  readonly sandbox: Sandbox;
  readonly owner: FunctionPool;
  /** How the sandbox was started; reported by the first invocation that it serves. */
  readonly kind: AcquireKind;
  readonly coldReason: ColdReason;
  /** True when it was loaded before any call asked for it, so no invocation has waited for the load. */
  readonly spare: boolean;
  /** Time that its module took to load, in milliseconds. */
  readonly initMs: number;
  /** Output of the module's load; the first invocation's log takes it over. */
  loadOutput: LogText[];
  served: number;
  active: number;
  usedAt: number;
  /** Budget for idle processor time, and the part of that time already counted, in milliseconds. */
  readonly idleBudget: IdleBudget;
  idleCpuMs: number;
}

/** The right to run one invocation in a sandbox, until release(). */
export interface Lease {
  readonly member: Member;
  readonly sandbox: Sandbox;
  readonly kind: AcquireKind;
  readonly coldReason: ColdReason | undefined;
  readonly initMs: number;
  /** True when no invocation has run in the sandbox before. */
  readonly firstUse: boolean;
  /** True when the function may run other invocations in the sandbox at the same time. */
  readonly shared: boolean;
  /** To be called when the invocation's code begins: it may have been handed ahead. */
  begin(): void;
  release(): void;
}

/** Weight with which a slower invocation raises the estimate of quick ones; a quicker one lowers it at once. */
const HOLD_WEIGHT = 0.01;

interface Waiter {
  readonly since: number;
  resolve(lease: Lease): void;
  reject(error: unknown): void;
}

export class FunctionPool {
  readonly version: LoadedVersion;
  /** Log for output that no invocation can claim. */
  readonly log: FunctionLog | undefined;
  readonly outside = new OutsideTime();
  readonly deaths = new IdleDeaths();
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

  /** True when each of its sandboxes serves one invocation and ends. */
  get singleUse(): boolean {
    return this.version.settings.isolation.mode === 'request';
  }

  /** Returns a lease for a call that comes now: on an idle sandbox, or on one whose line will soon be done. */
  take(): Lease | undefined {
    return this.#takeResting() ?? this.#takeAhead();
  }

  /** Leases the sandbox with room that was used last: its memory is in the processor's caches, and the others can age out. */
  #takeResting(): Lease | undefined {
    if (!mayRun(this.view)) return undefined;
    let best: Member | undefined;
    for (const member of this.members) {
      if (member.active >= this.version.settings.concurrency || !member.sandbox.usable) continue;
      if (!best || member.usedAt > best.usedAt) best = member;
    }
    return best && this.#lease(best);
  }

  /** Leases the running sandbox with the shortest line. */
  #takeAhead(): Lease | undefined {
    if (this.version.settings.concurrency > 1 || this.singleUse) return undefined;
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

  /** Takes back calls that lie behind a slow one; they then wait for the first sandbox that becomes free. */
  #watchLines(): void {
    this.#watches = true;
    setTimeout(() => {
      for (const { sandbox } of this.members) sandbox.turns.withdrawStuck(START_COST_MS);
      this.#watches = false;
      if (this.#ahead > 0) this.#watchLines();
    }, START_COST_MS);
  }

  /** Gives free sandboxes to waiting calls. */
  dispatch(): void {
    while (this.#waiters.length > 0) {
      const lease = this.take();
      if (!lease) return;
      this.#waiters.shift()?.resolve(lease);
    }
  }

  /** Retires a removed function: its sandboxes end after their invocations, and new ones end at once unless a call waits. */
  retire(): void {
    this.#retired = true;
  }

  /** Waits for a lease, ahead of calls that came later than `since`. */
  wait(since: number): Promise<Lease> {
    return new Promise((resolve, reject) => {
      let at = this.#waiters.length;
      while (at > 0 && (this.#waiters[at - 1]?.since ?? 0) > since) at--;
      this.#waiters.splice(at, 0, { since, resolve, reject });
    });
  }

  /** Reports a failed start to the call that has waited longest, because the sandbox would have been its own. */
  fail(error: unknown): void {
    this.#waiters.shift()?.reject(error);
  }

  /** Gives a started member to waiting calls. */
  offer(member: Member): void {
    while (member.active < this.version.settings.concurrency && member.sandbox.usable) {
      const waiter = this.#waiters.shift();
      if (!waiter) break;
      waiter.resolve(this.#lease(member));
    }
    if (this.#retired && member.active === 0) member.sandbox.dismiss('function_removed');
  }

  #lease(member: Member): Lease {
    const firstUse = member.served === 0;
    // An invocation does not report the start of a spare sandbox.
    const starts = firstUse && !member.spare;
    member.served++;
    const { concurrency } = this.version.settings;
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
        if (member.active === 0 && (!member.sandbox.usable || this.singleUse))
          member.sandbox.dismiss(this.singleUse ? 'single_use' : 'spent');
        member.usedAt = performance.now();
        this.#releasedAt = member.usedAt;
        // Not learned from: calls handed ahead, whose start is only roughly known, and single-use sandboxes, which no waiting
        // call can inherit.
        if (!ahead && !this.singleUse) this.#learn(member.usedAt - leasedAt);
        // The policy also decides whether this sandbox goes on or rests; otherwise a burst would keep all sandboxes that it woke.
        this.dispatch();
        if (member.active > 0) return;
        if (this.#retired) member.sandbox.dismiss('function_removed');
        this.#onIdle();
      },
    };
  }

  #learn(heldMs: number): void {
    const known = this.#holdMs ?? heldMs;
    this.#holdMs = heldMs < known ? heldMs : known + (heldMs - known) * HOLD_WEIGHT;
  }
}
