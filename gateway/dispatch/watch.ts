/**
 * Notices that a worker has died, or stands still and will be ended for that (watchdog/), so that its callers are told at once and
 * not at their deadline. Runs only while calls are pending.
 *
 * A worker that lives keeps a key in Redis alive. When it is gone:
 * - calls that it said it had taken are lost;
 * - calls that nobody has said to have taken, and that are not in the lane either, may have been taken by it in the last
 *   moments of its life, or by another worker just now, which would say so within milliseconds. Those that stay silent for
 *   ANNOUNCE_MS are lost.
 */
import type { Redis } from 'ioredis';
import { OffshootError } from '#contract/api/errors.ts';
import { keys } from '#contract/platform/keys.ts';
import { WORKER_TTL_MS } from '#contract/functions/limits.ts';
import { sharedNow } from '#storage/redis/clock.ts';
import { type Log, LogThrottle } from '#storage/log.ts';
import type { Failure, PendingCall } from './pending.ts';

const TICK_MS = 200;
/** A call that lasts longer is shown as queued or running. Most are over by then, and cost nothing. */
const LASTING_MS = 100;
/** With no worker alive for this long, a call that nobody took is given up: its caller need not wait for the deadline. */
const NO_WORKER_PATIENCE_MS = 1_000;
/**
 * How long a living worker may take to say that it has taken a call: TAKEN_NOTICE_MS and the way, many times over. Less
 * than a tick, so that the next one decides.
 */
const ANNOUNCE_MS = 150;
/**
 * A worker that hangs is handed calls as long as its last BLMPOP waits in Redis (storage/lane/lane.ts). So they are looked for as
 * long after it was missed; more patiently, because the workers that live are busy with its share as well.
 */
const HANDED_OVER_MS = 6_000;
const ANNOUNCE_LATER_MS = 800;
/** After an outage of Redis the announcements come late. */
const ANNOUNCE_AFTER_OUTAGE_MS = 2_000;
/** When Redis has been away for this long, pending calls are answered instead of waiting for it. */
const OUTAGE_PATIENCE_MS = 5_000;

export interface WorkerWatchOptions {
  readonly commands: Redis;
  /** In the order in which they were sent. */
  readonly pending: ReadonlyMap<string, PendingCall>;
  readonly fail: (call: PendingCall, failure: Failure) => void;
  readonly log: Log;
}

