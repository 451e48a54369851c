/**
 * What time it is on the platform. Deadlines and due times that one process writes and another reads are in this time: it goes
 * on evenly, whatever the clocks of hosts do, that of Redis's included.
 *
 * Redis has the time line: its own clock, and how far the line is ahead of it. Each process carries it on by its monotonic
 * clock and asks every second, which Redis notes. Where it then finds a gap, or itself before what it noted, its clock was set
 * (or nobody has asked): whoever sees that first says what time it is by its own account, and all others follow. A process
 * that stood still finds that the others have gone on without a gap, and follows them. What the line is ahead or behind by is
 * made up slowly, so that it comes back to the clock of Redis.
 */
import type { Redis } from 'ioredis';
import { keys } from '#contract/platform/keys.ts';
import { Script } from './script.ts';

const ASK_AGAIN_MS = 1_000;
/** An answer that took longer says too little. */
const MAX_ROUND_TRIP_MS = 500;
/** Processes ask so often that a longer silence is none of theirs. */
const MAX_GAP_MS = 3_000;
/** Of the time that passes, so much is used to make up for what the clock of Redis was set by: an hour takes four days. */
const MAKE_UP = 0.01;
/** Who has just come does not know what the time was before; so often it leaves it to others to say. */
const LEFT_TO_OTHERS = 3;

/**
 * Reads the line, and notes that it was read where it has no gap.
 *
 *   KEYS 1  hash: `seen`, the clock of Redis when it was last read, and `ahead`
 *   ARGV 1  longest gap        ARGV 2  share of the time for making up
 *
 * Answers the clock, how far the line is ahead of it, 1 where there is no gap, and what was seen.
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
 * Says how far the line is ahead, unless somebody has said or read it since.
 *
 *   KEYS 1  as above        ARGV 1  what was seen        ARGV 2  ahead
 */
const SAY = new Script(`
local known = redis.call('HMGET', KEYS[1], 'seen', 'ahead')
if (known[1] or '') ~= ARGV[1] then return known[2] or '0' end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'seen', string.format('%.3f', time[1] * 1000 + time[2] / 1000), 'ahead', ARGV[2])
return ARGV[2]`);

/** One process's account of the time line. */
export class SharedClock {
  /** Unix time in milliseconds at which the monotonic clock was 0; by the host's own until Redis has been asked. */
  #origin: number = performance.timeOrigin;
  #ahead = 0;
  #knows = false;
  #askedInVain = 0;
  readonly #monotonic: () => number;

  /** `monotonic`: milliseconds. */
  constructor(monotonic: () => number = () => performance.now()) {
    this.#monotonic = monotonic;
  }

  now(): number {
    return this.#origin + this.#monotonic();
  }

  /** What the clock of Redis shows. */
  wall(): number {
    return this.now() - this.#ahead;
  }

  /** Throws when Redis is away; what is known goes on. */
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
    // Redis read its clock at some time in between, and what was known is as good as anything else there.
    this.#origin = this.#knows
      ? Math.min(Math.max(this.#origin, line - after), line - before)
      : line - middle;
    this.#ahead = ahead;
    this.#knows = whole === 1 || maySay;
  }

  /** Asks Redis, once it is there and again and again. Returns what ends that. */
  follow(redis: Redis): () => void {
    const asking = (): void => void this.ask(redis).catch(() => undefined); // it is away
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

/** Unix time in milliseconds, the same in all processes of the platform. Goes on evenly, whatever the clocks of hosts do. */
export function sharedNow(): number {
  return Math.round(clock.now());
}

/** Unix time in milliseconds as the clock of Redis's host shows it, for what is planned by such clocks. */
export function wallNow(): number {
  return Math.round(clock.wall());
}

/** Keeps sharedNow() on the time line of this Redis. Returns what ends that. */
export function followTime(redis: Redis): () => void {
  return clock.follow(redis);
}
