/** Puts a job of BullMQ off, by the time line of the platform. */
import { setTimeout as sleep } from 'node:timers/promises';
import { DelayedError, type Job } from 'bullmq';
import { sharedNow } from '../redis/clock.ts';

const AGAIN_MS = 1_000;

/**
 * Moves a job that is being processed to its next time, a Unix time in milliseconds, and leaves its processor by throwing. BullMQ
 * goes by the clock of this host: where that says that the time has come, the job would be here again at once, so it is held
 * for a moment.
 */
export async function moveLater(job: Job, next: number, token: string | undefined): Promise<never> {
  const early = next - sharedNow();
  if (early > 0 && next <= Date.now()) await sleep(Math.min(early, AGAIN_MS));
  await job.moveToDelayed(next, token);
  throw new DelayedError();
}
