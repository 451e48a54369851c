/** Builds a gateway from its parts, starts it and stops it. main.ts runs one as a process, tests run several in one. */
import { randomBytes } from 'node:crypto';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import type { z } from 'zod';
import type { Health } from '#contract/api/api.ts';
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
import { QueuedLane } from './queued/control.ts';
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
  readonly #connections: Redis[] = [];
  readonly #commands: Redis;
  readonly #subscriber: Redis;
  readonly #apiKeys: ApiKeyStore;
  readonly #invocations: InvocationStore;
  readonly #directory: FunctionCache;
  readonly #dispatcher: Dispatcher;
  readonly #recorder: Recorder;
  readonly #places: QuotaLeases;
  readonly #heartbeat: Heartbeat;
  readonly #keeper: QueueRepair;
  readonly #archives: ArchiveCollector;
  readonly #deliverer: Deliverer;
  readonly #spool: Spool;
  readonly #server: Server;
  #evicts = false;
  #stopping = false;
  #stopTime: () => void = () => undefined;

  /** Builds everything; nothing listens yet. */
  constructor(options: GatewayOptions) {
    const { env, log, telemetry, version } = options;
    this.#options = options;
    const connect = (role: RedisRole): Redis => {
      const redis = connectRedis(env.REDIS_URL, role, log);
      this.#connections.push(redis);
      return redis;
    };
    const commands = connect('commands');
    const gatewayId = randomBytes(6).toString('hex');
    const functions = new FunctionRepository(commands);
    const apiKeys = new ApiKeyStore(commands);
    const invocations = new InvocationStore(commands);
    const { artifacts, blobs } = openStores(env.OFFSHOOT_STATE, s3Settings(env), log);
    const namespaceLimits = new NamespaceLimitsStore(commands);
    const directory = new FunctionCache(functions, apiKeys, namespaceLimits);
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
    const queued = new QueuedLane({
      store,
      groups: new Groups({ batches: batchStore, blobs }),
      dead: new DeadLetters(commands, store),
      retention,
      spool,
      queues,
      deliveries,
      maxQueued: env.OFFSHOOT_MAX_QUEUED,
      limits: namespaceLimits,
      drain: new QueueRate(() => invocations.workers()),
      commands,
      functions,
    });
    const places = new QuotaLeases(commands, log);
    const functionRoute = new FunctionRoute({
      directory,
      dispatcher,
      maxBodyBytes: env.OFFSHOOT_MAX_BODY_BYTES,
      inlineBytes: env.OFFSHOOT_INLINE_BODY_BYTES,
      spool,
      trustProxy: env.OFFSHOOT_TRUST_PROXY === '1',
      finished,
      lasting: (record) => recorder.add({ ...record, gatewayId }),
      enqueuer: queued.enqueuer,
      admission: new Admission(places),
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
      directory,
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
      directory,
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
    this.#commands = commands;
    this.#subscriber = connect('subscriber');
    this.#apiKeys = apiKeys;
    this.#invocations = invocations;
    this.#directory = directory;
    this.#dispatcher = dispatcher;
    this.#recorder = recorder;
    this.#places = places;
    this.#heartbeat = new Heartbeat(commands, gatewayId, log);
    this.#keeper = new QueueRepair({
      commands,
      functions,
      store,
      batches: batchStore,
      queues,
      enqueuer: queued.enqueuer,
      log,
    });
    this.#archives = new ArchiveCollector({
      commands,
      functions,
      artifacts,
      unnamed: unnamedArchives,
      log,
    });
    this.#deliverer = new Deliverer({
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
    this.#spool = spool;
    this.#server = createGatewayServer({ functions: functionRoute, app });
  }

  /** Listens. Redis may be unavailable: requests get a 503 until it comes. Rejects when the gateway cannot bind the port. */
  async listen(): Promise<AddressInfo> {
    const { env, log } = this.#options;
    this.#commands.on('ready', () => void this.#checkEviction());
    this.#directory.follow(this.#subscriber).catch((error: unknown) => {
      if (!this.#stopping) log.error({ err: error }, 'changes are not announced to this gateway');
    });
    this.#stopTime = followTime(this.#commands);
    this.#dispatcher.start();
    this.#heartbeat.start();
    this.#keeper.start();
    this.#archives.start();
    this.#deliverer.start();
    this.#spool.start();
    void this.#ensureFirstKey();
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(
        { port: env.OFFSHOOT_PORT, host: env.OFFSHOOT_HOST, backlog: LISTEN_BACKLOG },
        resolve,
      );
    });
    // A server that listens on a port always has an address of this form.
    return this.#server.address() as AddressInfo;
  }

  /** Accepts no more requests, waits up to `graceMs` for calls under way to finish, and closes everything. */
  async close(graceMs: number): Promise<void> {
    this.#stopping = true;
    this.#keeper.stop();
    this.#archives.stop();
    this.#stopTime();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    const idle = setInterval(() => this.#server.closeIdleConnections(), DRAIN_LOOK_MS);
    await Promise.all([this.#dispatcher.drain(graceMs), this.#deliverer.stop(graceMs)]);
    // The last answers may still be in transit to slow clients, and long answers such as followed logs have no end.
    const cut = setTimeout(
      () => this.#server.closeAllConnections(),
      this.#dispatcher.pending > 0 ? 0 : 1_000,
    );
    await closed;
    clearInterval(idle);
    clearTimeout(cut);
    await this.#dispatcher.stop();
    await this.#recorder.close();
    await this.#options.telemetry?.close();
    this.#places.stop();
    await this.#heartbeat.stop();
    this.#spool.stop();
    for (const redis of this.#connections) redis.disconnect();
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
        this.#directory.changed('*');
        return;
      } catch (error) {
        if (this.#commands.status === 'ready')
          log.error({ err: error, file }, 'the first API key was not made');
        await new Promise((resolve) => setTimeout(resolve, FIRST_KEY_RETRY_MS));
      }
    }
  }
}
