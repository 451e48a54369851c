/** Builds a gateway from its parts, starts it and stops it. main.ts runs one as a process, tests run several in one. */
import { randomBytes } from 'node:crypto';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import type { z } from 'zod';
import type { Health } from '#contract/api/api.ts';
import { EVERY_NAMESPACE } from '#contract/functions/names.ts';
import type { InvocationRecord } from '#contract/invocations/invocation.ts';
import { BatchStore } from '#storage/queued/batches.ts';
import { followTime } from '#storage/redis/clock.ts';
import { Groups } from '#storage/queued/groups.ts';
import { Deliveries } from '#storage/queued/deliveries.ts';
import { FunctionRepository } from '#storage/functions/function-repository.ts';
import type { Log } from '#storage/log.ts';
import { NamespaceLimitsStore } from '#storage/limits/namespace-limits.ts';
import { QuotaLeases } from '#storage/limits/quota-leases.ts';
import { DeadLetters } from '#storage/queued/dead-letters.ts';
import { isHeld } from '#storage/artifacts/held-blobs.ts';
import { QueuedStore } from '#storage/queued/records.ts';
import { Retention } from '#storage/queued/retention.ts';
import { Queues } from '#storage/queued/jobs.ts';
import { connectBlocking, connectRedis, keepsEverything, type RedisRole } from '#storage/redis/redis.ts';
import { Admission } from './call/admission.ts';
import { s3Settings } from '#storage/s3/settings.ts';
import { openStores } from '#storage/stores.ts';
import { Metrics } from '#telemetry/metrics.ts';
import type { Telemetry } from '#telemetry/spans.ts';
import { Parts } from '#watchdog/parts.ts';
import type { Restarts } from '#watchdog/settings.ts';
import { createApp } from './routes/app.ts';
import { ArchiveCollector } from './functions/archive-collector.ts';
import { Batches } from './batches/batches.ts';
import { Deliverer } from './callbacks/deliverer.ts';
import { Guard } from './callbacks/guard.ts';
import { SecretStore } from './callbacks/secrets.ts';
import { queueFacts } from './dashboard/queue-facts.ts';
import { Samples } from './records/samples.ts';
import { Sessions } from './dashboard/sessions.ts';
import { Deployer } from './functions/deploy.ts';
import { FunctionCache } from './functions/function-cache.ts';
import { Dispatcher } from './dispatch/dispatch.ts';
import type { Environment } from './env.ts';
import { ensureFirstKey } from './functions/first-key.ts';
import { FunctionRoute } from './call/function-route.ts';
import { observeGateway } from './records/metrics.ts';
import { Heartbeat } from './dispatch/heartbeat.ts';
import { QueueRepair } from './queued/queue-repair.ts';
import { QueueRate } from './queued/queue-rate.ts';
import { QueueControl } from './queued/control.ts';
import { Schedules } from './functions/schedules.ts';
import { Recorder } from './dispatch/recorder.ts';
import { createGatewayServer } from './call/server.ts';
import { Spool } from './call/spool.ts';
import { ApiKeyStore } from './functions/api-keys.ts';
import { InvocationStore } from './records/invocations.ts';
import { UnnamedArchives } from './functions/unnamed-archives.ts';
import { Listing } from './records/listing.ts';

const FIRST_KEY_RETRY_MS = 500;
/** Interval between checks for connections that a drain has left idle. */
const DRAIN_LOOK_MS = 50;
/** Time limit for the last answers to reach slow clients once no call is pending. */
const LAST_ANSWERS_MS = 1_000;
const LISTEN_BACKLOG = 1_024;

export interface GatewayOptions {
  readonly env: Environment;
  readonly version: string;
  readonly log: Log;
  readonly telemetry?: Telemetry | undefined;
  /** Restarts of the gateway, counted by its supervisor. */
  readonly restarts?: Restarts;
  /** Gets the first key of the installation, and the file that keeps it, when the key has just been made. */
  readonly showKey: (key: string, file: string) => void;
}

export class Gateway {
  readonly #options: GatewayOptions;
  readonly #commands: Redis;
  readonly #apiKeys: ApiKeyStore;
  readonly #invocations: InvocationStore;
  readonly #functionCache: FunctionCache;
  readonly #dispatcher: Dispatcher;
  readonly #server: Server;
  readonly #parts: Parts;
  #evicts = false;
  #stopping = false;

