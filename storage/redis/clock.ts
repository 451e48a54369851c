/**
 * The shared time of the platform. Deadlines and due times that one process writes and another reads are in this time. It runs
 * evenly, whatever the clocks of hosts do, the clock of Redis's host included.
 *
 * Redis has the time line: its own clock, and the offset by which the line is ahead of it. Each process continues the line by its
 * monotonic clock and reads it every second, which Redis notes. If Redis sees a gap since the last read, or its clock behind the
 * noted one, the clock was set (or no process read it). The first process to notice announces its own time; the others adopt it.
 * A process that was suspended sees that the others have gone on without a gap, and adopts their time. The offset is reduced
 * slowly, so that the line returns to the clock of Redis.
 */
import type { Redis } from 'ioredis';
import { keys } from '#contract/platform/keys.ts';
import { Script } from './script.ts';

const ASK_AGAIN_MS = 1_000;
/** Round trip above which an answer is too inexact. */
const MAX_ROUND_TRIP_MS = 500;
/** Upper bound on the gap between two reads by living processes; a longer gap means that the clock was set. */
const MAX_GAP_MS = 3_000;
/** Share of the passing time by which the offset is reduced: an offset of an hour takes four days. */
const MAKE_UP = 0.01;
/** Number of reads for which a new process, which cannot know the earlier time, lets others announce the time. */
const LEFT_TO_OTHERS = 3;

/**
 * Reads the line, and notes the read if there is no gap.
 *
 *   KEYS 1  hash: `seen`, the clock of Redis at the last read, and `ahead`, the offset
 *   ARGV 1  longest gap        ARGV 2  share of the time by which the offset is reduced
 *
 * Returns the clock, the offset, 1 if there is no gap, and the former `seen`.
 */
const READ = new Script(`
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local known = redis.call('HMGET', KEYS[1], 'seen', 'ahead')
local seen, ahead = tonumber(known[1]), tonumber(known[2]) or 0
local whole = seen and now >= seen and now - seen <= tonumber(ARGV[1])
if whole then
  local most = (now - seen) * ARGV[2]
  ahead = ahead - math.max(-most, math.min(most, ahead))
  redis.call('HSET', KEYS[1], 'seen', string.format('%.3f', now), 'ahead', string.format('%.3f', ahead))
end
return { string.format('%.3f', now), string.format('%.3f', ahead), whole and 1 or 0, known[1] or '' }`);

/**
 * Announces the offset, unless another process has announced or read it since. Returns the offset that now holds.
 *
 *   KEYS 1  as above        ARGV 1  the former `seen`        ARGV 2  the offset
 */
const SAY = new Script(`
local known = redis.call('HMGET', KEYS[1], 'seen', 'ahead')
if (known[1] or '') ~= ARGV[1] then return known[2] or '0' end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'seen', string.format('%.3f', time[1] * 1000 + time[2] / 1000), 'ahead', ARGV[2])
return ARGV[2]`);

/** The time line as one process continues it. */
export class SharedClock {
  /** Unix time in milliseconds at which the monotonic clock was 0; by the host's clock until the first answer of Redis. */
  #origin: number = performance.timeOrigin;
  #ahead = 0;
  #knows = false;
  #askedInVain = 0;
  readonly #monotonic: () => number;

  /** `monotonic`: returns milliseconds. */
  constructor(monotonic: () => number = () => performance.now()) {
    this.#monotonic = monotonic;
  }

  now(): number {
    return this.#origin + this.#monotonic();
  }

  /** The time that the clock of Redis shows. */
  wall(): number {
    return this.now() - this.#ahead;
  }

  /** Reads the line from Redis. Throws when Redis is unavailable; the line then continues by the monotonic clock. */
  async ask(redis: Redis): Promise<void> {
    const before = this.#monotonic();
    const [clock, stored, whole, seen] = (await READ.run(redis, [keys.clock()], [MAX_GAP_MS, MAKE_UP])) as [
      string,
      string,
      number,
      string,
    ];
    const after = this.#monotonic();
    if (after - before > MAX_ROUND_TRIP_MS) return;
    const middle = (before + after) / 2;
    let ahead = Number(stored);
    const maySay = this.#knows || seen === '' || ++this.#askedInVain > LEFT_TO_OTHERS;
    if (whole === 0 && maySay) {
      if (this.#knows) ahead = this.#origin + middle - Number(clock);
      ahead = Number(await SAY.run(redis, [keys.clock()], [seen, ahead.toFixed(3)]));
    }
    const line = Number(clock) + ahead;
    // Redis read its clock at some moment between `before` and `after`. The known origin is kept if it fits into these bounds.
    this.#origin = this.#knows
      ? Math.min(Math.max(this.#origin, line - after), line - before)
      : line - middle;
    this.#ahead = ahead;
    this.#knows = whole === 1 || maySay;
  }

  /** Reads the line when Redis is ready, and every second. Returns a function that stops this. */
  follow(redis: Redis): () => void {
    const asking = (): void => void this.ask(redis).catch(() => undefined); // Redis is unavailable
    asking();
    redis.on('ready', asking);
    const timer = setInterval(asking, ASK_AGAIN_MS);
    timer.unref();
    return () => {
      clearInterval(timer);
      redis.off('ready', asking);
    };
  }
}

const clock = new SharedClock();

/** Unix time in milliseconds, the same in all processes of the platform. It runs evenly, whatever the clocks of hosts do. */
export function sharedNow(): number {
  return Math.round(clock.now());
}

/** Unix time in milliseconds on the clock of Redis's host, for times that are planned by such clocks. */
export function wallNow(): number {
  return Math.round(clock.wall());
}

/** Keeps sharedNow() on the time line of this Redis. Returns a function that stops this. */
export function followTime(redis: Redis): () => void {
  return clock.follow(redis);
}
