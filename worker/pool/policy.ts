/**
 * Makes the pool's decisions, as pure functions of its present state: no clock, no I/O, no state of its own. So tests can cover
 * them all.
 */
import type { AcquireKind, ColdReason } from '#contract/invocations/invocation.ts';

/** The pool's figures for one version of a function. */
export interface FunctionView {
  /** Number of invocations that wait for a sandbox of the version. */
  readonly waiting: number;
  /** Number of sandboxes being made, isolated or loaded. */
  readonly starting: number;
  /** Number of sandboxes that have the function loaded. */
  readonly members: number;
  /** Number of members that run an invocation. */
  readonly active: number;
  /** Number of invocations that were handed ahead to members and have not begun. */
  readonly ahead: number;
  /**
   * Time in milliseconds for which the quicker of the latest invocations kept a sandbox; undefined while none has ended. Slower
   * ones would tell more about how busy the processors are than about the function.
   */
  readonly holdMs: number | undefined;
  /** Time in milliseconds that the first waiting call has waited. */
  readonly oldestWaitMs: number;
  /** Time in milliseconds since a sandbox was last given back, during which the line has not moved. */
  readonly sinceReleaseMs: number;
}

/** The pool's figures over all functions. */
export interface PoolView {
  readonly total: number;
  readonly ceiling: number;
  /** Number of sandboxes that could be ended to make room for another function. */
  readonly idle: number;
  readonly prepared: number;
}

/** Upper bound on simultaneous starts of one function: more would only wait for each other's processor. */
export const MAX_STARTING = 4;

/**
 * Rough cost of a start in milliseconds. A call that gets a sandbox sooner by waiting should wait. The other calls gain too: more
 * processes than the work needs only make the processors switch between them.
 */
export const START_COST_MS = 8;

/** Number of sandboxes of a function that may run without a look at how fast they are. */
export const ALWAYS_ACTIVE = 4;

/** Upper bound on the time that a call waits in line, whatever the estimate, while another sandbox could run it. */
export const MAX_LINE_MS = 100;

/**
 * Will the running sandboxes get to the waiting calls sooner than a start takes? Then let them: on busy processors, more running
 * processes only take turns. The estimate is wrong when the line does not move.
 */
export function servedSoon(fn: FunctionView): boolean {
  const { waiting, ahead, active, starting, holdMs, oldestWaitMs, sinceReleaseMs } = fn;
  if (holdMs === undefined || active === 0) return false;
  if (sinceReleaseMs >= START_COST_MS || oldestWaitMs >= MAX_LINE_MS) return false;
  return ((waiting + ahead) / (active + starting)) * holdMs < 2 * START_COST_MS;
}

/** Upper bound on invocations handed ahead to one sandbox, however quick they are. */
export const MAX_AHEAD = 16;

/** Returns how many invocations may be handed ahead to a running sandbox: as many as it finishes in the time of a start. */
export function aheadDepth(fn: FunctionView): number {
  if (fn.holdMs === undefined || fn.sinceReleaseMs >= START_COST_MS) return 0;
  return Math.min(MAX_AHEAD, Math.floor(START_COST_MS / fn.holdMs));
}

/**
 * Should a sandbox be loaded before a call asks for it? Only for functions whose sandboxes serve one invocation: the next
 * call would otherwise always be a cold one. One is enough, and it ends like others that are idle for long. None while the host is
 * short of memory (`isShort`): it would be given up as an idle one.
 */
export function spareWanted(fn: FunctionView, pool: PoolView, isShort = false): boolean {
  if (isShort) return false;
  return fn.waiting === 0 && fn.starting === 0 && fn.members === fn.active && pool.total < pool.ceiling;
}

/** May a call get an idle sandbox, or should it wait for the running ones? */
export function mayRun(fn: FunctionView): boolean {
  return fn.active < ALWAYS_ACTIVE || !servedSoon({ ...fn, waiting: fn.waiting + 1 });
}

/** Should another sandbox of the function be started? At most one for each waiting call is started at once. */
export function shouldStart(fn: FunctionView, pool: PoolView): boolean {
  if (fn.starting >= Math.min(fn.waiting, MAX_STARTING)) return false;
  if (fn.members >= ALWAYS_ACTIVE && servedSoon(fn)) return false;
  // At the ceiling a start takes the place of a prepared or an idle sandbox; without one the call waits.
  return pool.total < pool.ceiling || pool.idle > 0 || pool.prepared > 0;
}

/**
 * How many sandboxes to prepare now for an image that has `prepared` of them and `starting` under way. `isShort`: the host is short of
 * memory, so idle sandboxes are given up; prepared ones in their place would keep it short.
 */
export function preparedWanted(
  floor: number,
  prepared: number,
  starting: number,
  pool: PoolView,
  isShort = false,
): number {
  if (isShort) return 0;
  const room = Math.max(0, pool.ceiling - pool.total);
  return Math.max(0, Math.min(floor - prepared - starting, room));
}

export interface IdleView<Key> {
  readonly key: Key;
  /** Time of the last use; milliseconds of any clock. */
  readonly usedAt: number;
}

export interface EvictionPressure {
  readonly now: number;
  readonly keepAliveMs: number;
  /** Number of sandboxes to end whatever their age, because of the ceiling or a lack of memory. */
  readonly excess: number;
}

/** Chooses the idle sandboxes to end: all that exceed the keep-alive, and the least recently used of the rest. */
export function chooseEvictions<Key>(idle: readonly IdleView<Key>[], pressure: EvictionPressure): Key[] {
  const oldestFirst = idle.toSorted((a, b) => a.usedAt - b.usedAt);
  const expired = oldestFirst.filter(({ usedAt }) => pressure.now - usedAt >= pressure.keepAliveMs).length;
  return oldestFirst.slice(0, Math.max(expired, pressure.excess)).map(({ key }) => key);
}

/** True if the host has less memory left than OFFSHOOT_MEMORY_RESERVE_MB keeps free. */
export function memoryIsShort(availableMb: number, reserveMb: number): boolean {
  return availableMb < reserveMb;
}

/**
 * Returns how many sandboxes to end at once when the host is short of memory: a tenth, so that pressure is met in a few steps.
 */
export function memoryExcess(availableMb: number, reserveMb: number, idle: number): number {
  return memoryIsShort(availableMb, reserveMb) ? Math.ceil(idle / 10) : 0;
}

/** The pool's memory of a function. */
export interface FunctionHistory {
  /** Number of live sandboxes of this version, in any state. */
  readonly live: number;
  /** Has any sandbox of this version ever been ready? */
  readonly everReady: boolean;
  /** Has another version of the function been run by this worker? */
  readonly otherVersion: boolean;
  /** How the last sandbox of this version ended. */
  readonly lastEnd: 'evicted' | 'died' | undefined;
  /** True when each of its sandboxes serves one invocation. */
  readonly singleUse: boolean;
}

/** Explains why a call found no idle sandbox; `offshoot trace` shows this beside a cold start. */
export function explainCold(history: FunctionHistory): ColdReason {
  if (!history.everReady) return history.otherVersion ? 'new_version' : 'first_call';
  if (history.singleUse) return 'single_use';
  if (history.live > 0) return 'all_busy';
  return history.lastEnd === 'died' ? 'sandbox_ended' : 'evicted';
}

export type { AcquireKind };
