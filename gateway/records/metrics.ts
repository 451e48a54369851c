/** Adds the gateway's figures to the metrics: those of its own process, and those that Redis holds for all processes. */
import type { Meter, ObservableGauge } from '@opentelemetry/api';
import type { WorkerStatus } from '#contract/api/api.ts';
import type { Restarts } from '#watchdog/settings.ts';
import type { Metrics } from '#telemetry/metrics.ts';
import { observeProcess, observeRedis } from '#telemetry/redis-metrics.ts';
import { batchFigures, queueFigures, type QueueSources } from './queue-figures.ts';

export interface GatewayFigures extends QueueSources {
  readonly namespaces: () => Promise<string[]>;
  readonly workers: () => Promise<readonly WorkerStatus[]>;
  readonly pending: () => number;
  readonly recordsDropped: () => number;
  readonly restarts: Restarts;
}

export function observeGateway({ meter }: Metrics, figures: GatewayFigures): void {
  const gauge = (name: string, description: string): ObservableGauge =>
    meter.createObservableGauge(name, { description });
  observeRedis(meter, figures.commands);
  observeProcess(meter, figures.restarts);
  gauge('offshoot_pending_calls', 'Synchronous calls that are pending at this gateway').addCallback(
    (result) => result.observe(figures.pending()),
  );
  meter
    .createObservableCounter('offshoot_records_dropped', {
      description: 'Records of calls that Redis did not take in time',
    })
    .addCallback((result) => result.observe(figures.recordsDropped()));
  observeQueues(meter, figures);
  const workers = gauge('offshoot_workers', 'Workers that are alive');
  const capacity = gauge('offshoot_workers_capacity', 'Invocations that all workers together take at a time');
  const running = gauge('offshoot_workers_running', 'Invocations that all workers together hold');
  meter.addBatchObservableCallback(
    async (result) => {
      const alive = await figures.workers().catch(() => undefined);
      if (!alive) return;
      result.observe(workers, alive.length);
      result.observe(capacity, sum(alive.map((one) => one.capacity)));
      result.observe(running, sum(alive.map((one) => one.running)));
    },
    [workers, capacity, running],
  );
}

/** Adds the figures of queues and batches. When Redis is unavailable (offshoot_redis_up), they are left out. */
function observeQueues(meter: Meter, figures: GatewayFigures): void {
  const gauge = (name: string, description: string): ObservableGauge =>
    meter.createObservableGauge(name, { description });
  const waiting = gauge('offshoot_queue_length', 'Invocations that wait, by namespace, lane and state');
  const oldest = gauge('offshoot_queue_oldest_seconds', 'How long the next job that is due has waited');
  const dead = gauge('offshoot_dead_letters', 'Dead letters, by namespace');
  const oldestDead = gauge('offshoot_dead_letter_oldest_seconds', 'Age of the oldest dead letter');
  meter.addBatchObservableCallback(
    async (result) => {
      const found = await figures
        .namespaces()
        .then((all) => queueFigures(figures, all))
        .catch(() => []);
      for (const { namespace, ...one } of found) {
        const queued = { namespace, lane: 'queued' };
        result.observe(waiting, one.calls, { namespace, lane: 'sync', state: 'waiting' });
        result.observe(waiting, one.waiting, { ...queued, state: 'waiting' });
        result.observe(waiting, one.delayed, { ...queued, state: 'delayed' });
        result.observe(waiting, one.active, { ...queued, state: 'active' });
        result.observe(oldest, one.oldestWaiting, queued);
        result.observe(dead, one.dead, { namespace });
        result.observe(oldestDead, one.oldestDead, { namespace });
      }
    },
    [waiting, oldest, dead, oldestDead],
  );
  const batches = gauge('offshoot_open_batches', 'Batches that have not ended, of the newest, by namespace');
  const items = gauge('offshoot_open_batch_items', 'Items of batches that have not ended, by namespace');
  meter.addBatchObservableCallback(
    async (result) => {
      const found = await figures
        .namespaces()
        .then((all) => batchFigures(figures, all))
        .catch(() => []);
      for (const { namespace, open, running, ...ofItems } of found) {
        result.observe(batches, open, { namespace, state: 'open' });
        result.observe(batches, running, { namespace, state: 'running' });
        for (const [state, count] of Object.entries(ofItems))
          result.observe(items, count, { namespace, state });
      }
    },
    [batches, items],
  );
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
