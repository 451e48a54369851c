/** Puts the parts of a worker together. createWorker() starts nothing; start() does. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { FunctionSpan, LogLine } from '#contract/invocations/invocation.ts';
import { BatchStore } from '#storage/queued/batches.ts';
import { followTime } from '#storage/redis/clock.ts';
import { FunctionRepository } from '#storage/functions/function-repository.ts';
import { Groups } from '#storage/queued/groups.ts';
import { DeadLetters } from '#storage/queued/dead-letters.ts';
import { Deliveries } from '#storage/queued/deliveries.ts';
import { LaneWriter } from '#storage/lane/lane.ts';
import { NamespaceLimitsStore } from '#storage/limits/namespace-limits.ts';
import { QuotaLeases } from '#storage/limits/quota-leases.ts';
import { QueuedStore } from '#storage/queued/records.ts';
import { LogBudget } from '#storage/limits/log-budget.ts';
import { Retention } from '#storage/queued/retention.ts';
import { connectBlocking, connectRedis } from '#storage/redis/redis.ts';
import { s3Settings } from '#storage/s3/settings.ts';
import { openStores } from '#storage/stores.ts';
import type { LateCall, Telemetry } from '#telemetry/spans.ts';
import { Parts } from '#watchdog/parts.ts';
import type { Restarts } from '#watchdog/settings.ts';
import { detectCgroups } from './cgroup/detect.ts';
import { CodeCollector } from './code/code-collector.ts';
import { CodeStore } from './code/code-store.ts';
import { Consumer } from './lanes/consumer.ts';
import { CpuClock } from './run/cpu-clock.ts';
import { queuedCapacity, type Env } from './process/env.ts';
import { VersionCache, type LoadedVersion } from './code/version-cache.ts';
import { Heartbeat } from './lanes/heartbeat.ts';
import { InvocationLog, type LogTarget } from './run/invocation-log.ts';
import { FunctionLog } from './run/late-output.ts';
import { log } from './process/log.ts';
import type { LogExport } from './run/log-export.ts';
import type { WorkerMetrics } from './process/metrics.ts';
import { Networks } from './network/networks.ts';
import { Pool } from './pool/pool.ts';
import { SparePermits } from './queued/one-by-one.ts';
import { QueueConsumer } from './queued/queue-consumer.ts';
import { storeLateSpans } from '#storage/queued/late-spans.ts';
import { scheduledInvocation } from './queued/scheduled.ts';
import { WarmNamespaces } from './pool/warm-namespaces.ts';
import { Receipts } from './pool/receipts.ts';
import { SandboxFactory } from './pool/sandbox-factory.ts';
import { ownRanges } from './sandbox/zygote/subids.ts';
import { pendingSignalsEach, pendingSignalsHere } from './cgroup/user-limits.ts';
import { Zygotes } from './pool/zygotes.ts';

const KB = 1024;
const MB = 1024 * KB;
const MINUTE_MS = 60_000;
/** Lower bound on a zygote's age before crashes replace it: warming a new one takes some tenths of a second of processor time. */
const ZYGOTE_MIN_AGE_MS = 10_000;
/** Time limit for running invocations to finish when the worker is asked to stop. */
const DRAIN_GRACE_MS = 10_000;

export interface Worker {
  readonly id: string;
  start(): Promise<void>;
  /** Finishes the invocations it has taken, takes no more, and ends every sandbox. */
  stop(): Promise<void>;
}

/** Receivers of metrics, traces and logs; each is undefined when it is not configured. */
export interface Observers {
  readonly metrics?: WorkerMetrics | undefined;
  readonly telemetry?: Telemetry | undefined;
  readonly logs?: LogExport | undefined;
  /** Restarts of this process, counted by the supervisor. */
  readonly restarts?: Restarts;
}

