/** Turns a job of a schedule into an invocation, or leaves its time out. */
import { randomBytes } from 'node:crypto';
import type { Job } from 'bullmq';
import type { Redis } from 'ioredis';
import { FunctionRecord } from '#contract/api.ts';
import type { OpenInvocation } from '#contract/invocation.ts';
import { keys, RECORD_TTL_S } from '#contract/keys.ts';
import { DEFAULT_QUEUE_TIME_S, DEFAULT_RETRIES, type Schedule } from '#contract/manifest.ts';
import { encodePayload, type ScheduledEvent } from '#contract/payload.ts';
import type { QueuedStore } from '#storage/queued.ts';
import type { QueuedJob } from '#storage/queues.ts';
import { sharedNow, wallNow } from '#storage/clock.ts';
import type { Functions, LoadedVersion } from '../functions.ts';
import { log } from '../log.ts';

/** A time that is later than this has been missed, and not only waited for its turn. */
const MISSED_MS = 60_000;

export interface SchedulerDeps {
  readonly redis: Redis;
  readonly store: QueuedStore;
  readonly functions: Functions;
}

/** Resolves to the id of its invocation, which is in Redis then, or to undefined when there shall be none. */
export async function scheduledInvocation(
  { redis, store, functions }: SchedulerDeps,
  namespace: string,
  job: Job<QueuedJob>,
): Promise<string | undefined> {
  const name = job.data.schedule;
  if (name === undefined) return undefined;
  const stored = await redis.hget(keys.functions(namespace), name);
  if (stored === null) return undefined;
  const { activeVersion } = FunctionRecord.parse(JSON.parse(stored));
  const version = await functions.get(namespace, name, activeVersion);
  const schedule = version?.manifest.schedule;
  if (!version || !schedule) return undefined;

  // A job that was begun by a worker that died keeps its invocation.
  const known = job.data.id;
  const plannedFor = plannedTime(job);
  if (known === undefined && schedule.missed === 'skip' && wallNow() - plannedFor > MISSED_MS) {
    log.info({ namespace, name, plannedFor }, 'a time of a schedule was missed, and is left out');
    return undefined;
  }
  const id = known ?? randomBytes(16).toString('hex');
  if (!schedule.overlap && !(await takeTurn(redis, store, namespace, name, id))) {
    log.info(
      { namespace, name, plannedFor },
      'a time of a schedule is left out: the run before it has not ended',
    );
    return undefined;
  }
  if (known === undefined) await job.updateData({ ...job.data, id });
  const { record, input } = invocationOf(id, version, schedule, plannedFor);
  await store.create(record, input);
  return id;
}

/** False while the invocation that had the turn before has not ended. */
async function takeTurn(
  redis: Redis,
  store: QueuedStore,
  namespace: string,
  name: string,
  id: string,
): Promise<boolean> {
  const turn = keys.scheduleTurn(namespace, name);
  const before = await redis.get(turn);
  if (before !== null && before !== id) {
    const found = await store.find(before);
    if (found && found.record.state !== 'done') return false;
  }
  await redis.set(turn, id, 'EX', RECORD_TTL_S);
  return true;
}

/** BullMQ puts the time that a job was made for at the end of its id. */
function plannedTime(job: Job<QueuedJob>): number {
  const millis = Number(/:(\d{13,})$/.exec(job.id ?? '')?.[1]);
  return Number.isSafeInteger(millis) ? millis : job.timestamp + job.delay;
}

function invocationOf(
  id: string,
  version: LoadedVersion,
  schedule: Schedule,
  plannedFor: number,
): { record: OpenInvocation; input: Buffer } {
  const { namespace, name, manifest } = version;
  const retries = manifest.retries ?? DEFAULT_RETRIES;
  const event: ScheduledEvent = {
    type: 'schedule',
    cron: schedule.cron,
    scheduledTime: plannedFor,
    input: schedule.input ?? null,
  };
  const body = Buffer.from(JSON.stringify(event));
  const meta = {
    kind: 'scheduled',
    method: 'POST',
    url: `http://localhost/fn/${namespace}/${name}`,
    headers: [['content-type', 'application/json']] as [string, string][],
  } as const;
  const now = sharedNow();
  const record: OpenInvocation = {
    id,
    namespace,
    name,
    version: version.version,
    lane: 'queued',
    state: 'queued',
    method: 'SCHEDULE',
    path: '/',
    traceId: randomBytes(16).toString('hex'),
    spanId: randomBytes(8).toString('hex'),
    sampled: true,
    startedAt: now,
    requestBytes: body.length,
    scheduledFor: plannedFor,
    terms: {
      maxAttempts: retries.attempts,
      minDelay: retries.minDelay * 1000,
      maxDelay: retries.maxDelay * 1000,
      expiresAt: now + (manifest.queueTime ?? DEFAULT_QUEUE_TIME_S) * 1000,
    },
  };
  return { record, input: encodePayload(meta, body) };
}
