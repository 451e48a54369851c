/** The gateway's side of the queued lane without a gateway: so a test can act between any two of its steps. */
import type { Redis } from 'ioredis';
import pino from 'pino';
import { BatchStore } from '#storage/queued/batches.ts';
import { DirectoryBlobStore } from '#storage/artifacts/blobs.ts';
import { DeadLetters } from '#storage/queued/dead-letters.ts';
import { Deliveries } from '#storage/queued/deliveries.ts';
import { Groups } from '#storage/queued/groups.ts';
import { NamespaceLimitsStore } from '#storage/limits/namespace-limits.ts';
import { QueuedStore } from '#storage/queued/records.ts';
import { Retention } from '#storage/queued/retention.ts';
import { Queues } from '#storage/queued/jobs.ts';
import { QueueRate } from '../../../gateway/queued/queue-rate.ts';
import { QueueControl } from '../../../gateway/queued/control.ts';
import { Spool } from '../../../gateway/call/spool.ts';
import { FunctionRepository } from '#storage/functions/function-repository.ts';

/** `directory`: for the large bodies; `kept`: number of ended jobs kept of each function. */
export function openQueueControl(
  redis: Redis,
  directory: string,
  kept = 1_000,
): { control: QueueControl; store: QueuedStore } {
  const store = new QueuedStore(redis);
  const blobs = new DirectoryBlobStore(directory);
  const control = new QueueControl({
    store,
    queues: new Queues(redis),
    deliveries: new Deliveries(redis),
    dead: new DeadLetters(redis, store),
    retention: new Retention(redis, kept),
    maxQueued: 10_000,
    limits: new NamespaceLimitsStore(redis),
    queueRate: new QueueRate(() => Promise.resolve([])),
    commands: redis,
    functions: new FunctionRepository(redis),
    groups: new Groups({ batches: new BatchStore(redis), blobs }),
    spool: new Spool({ blobs, maxBytes: 1_000, log: pino({ level: 'silent' }) }),
  });
  return { control, store };
}