export class WorkerWatch {
  readonly #options: WorkerWatchOptions;
  readonly #errors = new LogThrottle(5_000);
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;
  /** Workers known to be dead, so that each death is acted on once. */
  #dead = new Set<string>();
  #diedAt = -Infinity;
  /** Since when no worker at all has been seen alive. */
  #noneSince: number | undefined;
  #outageSince: number | undefined;
  /** When Redis was last seen to be back. */
  #backAt = -Infinity;
  readonly #onReady = (): void => {
    this.#backAt = performance.now();
  };

  constructor(options: WorkerWatchOptions) {
    this.#options = options;
    options.commands.on('ready', this.#onReady);
  }

  /** Calls are pending. */
  wake(): void {
    if (this.#timer || this.#stopped) return;
    this.#timer = setTimeout(() => void this.#tick(), TICK_MS);
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#options.commands.off('ready', this.#onReady);
  }

  async #tick(): Promise<void> {
    try {
      await this.#look();
      if (this.#outageSince !== undefined) {
        this.#outageSince = undefined;
        this.#backAt = performance.now();
        await this.#findMissing(ANNOUNCE_AFTER_OUTAGE_MS);
      }
    } catch (error) {
      this.#onOutage(error);
    }
    this.#timer = undefined;
    if (this.#options.pending.size > 0) this.wake();
    else this.#noneSince = undefined; // nobody will look for a while; what is known now will be out of date
  }

  async #look(): Promise<void> {
    const { commands, pending } = this.#options;
    const asked = performance.now();
    const listed = await commands.zrange(keys.workers(), 0, '-1', 'WITHSCORES');
    const beats = new Map<string, number>();
    for (let at = 0; at < listed.length; at += 2) beats.set(listed[at] ?? '', Number(listed[at + 1]));
    const ids = new Set(beats.keys());
    for (const call of pending.values()) if (call.worker !== undefined) ids.add(call.worker);
    const alive = await Promise.all([...ids].map((id) => commands.exists(keys.worker(id))));

    const took = performance.now() - asked;
    // While Redis was away nobody could be heard: silence counts again when each worker has had its time to speak.
    const counts = this.#outageSince === undefined && performance.now() - this.#backAt >= WORKER_TTL_MS;
    // A key also goes when the clock of Redis is set ahead; a beat is told in the time of the platform. A Redis that was slow
    // to answer may have kept the beats waiting as long.
    const silent = sharedNow() - WORKER_TTL_MS - took;
    const dead = new Set(
      [...ids].filter(
        (id, index) =>
          alive[index] === 0 && (beats.get(id) ?? -Infinity) < silent && (counts || this.#dead.has(id)),
      ),
    );
    const died = [...dead].filter((id) => !this.#dead.has(id));
    this.#dead = dead;
    const lasting = performance.now() - LASTING_MS;
    for (const call of pending.values()) {
      if (call.worker !== undefined && dead.has(call.worker))
        this.#lose(call, `worker ${call.worker} died or stands still`);
      else if (call.sentAt < lasting && call.shown !== (call.worker ?? '')) {
        call.shown = call.worker ?? '';
        call.sink.lasting?.(call.worker);
      }
    }
    if (died.length > 0) {
      this.#options.log.warn({ workers: died }, 'workers have gone');
      this.#diedAt = performance.now();
      await this.#findMissing(ANNOUNCE_MS);
    } else if (performance.now() - this.#diedAt < HANDED_OVER_MS) await this.#findMissing(ANNOUNCE_LATER_MS);
    await this.#withoutWorkers(dead.size === ids.size);
    await this.#loseMissing();
  }

  /** Marks the calls that are neither taken nor in their lane. */
  async #findMissing(patienceMs: number): Promise<void> {
    const untaken = Map.groupBy(
      [...this.#options.pending.values()].filter((call) => call.frame !== undefined),
      (call) => call.lane,
    );
    for (const calls of untaken.values()) {
      const gone = await this.#firstInLane(calls);
      const since = performance.now() + patienceMs - ANNOUNCE_MS;
      for (const call of calls.slice(0, gone)) call.missingSince ??= since;
    }
  }

  /**
   * Index of the first of these calls that still lies in the lane. A lane is first in, first out: all before it have been
   * taken and all after it have not, so a few questions are enough however many calls there are.
   */
  async #firstInLane(calls: readonly PendingCall[]): Promise<number> {
    let low = 0;
    let high = calls.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const call = calls[middle];
      const there = call?.frame && (await this.#options.commands.lpos(call.lane, call.frame)) !== null;
      if (there) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  async #loseMissing(): Promise<void> {
    const now = performance.now();
    for (const call of this.#options.pending.values()) {
      if (call.missingSince === undefined || now - call.missingSince < ANNOUNCE_MS) continue;
      // Looked up once more by itself: the search above is misled by calls that were taken out of the middle of the lane.
      if (call.frame && (await this.#options.commands.lpos(call.lane, call.frame)) !== null) {
        call.missingSince = undefined;
      } else if (call.missingSince !== undefined)
        this.#lose(call, 'the worker that took the call died, or Redis lost it');
    }
  }

  async #withoutWorkers(none: boolean): Promise<void> {
    const now = performance.now();
    if (!none) {
      this.#noneSince = undefined;
      return;
    }
    this.#noneSince ??= now;
    if (now - this.#noneSince < NO_WORKER_PATIENCE_MS - TICK_MS) return;
    for (const call of this.#options.pending.values()) {
      if (!call.frame || now - call.sentAt < NO_WORKER_PATIENCE_MS) continue;
      // Taken out of the lane, so that it does not run when a worker comes and nobody waits any more.
      if ((await this.#options.commands.lrem(call.lane, 1, call.frame)) === 1) {
        this.#options.fail(call, { outcome: 'expired', message: 'no worker is running' });
      } else call.missingSince ??= performance.now();
    }
  }

  #lose(call: PendingCall, message: string): void {
    this.#options.fail(call, { outcome: 'worker_lost', message });
  }

  #onOutage(error: unknown): void {
    const now = performance.now();
    this.#outageSince ??= now;
    this.#errors.run(() =>
      this.#options.log.warn(
        { error: String(error) },
        'the workers cannot be watched: Redis does not answer',
      ),
    );
    if (now - this.#outageSince < OUTAGE_PATIENCE_MS) return;
    const message = 'Redis went away during the call; whether the function ran is not known';
    const lost = new OffshootError('redis_unavailable', message, { cause: error });
    for (const call of this.#options.pending.values()) {
      this.#options.fail(call, { outcome: 'platform_error', message, error: lost });
    }
  }
}
