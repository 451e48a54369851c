/**
 * What time it is on the platform: the time of Redis, carried on by the monotonic clock. Deadlines and due times that one
 * process writes and another reads are in this time, so neither a host whose clock is wrong nor one whose clock is set while it
 * runs ends a call too soon or begins a job too early.
 */
import type { Redis } from 'ioredis';

/** Two clocks of the same machine drift apart by less than 50 ms in this time. */
const ASK_AGAIN_MS = 60_000;
/** An answer that took longer says too little. */
const MAX_ROUND_TRIP_MS = 500;

/** Unix time in milliseconds at which performance.now() was 0; the host's own until Redis has been asked. */
let origin = performance.timeOrigin;

/** Unix time in milliseconds. Goes on evenly, whatever the host's clock does. */
export function sharedNow(): number {
  return Math.round(origin + performance.now());
}

/** Asks Redis for its time, once it is there and again and again. Returns what ends that. */
export function followTime(redis: Redis): () => void {
  const ask = async (): Promise<void> => {
    const before = performance.now();
    const [seconds, micros] = await redis.time();
    const after = performance.now();
    if (after - before > MAX_ROUND_TRIP_MS) return;
    origin = Number(seconds) * 1000 + Number(micros) / 1000 - (before + after) / 2;
  };
  const asking = (): void => void ask().catch(() => undefined); // it is away; what is known goes on
  asking();
  redis.on('ready', asking);
  const timer = setInterval(asking, ASK_AGAIN_MS);
  timer.unref();
  return () => {
    clearInterval(timer);
    redis.off('ready', asking);
  };
}
