/** Delays a job of BullMQ until a time on the platform's shared clock. */
import { setTimeout as sleep } from 'node:timers/promises';
import { DelayedError, type Job } from 'bullmq';
import { sharedNow } from '../redis/clock.ts';

const AGAIN_MS = 1_000;

/**
 * Moves a job that is being processed to its next time, a Unix time in milliseconds, and leaves its processor by throwing.
 * BullMQ uses the clock of this host. If that clock is ahead, BullMQ would process the job again at once, so the job is held
 * for a moment first.
 */
export async function moveLater(job: Job, next: number, token: string | undefined): Promise<never> {
  const early = next - sharedNow();
  if (early > 0 && next <= Date.now()) await sleep(Math.min(early, AGAIN_MS));
  await job.moveToDelayed(next, token);
  throw new DelayedError();
}
