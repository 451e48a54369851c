/** What the gateway adds to its metrics: what it holds itself, and what lies in Redis for all. */
import type { ObservableGauge } from '@opentelemetry/api';
import type { Redis } from 'ioredis';
import type { WorkerStatus } from '#contract/api.ts';
import { keys } from '#contract/keys.ts';
import type { Metrics } from '#storage/metrics.ts';
import type { Queues } from '#storage/queues.ts';
import { observeProcess, observeRedis } from '#storage/redis-metrics.ts';

/** Namespaces whose queues are looked at for a scrape; the figures of the others are added up under `other`. */
const MAX_NAMESPACES = 100;
/** Of all namespaces, so many are asked for: a scrape must not be a burden. */
const MAX_LOOKED_AT = 1_000;

export interface GatewayFigures {
  readonly commands: Redis;
  readonly queues: Queues;
  readonly namespaces: () => Promise<string[]>;
  readonly workers: () => Promise<readonly WorkerStatus[]>;
  readonly pending: () => number;
  readonly recordsDropped: () => number;
}

export function observeGateway({ meter }: Metrics, figures: GatewayFigures): void {
  const gauge = (name: string, description: string): ObservableGauge =>
    meter.createObservableGauge(name, { description });
  observeRedis(meter, figures.commands);
  observeProcess(meter);
  gauge('offshoot_pending_calls', 'Calls that somebody waits for at this gateway').addCallback((result) =>
    result.observe(figures.pending()),
  );
  meter
    .createObservableCounter('offshoot_records_dropped', {
      description: 'Records of calls that Redis did not take in time',
    })
    .addCallback((result) => result.observe(figures.recordsDropped()));
  const waiting = gauge('offshoot_queue_length', 'Invocations that wait, by namespace, lane and state');
  const dead = gauge('offshoot_dead_letters', 'Dead letters, by namespace');
  const workers = gauge('offshoot_workers', 'Workers that are alive');
  const capacity = gauge('offshoot_workers_capacity', 'Invocations that all workers together take at a time');
  const running = gauge('offshoot_workers_running', 'Invocations that all workers together hold');
  meter.addBatchObservableCallback(
    async (result) => {
      // Redis may be away, which offshoot_redis_up says; figures that are not known are left out.
      const lengths = await queueLengths(figures).catch(() => []);
      for (const { value, ...labels } of lengths.filter(({ lane }) => lane !== 'dead'))
        result.observe(waiting, value, labels);
      for (const { value, namespace } of lengths.filter(({ lane }) => lane === 'dead'))
        result.observe(dead, value, { namespace });
      const alive = await figures.workers().catch(() => undefined);
      if (!alive) return;
      result.observe(workers, alive.length);
      result.observe(capacity, sum(alive.map((one) => one.capacity)));
      result.observe(running, sum(alive.map((one) => one.running)));
    },
    [waiting, dead, workers, capacity, running],
  );
}

interface QueueLength {
  readonly namespace: string;
  readonly lane: 'sync' | 'queued' | 'dead';
  readonly state: 'waiting' | 'delayed' | 'active';
  readonly value: number;
}

async function queueLengths({ commands, queues, namespaces }: GatewayFigures): Promise<QueueLength[]> {
  const all = (await namespaces()).slice(0, MAX_LOOKED_AT);
  const found = await Promise.all(
    all.map(async (namespace): Promise<QueueLength[]> => {
      const [lane, dead, counts] = await Promise.all([
        commands.llen(keys.lane(namespace)),
        commands.zcard(keys.dead(namespace)),
        queues.of(namespace).getJobCounts('wait', 'prioritized', 'delayed', 'active'),
      ]);
      const { wait = 0, prioritized = 0, delayed = 0, active = 0 } = counts;
      return [
        { namespace, lane: 'sync', state: 'waiting', value: lane },
        { namespace, lane: 'queued', state: 'waiting', value: wait + prioritized },
        { namespace, lane: 'queued', state: 'delayed', value: delayed },
        { namespace, lane: 'queued', state: 'active', value: active },
        { namespace, lane: 'dead', state: 'waiting', value: dead },
      ];
    }),
  );
  const rest = found.slice(MAX_NAMESPACES).flat();
  const others = Map.groupBy(rest, ({ lane, state }) => `${lane} ${state}`);
  return [
    ...found.slice(0, MAX_NAMESPACES).flat(),
    ...[...others.values()].flatMap(([one, ...more]) =>
      one ? [{ ...one, namespace: 'other', value: sum([one, ...more].map(({ value }) => value)) }] : [],
    ),
  ];
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