export function createWorker(env: Env, { metrics, telemetry, logs, restarts }: Observers = {}): Worker {
  const id = `w-${randomBytes(4).toString('hex')}`;
  const connect = (role: 'commands' | 'lane') => connectRedis(env.REDIS_URL, role, log);
  const commands = connect('commands');
  const replies = connect('lane');
  const bullmq = connect('commands');
  const cgroups = detectCgroups();
  const { artifacts, blobs } = openStores(env.OFFSHOOT_STATE, s3Settings(env), log);
  const codeDirectory = join(env.OFFSHOOT_STATE, 'code');
  const ranges = ownRanges();
  const receipts = new Receipts({ redis: commands, workerId: id, cgroups, uid: ranges.uid });
  const zygotes = new Zygotes({
    imagesDirectory: join(env.OFFSHOOT_STATE, 'images'),
    codeDirectory,
    ...ranges,
    rotation: {
      forks: env.OFFSHOOT_ZYGOTE_FORKS,
      ageMs: env.OFFSHOOT_ZYGOTE_MINUTES * MINUTE_MS,
      crashes: env.OFFSHOOT_ZYGOTE_CRASHES,
      crashWindowMs: MINUTE_MS,
      minAgeMs: ZYGOTE_MIN_AGE_MS,
    },
  });
  const factory = new SandboxFactory({
    cgroups,
    maxPids: env.OFFSHOOT_SANDBOX_PIDS,
    maxTmpMb: env.OFFSHOOT_SCRATCH_MB,
    pendingSignals: pendingSignalsEach(pendingSignalsHere(), env.OFFSHOOT_MAX_SANDBOXES),
    onForked: metrics && ((ms) => metrics.forked(ms)),
  });
  const code = new CodeStore(codeDirectory, artifacts);
  const functions = new FunctionRepository(commands);
  const logSink = logs && ((target: LogTarget, lines: readonly LogLine[]) => logs.add(target, lines));
  const logBudget = new LogBudget(commands, env.OFFSHOOT_KEPT_LOG_MB * MB, log);
  let logLinesLost = 0;
  const onLogLost = (lines: number): void => void (logLinesLost += lines);
  const functionLog = ({ namespace, name, settings }: LoadedVersion): FunctionLog =>
    new FunctionLog((sandbox, allowance) => {
      const target = { id: '', namespace, name, traceparent: '', sandbox };
      return new InvocationLog(replies, target, {
        sink: logSink,
        allowance,
        budget: logBudget,
        onLost: onLogLost,
      });
    }, settings.logSize * KB);
  const pool = new Pool({
    ceiling: env.OFFSHOOT_MAX_SANDBOXES,
    preparedFloor: env.OFFSHOOT_PREPARED,
    keepAliveMs: env.OFFSHOOT_KEEP_ALIVE_S * 1000,
    memoryReserveMb: env.OFFSHOOT_MEMORY_RESERVE_MB,
    factory,
    zygotes,
    networks: new Networks({ ready: env.OFFSHOOT_PREPARED_NETWORKS, never: env.OFFSHOOT_EGRESS_NEVER }),
    receipts,
    code,
    functionLog,
    idleCpu: env.OFFSHOOT_IDLE_CPU,
    ...(metrics && {
      onOutside: ({ namespace, name }, phase, ms) => metrics.metrics.outside({ namespace, name, phase, ms }),
    }),
  });
  const codeCollector = new CodeCollector({
    root: codeDirectory,
    store: code,
    functions,
    maxBytes: env.OFFSHOOT_CODE_MB * MB,
  });
  const versions = new VersionCache(functions);
  const warmNamespaces = new WarmNamespaces({ functions, pool });
  const cpuClock = new CpuClock();
  const execution = {
    workerId: id,
    versions,
    pool,
    cpuClock,
    receipts,
    blobs,
    redis: replies,
    logSink,
    logBudget,
    onLogLost,
    onLateSpans: (call: LateCall, spans: readonly FunctionSpan[]) => {
      telemetry?.lateSpans(call, spans);
      storeLateSpans(replies, call.id, spans);
    },
  };
  const store = new QueuedStore(commands, (before, after) => {
    const exported = telemetry?.changed(before, after);
    metrics?.metrics.changed(before, after, exported);
  });
  const batches = new BatchStore(commands, (...ended) => telemetry?.batchEnded(...ended));
  const leases = new QuotaLeases(commands, log);
  const queued = new QueueConsumer({
    ...execution,
    store,
    onSpans: telemetry && ((record, spans) => telemetry.ownSpans(record, spans)),
    groups: new Groups({ batches, blobs }),
    spare: new SparePermits(Math.floor(queuedCapacity(env) / 2)),
    functions,
    deliveries: new Deliveries(bullmq),
    dead: new DeadLetters(commands, store),
    retention: new Retention(commands, env.OFFSHOOT_KEPT_JOBS),
    commands,
    leases,
    capacity: queuedCapacity(env),
    connect: () => connectRedis(env.REDIS_URL, 'queue', log),
    scheduled: (job, namespace) => scheduledInvocation({ redis: commands, store, functions }, namespace, job),
  });
  const consumer = new Consumer({
    ...execution,
    capacity: env.OFFSHOOT_CAPACITY,
    onNamespaces: (namespaces, limits) => {
      queued.follow(namespaces, limits);
      warmNamespaces.known(namespaces);
    },
    onRemoved: (name) => {
      versions.forget(name);
      pool.forget(name);
      warmNamespaces.look();
    },
    elsewhere: (invocation) => queued.runs.execution(invocation),
    functions,
    writer: new LaneWriter(replies),
    lanes: connectBlocking(env.REDIS_URL, log),
    control: connectBlocking(env.REDIS_URL, log),
    commands,
    limits: new NamespaceLimitsStore(commands),
  });
  metrics?.observe({
    commands,
    sandboxes: () => ({ ...pool.counts(), starting: pool.starting }),
    ceiling: env.OFFSHOOT_MAX_SANDBOXES,
    started: factory.started,
    ended: factory.ended,
    logLinesLost: () => logLinesLost,
    memory: () => cgroups.memory(),
    zygotes: () => ({ started: zygotes.started, live: zygotes.live }),
    running: () => consumer.running + queued.runs.running,
    capacity: env.OFFSHOOT_CAPACITY,
    restarts: restarts ?? { ended: 0, stood_still: 0 },
  });
  if (logs) metrics?.metrics.watchDropped('logs', () => logs.dropped);
  if (telemetry) metrics?.metrics.watchDropped('spans', () => telemetry.dropped());
  const startedAt = Date.now();
  const heartbeat = new Heartbeat(commands, () => ({
    id,
    startedAt,
    ...pool.counts(),
    running: consumer.running + queued.runs.running,
    capacity: env.OFFSHOOT_CAPACITY,
    queuedEnded: queued.endedPerSecond(),
    pools: pool.pools(),
  }));

  let stopTime: (() => void) | undefined;
  const parts = new Parts(
    [
      {
        name: 'redis',
        stop: () => [commands, replies, bullmq].forEach((redis) => redis.disconnect()),
      },
      { name: 'shared time', start: () => void (stopTime = followTime(commands)), stop: () => stopTime?.() },
      { name: 'traces', stop: () => telemetry?.close() },
      { name: 'log export', stop: () => logs?.close() },
      ...(metrics
        ? [{ name: 'metrics', start: () => serveMetrics(id, metrics), stop: () => metrics.close() }]
        : []),
      { name: 'quota leases', stop: () => leases.stop() },
      { name: 'cgroups', start: () => cgroups.sweep() },
      { name: 'receipts', start: () => receipts.start(), stop: () => receipts.stop() },
      { name: 'code', stop: () => code.letGo() },
      { name: 'log budget', stop: () => logBudget.close() },
      { name: 'pool', stop: () => pool.stop() },
      { name: 'warm namespaces', start: () => warmNamespaces.start(), stop: () => warmNamespaces.stop() },
      { name: 'jobs', drain: (graceMs) => queued.stop(graceMs) },
      { name: 'calls', start: () => consumer.start(), drain: (graceMs) => consumer.drain(graceMs) },
      { name: 'heartbeat', start: () => heartbeat.start(), stop: () => heartbeat.stop() },
      { name: 'code collector', start: () => codeCollector.start(), stop: () => codeCollector.stop() },
    ],
    log,
  );
  return {
    id,
    async start() {
      await parts.start();
      log.info(
        { id, capacity: env.OFFSHOOT_CAPACITY, sandboxes: env.OFFSHOOT_MAX_SANDBOXES },
        'worker takes calls',
      );
    },
    stop: () => parts.stop(DRAIN_GRACE_MS),
  };
}

async function serveMetrics(id: string, metrics: WorkerMetrics): Promise<void> {
  const { address, port } = await metrics.listen();
  log.info({ id, address, port }, 'metrics are at /metrics');
}
