/**
 * Figures that are computed at a scrape: queues, batches and sandboxes; and alerts and dashboard name only existing
 * metrics.
 */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { OTLPLogExporter } from '@opentelemetry/exporter-logs-otlp-http';
import type { Redis } from 'ioredis';
import { afterAll, expect, onTestFinished, test, vi } from 'vitest';
import { keys } from '#contract/platform/keys.ts';
import { BatchStore } from '#storage/queued/batches.ts';
import { Metrics } from '#telemetry/metrics.ts';
import { Queues } from '#storage/queued/jobs.ts';
import { observeGateway } from '../../../gateway/records/metrics.ts';
import { startLogExport, type LogExport } from '../../../worker/run/log-export.ts';
import { WorkerMetrics } from '../../../worker/process/metrics.ts';
import { figureOf } from '../../support/platform/metrics.ts';
import { endedRecord, openRecord } from '../../support/platform/records.ts';
import { redisForTests } from '../../support/redis/redis-for-tests.ts';

const HOUR_MS = 3_600_000;
const target = { id: 'i', namespace: 'a', name: 'b', traceparent: '' };
const queued = openRecord({
  id: 'i1',
  namespace: 'shop',
  name: 'orders',
  startedAt: Date.now() - 10 * HOUR_MS,
});
const done = endedRecord(queued, {
  duration: 5,
  queue: 1,
  batch: { id: 'b', group: 0, first: 0, items: 3 },
  callback: { url: 'https://example.com', state: 'pending', attempts: 1 },
  report: {
    outcome: 'ok',
    worker: 'w',
    acquired: 'cold',
    coldReason: 'first_call',
    timings: { acquire: 1, init: 1, run: 1, total: 3 },
    usage: { cpu: 1, memoryPeak: 1 },
    logBytes: 1,
    logBytesDropped: 7,
  },
});

let redis: Redis;
let gateway: Metrics;
let worker: WorkerMetrics;

redisForTests(async (ready) => {
  redis = ready;
  const queues = new Queues(redis);
  const batches = new BatchStore(redis);
  gateway = new Metrics('offshoot-gateway', '0', 10);
  observeGateway(gateway, {
    commands: redis,
    queues,
    batches,
    namespaces: async () => ['shop', 'empty'],
    workers: async () => [],
    pending: () => 0,
    recordsDropped: () => 0,
    restarts: { ended: 3, stood_still: 1 },
  });
  worker = new WorkerMetrics({ host: '127.0.0.1', port: 0 }, '0', 10);
  worker.observe({
    commands: redis,
    sandboxes: () => ({ prepared: 1, idle: 2, busy: 3, starting: 4 }),
    ceiling: 10,
    started: new Map([['prepared', 9]]),
    logLinesLost: () => 12,
    ended: new Map([['idle', 2]]),
    memory: () => ({ used: 5, limit: 6 }),
    zygotes: () => ({ started: 1, live: 1 }),
    running: () => 0,
    capacity: 1,
    restarts: { ended: 0, stood_still: 0 },
  });
  worker.forked(4);
  worker.metrics.watchDropped('logs', () => 11);

  // One job that has waited since it was due, two that are not due; one dead letter.
  await redis.set(keys.invocation('i1'), JSON.stringify({ ...queued, dueAt: Date.now() - HOUR_MS }));
  for (const id of ['i1', 'i2', 'i3']) await queues.add('shop', id);
  await redis.zadd(keys.dead('shop'), Date.now() - 2 * HOUR_MS, 'd1', Date.now(), 'd2');
  // Batches: one open, one sealed, one ended, one cancelled.
  const { namespace, name, version, traceId, spanId, sampled } = queued;
  const facts = { namespace, name, version, traceId, spanId, sampled, size: 100 };
  const terms = { maxAttempts: 1, minDelay: 0, maxDelay: 0, queueMs: 1 };
  for (const id of ['open', 'sealed', 'ended', 'cancelled']) {
    await batches.create({ ...facts, id, createdAt: Date.now(), terms });
    await batches.add(id, 10, 1, 'blob');
  }
  await batches.report('open', { group: 0, attempt: 1, ok: 3, failed: 1, final: false });
  await batches.report('ended', { group: 0, attempt: 1, ok: 10, failed: 0, final: true });
  for (const id of ['sealed', 'ended']) await batches.seal(id);
  await batches.cancel('cancelled', { by: 'key', key: 'k1' });

  for (const metrics of [gateway, worker.metrics]) {
    metrics.changed(
      { ...queued, attempts: [{ startedAt: 1, worker: 'w' }] },
      {
        ...done,
        attempts: [{ startedAt: 1, worker: 'w', outcome: 'ok' }],
      },
    );
    metrics.changed(done, { ...done, callback: { url: '', state: 'failed', attempts: 1 } });
  }
});
afterAll(async () => {
  await Promise.all([gateway?.close(), worker?.close()]);
});

async function value(metrics: Metrics, series: string): Promise<number> {
  return figureOf((await metrics.expose()).text, series);
}

