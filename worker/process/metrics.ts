/**
 * Collects the worker's metrics and serves them on a listener of their own, because a worker has no other port and no keys. It is
 * off unless a port is set, and on loopback unless a host is set. No sandbox reaches the host's loopback.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { freemem } from 'node:os';
import type { Histogram } from '@opentelemetry/api';
import type { Redis } from 'ioredis';
import { Metrics } from '#telemetry/metrics.ts';
import type { Restarts } from '#watchdog/settings.ts';
import { observeProcess, observeRedis } from '#telemetry/redis-metrics.ts';

const HEADERS_TIMEOUT_MS = 5_000;
const MAX_CONNECTIONS = 16;
/** Bucket bounds in seconds. A fork takes a few milliseconds, and longer when it waits for a processor. */
const FORK_BUCKETS = [0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5];

export interface WorkerFigures {
  readonly commands: Redis;
  readonly sandboxes: () => { prepared: number; idle: number; busy: number; starting: number };
  readonly ceiling: number;
  /** Sandboxes forked since the start, by purpose. */
  readonly started: ReadonlyMap<string, number>;
  /** Sandboxes that have ended since the start, by reason. */
  readonly ended: ReadonlyMap<string, number>;
  readonly logLinesLost: () => number;
  /** Memory of all sandboxes together in bytes: in use, and the limit. */
  readonly memory: () => { used: number; limit: number };
  readonly zygotes: () => { started: number; live: number };
  readonly running: () => number;
  readonly capacity: number;
  readonly restarts: Restarts;
}

export interface MetricsAddress {
  readonly host: string;
  readonly port: number;
}

export class WorkerMetrics {
  readonly metrics: Metrics;
  readonly #address: MetricsAddress;
  readonly #forks: Histogram;
  #server: Server | undefined;

  constructor(address: MetricsAddress, version: string, maxFunctions: number) {
    this.#address = address;
    this.metrics = new Metrics('offshoot-worker', version, maxFunctions);
    this.#forks = this.metrics.meter.createHistogram('offshoot_sandbox_fork_seconds', {
      description: 'From the order to fork to a sandbox that waits for its function',
      advice: { explicitBucketBoundaries: FORK_BUCKETS },
    });
  }

  /** Records that a sandbox was forked and prepared. */
  forked(ms: number): void {
    this.#forks.record(ms / 1_000);
  }

  observe(figures: WorkerFigures): void {
    const { meter } = this.metrics;
    const gauge = (name: string, description: string, read: () => number): void =>
      meter.createObservableGauge(name, { description }).addCallback((result) => result.observe(read()));
    const total = (name: string, description: string, read: () => number): void =>
      meter.createObservableCounter(name, { description }).addCallback((result) => result.observe(read()));
    const totals = (name: string, description: string, by: ReadonlyMap<string, number>): void =>
      meter.createObservableCounter(name, { description }).addCallback((result) => {
        for (const [reason, count] of by) result.observe(count, { reason });
      });
    observeRedis(meter, figures.commands);
    observeProcess(meter, figures.restarts);
    const pool = meter.createObservableGauge('offshoot_sandboxes', {
      description: 'Sandboxes of this worker, by state of the pool',
    });
    pool.addCallback((result) => {
      for (const [state, count] of Object.entries(figures.sandboxes())) result.observe(count, { state });
    });
    gauge('offshoot_sandboxes_ceiling', 'Sandboxes that may live at a time', () => figures.ceiling);
    totals('offshoot_sandboxes_started', 'Sandboxes that were forked, by purpose', figures.started);
    totals('offshoot_sandboxes_ended', 'Sandboxes that have ended, by reason', figures.ended);
    total('offshoot_log_lines_lost', 'Lines of logs that Redis did not take', figures.logLinesLost);
    const { memory } = figures;
    gauge('offshoot_sandboxes_memory_bytes', 'Memory of all sandboxes together', () => memory().used);
    gauge(
      'offshoot_sandboxes_memory_limit_bytes',
      'Upper bound on the memory of all sandboxes together',
      () => memory().limit,
    );
    total('offshoot_zygotes_started', 'Zygotes that were started', () => figures.zygotes().started);
    gauge('offshoot_zygotes', 'Zygotes that serve or are being replaced', () => figures.zygotes().live);
    gauge('offshoot_running', 'Invocations that this worker holds', figures.running);
    gauge('offshoot_capacity', 'Invocations that this worker takes at a time', () => figures.capacity);
    gauge('offshoot_host_memory_free_bytes', 'Free memory of the host', () => freemem());
  }

  /** Starts to listen. Rejects when the port is not available. */
  async listen(): Promise<AddressInfo> {
    const server = createServer({ headersTimeout: HEADERS_TIMEOUT_MS }, (request, response) => {
      if (request.method !== 'GET' || request.url?.split('?')[0] !== '/metrics') {
        response.writeHead(404).end('there is only GET /metrics\n');
        return;
      }
      this.metrics.expose(request.headers.accept).then(
        ({ text, type }) => response.writeHead(200, { 'content-type': type }).end(text),
        (error: unknown) => response.writeHead(500).end(`${String(error)}\n`),
      );
    });
    server.maxConnections = MAX_CONNECTIONS;
    this.#server = server;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once('error', reject);
    server.listen({ host: this.#address.host, port: this.#address.port }, resolve);
    await promise;
    return server.address() as AddressInfo;
  }

  async close(): Promise<void> {
    this.#server?.close();
    this.#server?.closeAllConnections();
    await this.metrics.close();
  }
}
