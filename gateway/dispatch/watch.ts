/**
 * Notices that a worker has died, or hangs and will be ended by its watchdog (watchdog/). So its callers get an error at once
 * and not at their deadline. Runs only while calls are pending.
 *
 * A living worker keeps a key in Redis alive. When the key is gone:
 * - calls that the worker announced as taken are lost;
 * - calls that no worker announced, and that are not in their lane either, may have been taken by it in its last moments, or
 *   by another worker just now, which would announce them within milliseconds. They are lost when ANNOUNCE_MS have passed.
 */
import type { Redis } from 'ioredis';
import { OffshootError } from '#contract/api/errors.ts';
import { keys } from '#contract/platform/keys.ts';
import { WORKER_TTL_MS } from '#contract/functions/limits.ts';
import { sharedNow } from '#storage/redis/clock.ts';
import { type Log, LogThrottle } from '#storage/log.ts';
import type { Failure, PendingCall } from './pending.ts';

const TICK_MS = 200;
/** Age after which a call is shown as queued or running. Most calls have ended by then, and cost nothing. */
const LASTING_MS = 100;
/** Time without a living worker after which an untaken call fails, so that its caller need not wait for the deadline. */
const NO_WORKER_PATIENCE_MS = 1_000;
/**
 * Time within which a living worker announces a call as taken: TAKEN_NOTICE_MS and the transit, many times over. Less than a
 * tick, so that the next tick decides.
 */
const ANNOUNCE_MS = 150;
/**
 * Time after the loss of a worker during which missing calls are looked for: while the last BLMPOP of a hanging worker waits in
 * Redis (storage/lane/lane.ts), the worker still takes calls. The search is more patient then, because the living workers are
 * busy with its share as well.
 */
const HANDED_OVER_MS = 6_000;
const ANNOUNCE_LATER_MS = 800;
/** Time within which announcements come after an outage of Redis, which delays them. */
const ANNOUNCE_AFTER_OUTAGE_MS = 2_000;
/** Length of an outage of Redis after which pending calls fail instead of waiting for its end. */
const OUTAGE_PATIENCE_MS = 5_000;

export interface WorkerWatchOptions {
  readonly commands: Redis;
  /** Pending calls in the order in which they were sent. */
  readonly pending: ReadonlyMap<string, PendingCall>;
  readonly fail: (call: PendingCall, failure: Failure) => void;
  readonly log: Log;
}

export class WorkerWatch {
  readonly #options: WorkerWatchOptions;
  readonly #errors = new LogThrottle(5_000);
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;
  /** Workers known to be dead, so that each death is handled once. */
  #dead = new Set<string>();
  #diedAt = -Infinity;
  /** Time since which no worker has been seen alive. */
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

  /** To be called when calls are pending. */
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
    else this.#noneSince = undefined; // no checks run until the next call, when this would be out of date
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
    // No beat arrives while Redis is away, so silence counts again only after each worker has had its time to speak.
    const counts = this.#outageSince === undefined && performance.now() - this.#backAt >= WORKER_TTL_MS;
    // A key also expires when the clock of Redis is set ahead, so the last beat, in the time of the platform, must be old too. A
    // slow Redis may have kept the beats waiting as long.
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

  /** Marks the calls that are neither announced as taken nor in their lane. */
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
   * Index of the first of these calls that is still in the lane. A lane is first in, first out: all calls before it have been
   * taken and all after it have not, so a binary search finds it with few queries.
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
      // Each call is looked up once more, because calls taken out of the middle of the lane mislead the binary search.
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
      // Taken out of the lane, so that it does not run later, when a worker comes and its caller has gone.
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
