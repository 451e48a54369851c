/** Holds the sandboxes of this worker: it keeps the state for the decisions of policy.ts, and carries them out. */
import { freemem } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PoolStatus } from '#contract/api/api.ts';
import { MAX_POOLS_SHOWN } from '#contract/functions/limits.ts';
import type { Runtime } from '#contract/functions/manifest.ts';
import type { CodeStore } from '../code/code-store.ts';
import type { LoadedVersion } from '../code/version-cache.ts';
import { log } from '../process/log.ts';
import { GRACE_MS } from '../sandbox/grace.ts';
import { IdleBudget, WINDOW_MS } from '../cgroup/idle-cpu.ts';
import type { FunctionLog } from '../run/late-output.ts';
import type { Networks } from '../network/networks.ts';
import type { Receipts } from './receipts.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import type { Zygotes } from './zygotes.ts';
import { FunctionPool, type Lease, type Member } from './function-pool.ts';
import {
  chooseEvictions,
  explainCold,
  memoryExcess,
  memoryIsShort,
  preparedWanted,
  shouldStart,
  spareWanted,
  START_COST_MS,
  type PoolView,
} from './policy.ts';
import type { SandboxFactory } from './sandbox-factory.ts';
import { LoadFailedError, startFunction } from './start-function.ts';

export interface PoolOptions {
  readonly ceiling: number;
  readonly preparedFloor: number;
  readonly keepAliveMs: number;
  readonly memoryReserveMb: number;
  readonly factory: SandboxFactory;
  readonly zygotes: Zygotes;
  readonly code: CodeStore;
  readonly networks: Networks;
  readonly receipts: Receipts;
  /** Share of its function's `cpu` that an idle sandbox may use on average. */
  readonly idleCpu: number;
  /** Called with processor time in milliseconds that a function has used outside of invocations. */
  readonly onOutside?: (version: LoadedVersion, phase: 'start' | 'idle', ms: number) => void;
  /** Makes a function's own log; without it, output that no invocation can claim is discarded. */
  readonly functionLog?: (version: LoadedVersion) => FunctionLog;
}

interface PreparedShelf {
  readonly runtime: Runtime;
  readonly namespace: string;
  readonly sandboxes: Sandbox[];
  starting: number;
}

/** Time limit for the ends of all sandboxes at the stop of the worker. */
const STOP_MS = 2 * GRACE_MS;
const TIDY_INTERVAL_MS = 1_000;
const MB = 1024 * 1024;

