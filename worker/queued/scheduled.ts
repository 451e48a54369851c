/** Turns a job of a schedule into an invocation, or skips this time of the schedule. */
import { randomBytes } from 'node:crypto';
import type { Job } from 'bullmq';
import type { Redis } from 'ioredis';
import type { OpenInvocation } from '#contract/invocations/invocation.ts';
import { keys } from '#contract/platform/keys.ts';
import type { Schedule } from '#contract/functions/manifest.ts';
import type { FunctionRecord } from '#contract/functions/records.ts';
import { encodePayload, jsonMeta, type ScheduledEvent } from '#contract/wire/payload.ts';
import { queued } from '#contract/invocations/transitions.ts';
import { retryTerms } from '#contract/invocations/retry.ts';
import type { FunctionRepository } from '#storage/functions/function-repository.ts';
import { secondsKept, type QueuedStore } from '#storage/queued/records.ts';
import type { QueuedJob } from '#storage/queued/jobs.ts';
import { sharedNow, wallNow } from '#storage/redis/clock.ts';
import { log } from '../process/log.ts';

/** Delay after which a scheduled time counts as missed, and not only as waiting for its turn. */
const MISSED_MS = 60_000;

export interface SchedulerDeps {
  readonly redis: Redis;
  readonly store: QueuedStore;
  readonly functions: Pick<FunctionRepository, 'record'>;
}

/** Resolves to the id of the job's invocation, whose record is in Redis by then; undefined when the time is skipped. */
export async function scheduledInvocation(
  { redis, store, functions }: SchedulerDeps,
  namespace: string,
  job: Job<QueuedJob>,
): Promise<string | undefined> {
  const { schedule: name, id: known } = job.data;
  if (name === undefined) return undefined;
  // The invocation waits for its next attempt, or its worker has died. It runs to its end, whatever has become of the function.
  if (known !== undefined && (await store.find(known))) return known;
  const found = await functions.record(namespace, name);
  const schedule = found?.settings.schedule;
  if (!found || !schedule) return known;

  const plannedFor = plannedTime(job);
  if (known === undefined && schedule.missed === 'skip' && wallNow() - plannedFor > MISSED_MS) {
    log.info({ namespace, name, plannedFor }, 'a time of a schedule was missed, and is left out');
    return undefined;
  }
  const id = known ?? randomBytes(16).toString('hex');
  const { record, input } = invocationOf(id, found, schedule, plannedFor);
  if (!schedule.overlap && !(await takeTurn(redis, store, record))) {
    log.info(
      { namespace, name, plannedFor },
      'a time of a schedule is left out: the run before it has not ended',
    );
    return undefined;
  }
  if (known === undefined) await job.updateData({ ...job.data, id });
  await store.create(record, input);
  return id;
}

/** Claims the turn of a schedule without overlap; false while the invocation that had it before has not ended. */
async function takeTurn(redis: Redis, store: QueuedStore, record: OpenInvocation): Promise<boolean> {
  const { namespace, name, id } = record;
  const turn = keys.scheduleTurn(namespace, name);
  const before = await redis.get(turn);
  if (before !== null && before !== id) {
    const found = await store.find(before);
    if (found && found.record.state !== 'done') return false;
  }
  await redis.set(turn, id, 'EX', secondsKept(record));
  return true;
}

/** BullMQ puts the time that a job was made for at the end of its id. */
function plannedTime(job: Job<QueuedJob>): number {
  const millis = Number(/:(\d{13,})$/.exec(job.id ?? '')?.[1]);
  return Number.isSafeInteger(millis) ? millis : job.timestamp + job.delay;
}

function invocationOf(
  id: string,
  { namespace, name, settings, activeVersion }: FunctionRecord,
  schedule: Schedule,
  plannedFor: number,
): { record: OpenInvocation; input: Buffer } {
  const event: ScheduledEvent = {
    type: 'schedule',
    cron: schedule.cron,
    scheduledTime: plannedFor,
    input: schedule.input ?? null,
  };
  const body = Buffer.from(JSON.stringify(event));
  const now = sharedNow();
  const record = queued({
    id,
    namespace,
    name,
    version: activeVersion,
    lane: 'queued',
    method: 'SCHEDULE',
    path: '/',
    traceId: randomBytes(16).toString('hex'),
    spanId: randomBytes(8).toString('hex'),
    sampled: true,
    startedAt: now,
    requestBytes: body.length,
    scheduledFor: plannedFor,
    terms: {
      ...retryTerms(settings.retries),
      expiresAt: now + settings.queueTime * 1000,
    },
  });
  return { record, input: encodePayload(jsonMeta('scheduled'), body) };
}
