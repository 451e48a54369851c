/** Reads facts about queues and schedules from Redis that the dashboard shows and no route of the API has. */
import type { Redis } from 'ioredis';
import type { Sample } from '#contract/api/dashboard.ts';
import type { AnyInvocation } from '#contract/invocations/invocation.ts';
import { keys } from '#contract/platform/keys.ts';
import type { Queues } from '#storage/queued/jobs.ts';
import type { DashboardDeps } from './access.ts';
import { sampleOf } from '../records/samples.ts';

export function queueFacts(
  commands: Redis,
  queues: Queues,
): Pick<DashboardDeps, 'queueCounts' | 'lastScheduled'> {
  return {
    async queueCounts(namespace) {
      const [counts, lane, deadListed] = await Promise.all([
        queues.of(namespace).getJobCounts('waiting', 'prioritized', 'active', 'delayed'),
        commands.llen(keys.lane(namespace)),
        commands.zcard(keys.dead(namespace)),
      ]);
      const { waiting = 0, prioritized = 0, active = 0, delayed = 0 } = counts;
      return { waiting: waiting + prioritized, active, delayed, lane, deadListed };
    },
    async lastScheduled(namespace, name): Promise<Sample | undefined> {
      const id = await commands.get(keys.scheduleTurn(namespace, name));
      const stored = id === null ? null : await commands.get(keys.invocation(id));
      return stored === null ? undefined : sampleOf(JSON.parse(stored) as AnyInvocation);
    },
  };
}