export class Pool {
  readonly #options: PoolOptions;
  readonly #functions = new Map<string, FunctionPool>();
  readonly #prepared = new Map<string, PreparedShelf>();
  readonly #lookingAgain = new Set<FunctionPool>();
  readonly #tidying: NodeJS.Timeout;
  #stopping = false;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#tidying = setInterval(() => this.#tidy(), TIDY_INTERVAL_MS);
  }

  /**
   * Returns a sandbox with the function loaded, for a call that has waited since `since`. Rejects with the errors of
   * startFunction().
   */
  acquire(version: LoadedVersion, since = performance.now()): Lease | Promise<Lease> {
    let fn = this.#functions.get(version.key);
    if (!fn) {
      fn = new FunctionPool(version, () => this.#pumpAll(), this.#options.functionLog?.(version));
      this.#functions.set(version.key, fn);
    }
    const lease = fn.take();
    if (lease) return lease;
    const waiting = fn.wait(since);
    this.#pump(fn);
    return waiting;
  }

  /** Prepares a zygote and its sandboxes before the first call needs them. */
  async warm(runtime: Runtime, namespace: string): Promise<void> {
    await this.#options.zygotes.get(runtime, namespace);
    this.#refill(this.#shelf(runtime, namespace));
  }

  /** Forgets the deleted function `namespace/name`: idle sandboxes end now, loading or running ones after their work. */
  forget(name: string): void {
    for (const [key, fn] of this.#functions) {
      if (!key.startsWith(`${name}@`)) continue;
      this.#functions.delete(key);
      for (const { sandbox, active } of fn.members) {
        if (active === 0) sandbox.dismiss('function_removed');
      }
      fn.retire();
    }
  }

  /** Namespaces for which sandboxes or zygotes are kept ready. */
  get namespaces(): Set<string> {
    const shelves = [...this.#prepared.values()].map(({ namespace }) => namespace);
    return this.#options.zygotes.namespaces.union(new Set(shelves));
  }

  /**
   * Stops keeping sandboxes ready for a namespace without functions. Does nothing while a first deploy may be loading a function.
   */
  giveUp(namespace: string): void {
    for (const { version, members, starting, view } of this.#functions.values()) {
      if (version.namespace === namespace && members.size + starting + view.waiting > 0) return;
    }
    for (const [key, shelf] of this.#prepared) {
      if (shelf.namespace !== namespace) continue;
      this.#prepared.delete(key);
      for (const sandbox of shelf.sandboxes) sandbox.kill('function_removed');
    }
    this.#options.zygotes.giveUp(namespace);
  }

  counts(): { prepared: number; idle: number; busy: number } {
    let idle = 0;
    let busy = 0;
    for (const { members } of this.#functions.values()) {
      for (const { active } of members) {
        if (active > 0) busy++;
        else idle++;
      }
    }
    let prepared = 0;
    for (const { sandboxes } of this.#prepared.values()) prepared += sandboxes.length;
    return { prepared, idle, busy };
  }

  /** Number of sandboxes on their way into counts(). */
  get starting(): number {
    let starting = 0;
    for (const fn of this.#functions.values()) starting += fn.starting;
    for (const shelf of this.#prepared.values()) starting += shelf.starting;
    return starting;
  }

  /** Returns counts() by function and version, the largest first, and no more than a heartbeat should carry. */
  pools(): PoolStatus[] {
    const all: PoolStatus[] = [];
    for (const { version, members, outside, deaths } of this.#functions.values()) {
      if (members.size === 0 && outside.ended + deaths.total === 0) continue;
      let busy = 0;
      for (const { active } of members) if (active > 0) busy++;
      const { namespace, name, version: number, settings } = version;
      const idle = members.size - busy;
      all.push({
        namespace,
        name,
        version: number,
        runtime: settings.runtime,
        prepared: 0,
        idle,
        busy,
        startCpu: Math.round(outside.start),
        idleCpu: Math.round(outside.idle),
        ...(outside.ended > 0 && { endedIdle: outside.ended }),
        ...(deaths.total > 0 && { diedIdle: deaths.total }),
      });
    }
    for (const { namespace, runtime, sandboxes } of this.#prepared.values()) {
      if (sandboxes.length > 0)
        all.push({ namespace, runtime, prepared: sandboxes.length, idle: 0, busy: 0 });
    }
    return all.toSorted((a, b) => sizeOf(b) - sizeOf(a)).slice(0, MAX_POOLS_SHOWN);
  }

  /** Ends every sandbox and zygote, and settles when all of them are gone. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearInterval(this.#tidying);
    for (const { sandboxes } of this.#prepared.values())
      for (const sandbox of sandboxes) sandbox.kill('shutdown');
    const members = [...this.#functions.values()].flatMap((fn) => [...fn.members]);
    for (const { sandbox } of members) sandbox.dismiss('shutdown');
    await Promise.race([Promise.all(members.map(({ sandbox }) => sandbox.ended)), sleep(STOP_MS)]);
    // Ending the zygotes also ends sandboxes that were just being started.
    await this.#options.zygotes.stop();
    await this.#options.factory.emptied();
    await this.#options.networks.stop();
  }

  get #view(): PoolView {
    const { prepared, idle } = this.counts();
    return { total: this.#options.factory.live, ceiling: this.#options.ceiling, idle, prepared };
  }

  #pumpAll(): void {
    // Only in a pool at its ceiling do calls wait for another function's sandbox.
    if (this.#options.factory.live < this.#options.ceiling) return;
    for (const fn of this.#functions.values()) if (fn.view.waiting > 0) this.#pump(fn);
  }

  #pump(fn: FunctionPool): void {
    fn.dispatch();
    while (!this.#stopping && shouldStart(fn.view, this.#view)) {
      fn.starting++;
      void this.#start(fn, false);
    }
    // Calls were left to wait because their turn should come soon; check again in case it does not.
    if (fn.view.waiting > 0 && !this.#lookingAgain.has(fn)) {
      this.#lookingAgain.add(fn);
      setTimeout(() => {
        this.#lookingAgain.delete(fn);
        this.#pump(fn);
      }, START_COST_MS);
    }
  }

  /** `spare`: no call waits for the sandbox. */
  async #start(fn: FunctionPool, spare: boolean): Promise<void> {
    const coldReason = explainCold({ ...fn.history(this.#hasOtherVersion(fn)), live: fn.members.size });
    try {
      const view = this.#view;
      if (view.total >= view.ceiling) await this.#makeRoom();
      const started = await startFunction(fn.version, this.#options, () => this.#takePrepared(fn.version));
      const member: Member = {
        ...started,
        owner: fn,
        coldReason,
        spare,
        served: 0,
        active: 0,
        usedAt: performance.now(),
        idleBudget: new IdleBudget(this.#options.idleCpu * fn.version.settings.cpu),
        idleCpuMs: 0,
      };
      this.#countOutside(fn, 'start', started.startCpuMs);
      fn.log?.claim(member.sandbox);
      fn.members.add(member);
      fn.everReady = true;
      void member.sandbox.ended.then(() => this.#ended(member));
      fn.offer(member);
    } catch (error) {
      if (error instanceof LoadFailedError) this.#countOutside(fn, 'start', error.startCpuMs);
      fn.fail(error);
    } finally {
      fn.starting--;
      this.#pump(fn);
      // A function removed meanwhile may be the last of its namespace, so nothing is prepared for it.
      if (this.#functions.get(fn.version.key) === fn)
        this.#refill(this.#shelf(fn.version.settings.runtime, fn.version.namespace));
    }
  }

  #ended(member: Member): void {
    const fn = member.owner;
    this.#countIdle(member);
    // If an invocation was running, its outcome reports this already.
    if (member.sandbox.end === 'out_of_memory' && member.active === 0)
      fn.log?.tell(member.sandbox, 'the sandbox was ended between invocations: it ran out of memory');
    const death = member.active === 0 ? fn.deaths.ended(member.sandbox) : undefined;
    if (death !== undefined) fn.log?.tell(member.sandbox, death);
    if (fn.members.delete(member)) fn.lastEnd = 'died';
    this.#pump(fn);
    // Not for a sandbox that was never used: a spare that ends by itself would be started over and over.
    if (fn.singleUse && member.served > 0) this.#keepSpare(fn);
  }

  #keepSpare(fn: FunctionPool): void {
    if (this.#stopping || this.#functions.get(fn.version.key) !== fn) return;
    if (!fn.outside.mayLoadAhead() || !fn.deaths.mayLoadAhead()) return;
    if (!spareWanted(fn.view, this.#view, this.#isShort())) return;
    fn.starting++;
    void this.#start(fn, true);
  }

  #hasOtherVersion(fn: FunctionPool): boolean {
    const prefix = `${fn.version.namespace}/${fn.version.name}@`;
    for (const [key, other] of this.#functions)
      if (other !== fn && other.everReady && key.startsWith(prefix)) return true;
    return false;
  }

  #shelf(runtime: Runtime, namespace: string): PreparedShelf {
    const key = shelfKey(runtime, namespace);
    let shelf = this.#prepared.get(key);
    if (!shelf) {
      shelf = { runtime, namespace, sandboxes: [], starting: 0 };
      this.#prepared.set(key, shelf);
    }
    return shelf;
  }

  #takePrepared(version: LoadedVersion): Sandbox | undefined {
    const shelf = this.#prepared.get(shelfKey(version.settings.runtime, version.namespace));
    for (;;) {
      const sandbox = shelf?.sandboxes.shift();
      if (!sandbox) return undefined;
      if (sandbox.state === 'prepared' && !sandbox.zygote.retired) return sandbox;
      sandbox.kill('zygote_replaced');
    }
  }

  /** True if the host is short of memory. Reads /proc/meminfo. */
  #isShort(): boolean {
    return memoryIsShort(freemem() / MB, this.#options.memoryReserveMb);
  }

  /**
   * Prepares one sandbox at a time, and only while no start is under way: prepared sandboxes are for the next burst, not for this
   * one.
   */
  #refill(shelf: PreparedShelf): void {
    if (this.#stopping || shelf.starting > 0 || [...this.#functions.values()].some((fn) => fn.starting > 0))
      return;
    const { sandboxes, starting } = shelf;
    const { preparedFloor } = this.#options;
    if (preparedWanted(preparedFloor, sandboxes.length, starting, this.#view, this.#isShort()) === 0) return;
    shelf.starting++;
    this.#prepare(shelf)
      .then(() => {
        shelf.starting--;
        if (this.#keeps(shelf)) this.#refill(shelf);
      })
      .catch((error: unknown) => {
        shelf.starting--;
        if (this.#keeps(shelf)) log.error({ error }, 'a sandbox could not be prepared');
      });
  }

  async #prepare(shelf: PreparedShelf): Promise<void> {
    const { factory, zygotes, networks } = this.#options;
    const zygote = await zygotes.get(shelf.runtime, shelf.namespace);
    if (!this.#keeps(shelf)) return;
    networks.prepare(zygote, shelf.runtime, shelf.namespace);
    const sandbox = factory.start(zygote, 'prepared');
    await sandbox.prepared;
    if (!this.#keeps(shelf)) return sandbox.kill('function_removed');
    shelf.sandboxes.push(sandbox);
    void sandbox.ended.then(() => {
      const at = shelf.sandboxes.indexOf(sandbox);
      if (at >= 0) shelf.sandboxes.splice(at, 1);
    });
  }

  /** False after giveUp() of the shelf's namespace. */
  #keeps(shelf: PreparedShelf): boolean {
    return this.#prepared.get(shelfKey(shelf.runtime, shelf.namespace)) === shelf;
  }

  /** Ends the least recently used idle sandbox, or a prepared one, and waits until it is gone. */
  async #makeRoom(): Promise<void> {
    const [victim] = this.#evict(1, 'made_room');
    const sandbox =
      victim ?? [...this.#prepared.values()].find(({ sandboxes }) => sandboxes.length > 0)?.sandboxes.shift();
    sandbox?.kill('made_room');
    await sandbox?.ended;
  }

  #idle(): { key: Member; usedAt: number }[] {
    const idle = [];
    for (const { members } of this.#functions.values()) {
      for (const member of members)
        if (member.active === 0) idle.push({ key: member, usedAt: member.usedAt });
    }
    return idle;
  }

  /** Ends `excess` idle sandboxes, and all that have been idle for too long. */
  #evict(
    excess: number,
    reason: 'made_room' | 'host_memory',
    keepAliveMs = Number.POSITIVE_INFINITY,
  ): Sandbox[] {
    const now = performance.now();
    const victims = chooseEvictions(this.#idle(), { now, keepAliveMs, excess });
    for (const member of victims) {
      member.owner.members.delete(member);
      member.owner.lastEnd = 'evicted';
      member.sandbox.dismiss(now - member.usedAt >= keepAliveMs ? 'idle' : reason);
    }
    return victims.map(({ sandbox }) => sandbox);
  }

  #countOutside(fn: FunctionPool, phase: 'start' | 'idle', ms: number): void {
    fn.outside[phase] += ms;
    this.#options.onOutside?.(fn.version, phase, ms);
  }

  /** Returns the processor time in milliseconds that the sandbox has used outside of invocations since the last call. */
  #countIdle(member: Member): number {
    const used = member.sandbox.usage.idleCpuMs - member.idleCpuMs;
    member.idleCpuMs += used;
    if (used > 0) this.#countOutside(member.owner, 'idle', used);
    return used;
  }

  /** Ends idle sandboxes that exceed their budget. Work beside an invocation falls under that invocation's limits. */
  #watchIdle(): void {
    for (const fn of this.#functions.values())
      for (const member of fn.members) {
        const { sandbox, active, idleBudget } = member;
        if (active === 0) sandbox.usage.cpuMs();
        if (idleBudget.spend(this.#countIdle(member)) || active > 0) continue;
        fn.members.delete(member);
        fn.lastEnd = 'died';
        fn.outside.overspent();
        fn.log?.tell(sandbox, this.#idleEnd(fn, sandbox));
        sandbox.kill('idle_cpu');
      }
  }

  #idleEnd({ singleUse, outside }: FunctionPool, sandbox: Sandbox): string {
    const percent = Math.round(this.#options.idleCpu * 100);
    const used = (sandbox.usage.idleCpuMs / 1_000).toFixed(1);
    const next = singleUse ? `; ${outside.consequence}` : '';
    return `the sandbox was ended: it has used ${used} s of processor time without an invocation, and may use ${percent} % of its "cpu" on average over ${WINDOW_MS / 1_000} s (OFFSHOOT_IDLE_CPU)${next}`;
  }

  #tidy(): void {
    this.#options.factory.endOutOfMemory();
    this.#watchIdle();
    const idle = this.#idle().length;
    const excess = memoryExcess(freemem() / MB, this.#options.memoryReserveMb, idle);
    this.#evict(excess, 'host_memory', this.#options.keepAliveMs);
    this.#options.zygotes.tend();
    for (const shelf of this.#prepared.values()) {
      // Sandboxes of a replaced zygote share the layout that it was replaced for.
      for (const sandbox of shelf.sandboxes)
        if (sandbox.zygote.retired && !sandbox.exit) sandbox.kill('zygote_replaced');
      this.#refill(shelf);
    }
  }
}

function shelfKey(runtime: Runtime, namespace: string): string {
  return `${runtime}/${namespace}`;
}

function sizeOf({ prepared, idle, busy }: PoolStatus): number {
  return prepared + idle + busy;
}
