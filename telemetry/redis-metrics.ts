/** Metrics of Redis (up, round trip, memory) and of the process itself. They are read at each scrape, so they are never stale. */
import { performance } from 'node:perf_hooks';
import type { Meter } from '@opentelemetry/api';
import type { Restarts } from '#watchdog/settings.ts';
import type { Redis } from 'ioredis';

/** `redis`: a connection of the role `commands`, which fails within seconds, so that a scrape does too. */
export function observeRedis(meter: Meter, redis: Redis): void {
  const gauge = (name: string, description: string) => meter.createObservableGauge(name, { description });
  const up = gauge('offshoot_redis_up', '1 while Redis answers this process');
  const ping = gauge('offshoot_redis_ping_seconds', 'Round trip to Redis');
  const used = gauge('offshoot_redis_memory_bytes', 'Memory that Redis uses');
  const limit = gauge('offshoot_redis_memory_limit_bytes', 'Memory that Redis may use; 0 is no limit');
  meter.addBatchObservableCallback(
    async (result) => {
      const begun = performance.now();
      try {
        await redis.ping();
        result.observe(up, 1);
        result.observe(ping, (performance.now() - begun) / 1_000);
        const memory = await redis.info('memory');
        result.observe(used, figure(memory, 'used_memory'));
        result.observe(limit, figure(memory, 'maxmemory'));
      } catch {
        result.observe(up, 0);
      }
    },
    [up, ping, used, limit],
  );
}

function figure(info: string, name: string): number {
  return Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1] ?? 0);
}

/** Memory and event loop of the process itself, and its restarts as its supervisor counted them. */
export function observeProcess(meter: Meter, restarts: Restarts): void {
  const memory = meter.createObservableGauge('offshoot_process_memory_bytes', {
    description: 'Resident memory of this process',
  });
  memory.addCallback((result) => result.observe(process.memoryUsage.rss()));
  const loop = meter.createObservableGauge('offshoot_event_loop_utilization', {
    description: 'Share of the time since the last scrape that the event loop was busy',
  });
  let last = performance.eventLoopUtilization();
  loop.addCallback((result) => {
    const now = performance.eventLoopUtilization();
    result.observe(performance.eventLoopUtilization(now, last).utilization);
    last = now;
  });
  meter
    .createObservableCounter('offshoot_restarts', {
      description: 'Restarts of this process by its supervisor, by reason',
    })
    .addCallback((result) => {
      for (const [reason, count] of Object.entries(restarts)) result.observe(count, { reason });
    });
}