  /** Builds everything; nothing listens yet. */
  constructor(options: GatewayOptions) {
    const { env, log, telemetry, version } = options;
    this.#options = options;
    const connections: Redis[] = [];
    const connect = (role: RedisRole): Redis => {
      const redis = connectRedis(env.REDIS_URL, role, log);
      connections.push(redis);
      return redis;
    };
    const commands = connect('commands');
    const gatewayId = randomBytes(6).toString('hex');
    const functions = new FunctionRepository(commands);
    const apiKeys = new ApiKeyStore(commands);
    const invocations = new InvocationStore(commands);
    const { artifacts, blobs } = openStores(env.OFFSHOOT_STATE, s3Settings(env), log);
    const namespaceLimits = new NamespaceLimitsStore(commands);
    const functionCache = new FunctionCache(functions, apiKeys, namespaceLimits);
    const dispatcher = new Dispatcher({
      gatewayId,
      lane: connect('lane'),
      blocking: connectBlocking(env.REDIS_URL, log),
      commands,
      queueTimeoutMs: env.OFFSHOOT_QUEUE_TIMEOUT_MS,
      log,
    });
    const recorder = new Recorder(connect('background'), log, env.OFFSHOOT_KEPT_CALLS);
    const metrics = new Metrics('offshoot-gateway', version, env.OFFSHOOT_METRICS_FUNCTIONS);
    if (telemetry) metrics.watchDropped('spans', () => telemetry.dropped());
    const finished = (record: InvocationRecord): void => {
      recorder.add(record);
      metrics.ended(record, telemetry?.export(record));
    };
    const bullmq = connect('commands');
    const queues = new Queues(bullmq);
    const schedules = new Schedules(queues);
    const batchStore = new BatchStore(commands, (...ended) => telemetry?.batchEnded(...ended));
    const store = new QueuedStore(commands, (before, after) => {
      metrics.changed(before, after, telemetry?.changed(before, after));
    });
    const deliveries = new Deliveries(bullmq);
    const secrets = new SecretStore(commands);
    const retention = new Retention(commands, env.OFFSHOOT_KEPT_JOBS);
    const spool = new Spool({
      blobs,
      maxBytes: env.OFFSHOOT_MAX_SPOOL_BYTES,
      isHeld: (key) => isHeld(commands, key),
      log,
    });
    const queued = new QueueControl({
      store,
      groups: new Groups({ batches: batchStore, blobs }),
      dead: new DeadLetters(commands, store),
      retention,
      spool,
      queues,
      deliveries,
      maxQueued: env.OFFSHOOT_MAX_QUEUED,
      limits: namespaceLimits,
      queueRate: new QueueRate(() => invocations.workers()),
      commands,
      functions,
    });
    const leases = new QuotaLeases(commands, log);
    const functionRoute = new FunctionRoute({
      functionCache,
      dispatcher,
      maxBodyBytes: env.OFFSHOOT_MAX_BODY_BYTES,
      inlineBytes: env.OFFSHOOT_INLINE_BODY_BYTES,
      spool,
      trustProxy: env.OFFSHOOT_TRUST_PROXY === '1',
      finished,
      lasting: (record) => recorder.add({ ...record, gatewayId }),
      enqueuer: queued.enqueuer,
      admission: new Admission(leases),
      log,
    });
    observeGateway(metrics, {
      commands,
      queues,
      batches: batchStore,
      namespaces: () => functions.namespaces(),
      workers: () => invocations.workers(),
      pending: () => dispatcher.pending,
      recordsDropped: () => recorder.dropped,
      restarts: options.restarts ?? { ended: 0, stood_still: 0 },
    });
    const unnamedArchives = new UnnamedArchives(commands);
    const deployer = new Deployer({
      functions,
      invocations,
      artifacts,
      unnamedArchives,
      directory: functionCache,
      dispatcher,
      schedules,
      keptVersions: env.OFFSHOOT_KEPT_VERSIONS,
      queueTimeoutMs: env.OFFSHOOT_QUEUE_TIMEOUT_MS,
      commands,
      log,
    });
    const samples = new Samples(invocations);
    const app = createApp({
      functions,
      apiKeys,
      invocations,
      listing: new Listing(invocations, samples),
      artifacts,
      unnamedArchives,
      functionCache,
      deployer,
      functionRoute,
      queued,
      batches: new Batches(batchStore, blobs, queued),
      secrets,
      schedules,
      namespaceLimits,
      dashboard: {
        sessions: new Sessions(commands, apiKeys),
        samples,
        ...queueFacts(commands, queues),
        trustProxy: env.OFFSHOOT_TRUST_PROXY === '1',
      },
      metrics,
      health: () => this.#health(),
      version,
      log,
    });
    const subscriber = connect('subscriber');
    const heartbeat = new Heartbeat(commands, gatewayId, log);
    const repair = new QueueRepair({
      commands,
      functions,
      store,
      batches: batchStore,
      queues,
      enqueuer: queued.enqueuer,
      log,
    });
    const archives = new ArchiveCollector({
      commands,
      functions,
      artifacts,
      unnamed: unnamedArchives,
      log,
    });
    const deliverer = new Deliverer({
      store,
      retention,
      secrets,
      deliveries,
      guard: new Guard({
        allow: env.OFFSHOOT_CALLBACK_ALLOW,
        ports: new Set(env.OFFSHOOT_CALLBACK_PORTS),
      }),
      terms: {
        attempts: env.OFFSHOOT_CALLBACK_ATTEMPTS,
        firstDelayMs: env.OFFSHOOT_CALLBACK_FIRST_DELAY_MS,
        lastDelayMs: env.OFFSHOOT_CALLBACK_LAST_DELAY_MS,
      },
      timeoutMs: env.OFFSHOOT_CALLBACK_TIMEOUT_MS,
      concurrency: env.OFFSHOOT_CALLBACK_CONCURRENCY,
      connect: () => connect('queue'),
      version,
      log,
    });
    this.#commands = commands;
    this.#apiKeys = apiKeys;
    this.#invocations = invocations;
    this.#functionCache = functionCache;
    this.#dispatcher = dispatcher;
    this.#server = createGatewayServer({ functions: functionRoute, app });
    let stopTime: (() => void) | undefined;
    this.#parts = new Parts(
      [
        {
          name: 'redis',
          start: () => void commands.on('ready', () => void this.#checkEviction()),
          stop: () => connections.forEach((redis) => redis.disconnect()),
        },
        {
          name: 'shared time',
          start: () => void (stopTime = followTime(commands)),
          stop: () => stopTime?.(),
        },
        { name: 'function cache', start: () => this.#followChanges(subscriber) },
        { name: 'spool', start: () => spool.start(), stop: () => spool.stop() },
        // From here on workers may answer this gateway, until no call is pending.
        { name: 'heartbeat', start: () => heartbeat.start(), stop: () => heartbeat.stop() },
        { name: 'quota leases', stop: () => leases.stop() },
        { name: 'traces', stop: () => telemetry?.close() },
        { name: 'records', stop: () => recorder.close() },
        { name: 'dispatch', start: () => dispatcher.start(), stop: () => dispatcher.stop() },
        { name: 'queue repair', start: () => repair.start(), stop: () => repair.stop() },
        { name: 'archive collector', start: () => archives.start(), stop: () => archives.stop() },
        {
          name: 'callbacks',
          start: () => deliverer.start(),
          drain: (graceMs) => deliverer.stop(graceMs),
        },
        { name: 'first key', start: () => void this.#ensureFirstKey() },
        { name: 'http', start: () => this.#bind(), drain: (graceMs) => this.#drain(graceMs) },
      ],
      log,
    );
  }

  /**
   * Starts all parts; the last one listens. Redis may be unavailable: requests get a 503 until it comes. Rejects when the gateway
   * cannot bind the port.
   */
  async listen(): Promise<AddressInfo> {
    await this.#parts.start();
    // A server that listens on a port always has an address of this form.
    return this.#server.address() as AddressInfo;
  }

  /** Accepts no more requests, waits up to `graceMs` for calls under way to finish, and stops all parts. */
  async close(graceMs: number): Promise<void> {
    this.#stopping = true;
    await this.#parts.stop(graceMs);
  }

  async #bind(): Promise<void> {
    const { OFFSHOOT_PORT: port, OFFSHOOT_HOST: host } = this.#options.env;
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ port, host, backlog: LISTEN_BACKLOG }, resolve);
    });
  }

  async #drain(graceMs: number): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    const idle = setInterval(() => this.#server.closeIdleConnections(), DRAIN_LOOK_MS);
    await this.#dispatcher.drain(graceMs);
    // The last answers may still be in transit to slow clients, and long answers such as followed logs have no end.
    const cut = setTimeout(
      () => this.#server.closeAllConnections(),
      this.#dispatcher.pending > 0 ? 0 : LAST_ANSWERS_MS,
    );
    await closed;
    clearInterval(idle);
    clearTimeout(cut);
  }

  #followChanges(subscriber: Redis): void {
    // Not awaited: Redis may be unavailable at the start.
    this.#functionCache.follow(subscriber).catch((error: unknown) => {
      if (!this.#stopping)
        this.#options.log.error({ err: error }, 'changes are not announced to this gateway');
    });
  }

  async #health(): Promise<z.infer<typeof Health>> {
    try {
      const workers = (await this.#invocations.workers()).length;
      return { status: workers > 0 && !this.#evicts ? 'ok' : 'degraded', redis: true, workers };
    } catch {
      return { status: 'degraded', redis: false, workers: 0 };
    }
  }

  async #checkEviction(): Promise<void> {
    const keeps = await keepsEverything(this.#commands).catch(() => undefined);
    this.#evicts = keeps === false;
    if (this.#evicts) {
      this.#options.log.error(
        { fix: 'redis-cli CONFIG SET maxmemory-policy noeviction' },
        'Redis may throw away calls, functions and keys when its memory is full: its maxmemory-policy is not noeviction',
      );
    }
  }

  async #ensureFirstKey(): Promise<void> {
    const { env, log, showKey } = this.#options;
    const file = join(env.OFFSHOOT_STATE, 'admin-key');
    while (!this.#stopping) {
      try {
        const key = await ensureFirstKey(this.#apiKeys, file);
        if (key !== undefined) showKey(key, file);
        this.#functionCache.changed(EVERY_NAMESPACE);
        return;
      } catch (error) {
        if (this.#commands.status === 'ready')
          log.error({ err: error, file }, 'the first API key was not made');
        await new Promise((resolve) => setTimeout(resolve, FIRST_KEY_RETRY_MS));
      }
    }
  }
}
