/**
 * The decisions of the pool, as functions of what it sees: no clock, no I/O, no state.
 */
import type { AcquireKind, ColdReason } from '#contract/invocations/invocation.ts';

/** What the pool has for one version of a function. */
export interface FunctionView {
  /** Invocations that wait for a sandbox of it. */
  readonly waiting: number;
  /** Sandboxes on their way: being made, isolated or loaded. */
  readonly starting: number;
  /** Sandboxes that have the function loaded. */
  readonly members: number;
  /** Those of them that run something. */
  readonly active: number;
  /** Invocations that were handed ahead to those, and have not begun. */
  readonly ahead: number;
  /**
   * Milliseconds for which the quicker invocations lately kept a sandbox; undefined while none has ended. The quicker
   * ones, because the others tell more of how busy the processors are than of the function.
   */
  readonly holdMs: number | undefined;
  /** Milliseconds that the call at the head of the line has waited. */
  readonly oldestWaitMs: number;
  /** Milliseconds since a sandbox was last given back: how long the line has not moved. */
  readonly sinceReleaseMs: number;
}

/** What the pool has in all. */
export interface PoolView {
  readonly total: number;
  readonly ceiling: number;
  /** Sandboxes that could be given up for another function. */
  readonly idle: number;
  readonly prepared: number;
}

/** Starts of one function that go on at the same time: more would only wait for each other's processor. */
export const MAX_STARTING = 4;

/**
 * What a start costs, roughly, in milliseconds. A call that will get a sandbox sooner than this by waiting is better off
 * waiting, and so is everybody else: more processes than the work needs only make the processors switch between them.
 */
export const START_COST_MS = 8;

/** As many sandboxes of a function may run without looking at what they do. */
export const ALWAYS_ACTIVE = 4;

/** Whatever the guess, no call stands in line for longer than this while another sandbox could run it. */
export const MAX_LINE_MS = 100;

/**
 * Will the sandboxes that run now come to the calls in line sooner than a start takes? Then it is better to let them: on
 * busy processors, more running processes only take turns. The guess is wrong when the line does not move.
 */
export function servedSoon(fn: FunctionView): boolean {
  const { waiting, ahead, active, starting, holdMs, oldestWaitMs, sinceReleaseMs } = fn;
  if (holdMs === undefined || active === 0) return false;
  if (sinceReleaseMs >= START_COST_MS || oldestWaitMs >= MAX_LINE_MS) return false;
  return ((waiting + ahead) / (active + starting)) * holdMs < 2 * START_COST_MS;
}

/** Most invocations that one sandbox is handed ahead, however quick they are. */
export const MAX_AHEAD = 16;

/** How many invocations may lie ahead of a running sandbox: as many as it gets through in the time that a start takes. */
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

/** May a call have an idle sandbox, or should it stand in line for those that run? */
export function mayRun(fn: FunctionView): boolean {
  return fn.active < ALWAYS_ACTIVE || !servedSoon({ ...fn, waiting: fn.waiting + 1 });
}

/** Should another sandbox of the function be started? Never more at once than calls wait for one. */
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
  /** When it was last used; milliseconds of any clock. */
  readonly usedAt: number;
}

export interface EvictionPressure {
  readonly now: number;
  readonly keepAliveMs: number;
  /** How many must go whatever their age: over the ceiling, or short of memory. */
  readonly excess: number;
}

/** Which idle sandboxes to end: all that are older than the keep-alive, and the least recently used of the rest. */
export function chooseEvictions<Key>(idle: readonly IdleView<Key>[], pressure: EvictionPressure): Key[] {
  const oldestFirst = idle.toSorted((a, b) => a.usedAt - b.usedAt);
  const expired = oldestFirst.filter(({ usedAt }) => pressure.now - usedAt >= pressure.keepAliveMs).length;
  return oldestFirst.slice(0, Math.max(expired, pressure.excess)).map(({ key }) => key);
}

/** Does the host have less memory left than OFFSHOOT_MEMORY_RESERVE_MB keeps free? */
export function memoryIsShort(availableMb: number, reserveMb: number): boolean {
  return availableMb < reserveMb;
}

/** Sandboxes to give up at once when the host is short of memory: a tenth, so that pressure is met in a few steps. */
export function memoryExcess(availableMb: number, reserveMb: number, idle: number): number {
  return memoryIsShort(availableMb, reserveMb) ? Math.ceil(idle / 10) : 0;
}

/** What the pool remembers of a function. */
export interface FunctionHistory {
  /** Sandboxes of this version that are alive, in whatever state. */
  readonly live: number;
  /** Has any sandbox of this version ever been ready? */
  readonly everReady: boolean;
  /** Has another version of the function been run by this worker? */
  readonly otherVersion: boolean;
  /** How the last sandbox of this version ended. */
  readonly lastEnd: 'evicted' | 'died' | undefined;
  /** Each sandbox of it serves one invocation. */
  readonly singleUse: boolean;
}

/** Why there was no idle sandbox for a call: what `offshoot trace` shows beside a cold start. */
export function explainCold(history: FunctionHistory): ColdReason {
  if (!history.everReady) return history.otherVersion ? 'new_version' : 'first_call';
  if (history.singleUse) return 'single_use';
  if (history.live > 0) return 'all_busy';
  return history.lastEnd === 'died' ? 'sandbox_ended' : 'evicted';
}

export type { AcquireKind };