test('the ages of waiting jobs and of dead letters are those of the oldest, counted from when it was due [OB13]', async () => {
  const of = 'namespace="shop"';
  expect(await value(gateway, `offshoot_queue_length{${of},lane="queued",state="waiting"}`)).toBe(3);
  const oldest = `offshoot_queue_oldest_seconds{${of},lane="queued"}`;
  expect(await value(gateway, oldest)).toBeCloseTo(3_600, -2);
  expect(await value(gateway, 'offshoot_queue_oldest_seconds{namespace="empty",lane="queued"}')).toBe(0);
  expect(await value(gateway, `offshoot_dead_letters{${of}}`)).toBe(2);
  expect(await value(gateway, `offshoot_dead_letter_oldest_seconds{${of}}`)).toBeCloseTo(7_200, -2);
});

test('open batches and their items are counted, ended ones are not', async () => {
  const batches = (state: string): Promise<number> =>
    value(gateway, `offshoot_open_batches{namespace="shop",state="${state}"}`);
  const items = (state: string): Promise<number> =>
    value(gateway, `offshoot_open_batch_items{namespace="shop",state="${state}"}`);
  expect([await batches('open'), await batches('running')]).toEqual([1, 1]);
  expect([await items('waiting'), await items('succeeded'), await items('failed')]).toEqual([16, 3, 1]);
});

test('a worker shows its sandboxes by state, their memory, forks, ends by reason, and drops of its exporters [OB13]', async () => {
  const { metrics } = worker;
  expect(await value(metrics, 'offshoot_sandboxes{state="starting"}')).toBe(4);
  expect(await value(metrics, 'offshoot_sandboxes_started_total{reason="prepared"}')).toBe(9);
  expect(await value(metrics, 'offshoot_sandboxes_ended_total{reason="idle"}')).toBe(2);
  expect(await value(metrics, 'offshoot_log_lines_lost_total')).toBe(12);
  expect(await value(metrics, 'offshoot_sandboxes_memory_bytes')).toBe(5);
  expect(await value(metrics, 'offshoot_sandbox_fork_seconds_bucket{le="0.003"}')).toBe(0);
  expect(await value(metrics, 'offshoot_sandbox_fork_seconds_bucket{le="0.005"}')).toBe(1);
  expect(await value(metrics, 'offshoot_telemetry_dropped_total{signal="logs"}')).toBe(11);
  expect(await value(metrics, 'offshoot_log_bytes_cut_total{namespace="shop",function="orders"}')).toBe(7);
});

test('restarts are counted by their reason [ST8]', async () => {
  expect(await value(gateway, 'offshoot_restarts_total{reason="stood_still"}')).toBe(1);
  expect(await value(gateway, 'offshoot_restarts_total{reason="ended"}')).toBe(3);
});

test('each metric that alerts and dashboard name is in a scrape, in both formats', async () => {
  const monitoring = new URL('../../../infra/monitoring/', import.meta.url);
  const files = ['alerts.yml', 'grafana-dashboard.json'].map((name) =>
    readFile(new URL(name, monitoring), 'utf8'),
  );
  const names = new Set((await Promise.all(files)).join('').match(/\boffshoot_[a-z_]+/g));
  expect(names.size).toBeGreaterThan(25);
  for (const accept of ['text/plain', 'application/openmetrics-text;version=1.0.0']) {
    const texts = [await gateway.expose(accept), await worker.metrics.expose(accept)];
    const shown = new Set(texts.flatMap(({ text }) => text.match(/^offshoot_[a-z_]+/gm) ?? []));
    const missing = [...names].filter((name) => !shown.has(name));
    expect(missing, accept).toEqual([]);
  }
});

/** A collector that holds one request back until `answer` is called. */
async function slowCollector(): Promise<{
  logs: LogExport;
  answer: (status: number) => void;
  asked: () => number;
}> {
  const held: ServerResponse[] = [];
  const collector = createServer((request, response) => {
    request.resume().on('end', () => held.push(response));
  });
  collector.listen(0, '127.0.0.1');
  await once(collector, 'listening');
  onTestFinished(() => {
    collector.closeAllConnections();
    collector.close();
  });
  const { port } = collector.address() as AddressInfo;
  const exporter = new OTLPLogExporter({ url: `http://127.0.0.1:${port}/v1/logs` });
  return {
    logs: startLogExport('t', '0', 'http/json', exporter),
    answer: (status) =>
      void held.shift()?.writeHead(status, { 'content-type': 'application/json' }).end('{}'),
    asked: () => held.length,
  };
}

test('lines that a collector refuses, or takes too slowly, are dropped and counted', async () => {
  const { logs, answer, asked } = await slowCollector();
  const line = { time: 1, level: 'log', text: 'x' } as const;
  logs.add(
    target,
    Array.from({ length: 20_000 }, () => line),
  );
  const over = 20_000 - 16_384;
  expect(logs.dropped).toBe(over);
  await vi.waitFor(() => expect(asked()).toBe(1));
  answer(400);
  await vi.waitFor(() => expect(logs.dropped).toBe(over + 512));
  // Answered lines have left room for others.
  logs.add(target, [line]);
  await vi.waitFor(() => expect(asked()).toBe(1));
  answer(200);
  await vi.waitFor(() => expect(asked()).toBe(1));
  expect(logs.dropped).toBe(over + 512);
});

test('long lines that wait for a collector are bounded by their bytes', async () => {
  const { logs } = await slowCollector();
  const line = { time: 1, level: 'log', text: 'x'.repeat(16 * 1024) } as const;
  logs.add(
    target,
    Array.from({ length: 3_000 }, () => line),
  );
  expect(logs.dropped).toBe(3_000 - 2_048);
});
