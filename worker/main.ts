/** Entry point of the worker process: parses the environment, starts the worker, and stops it in order on SIGTERM or SIGINT. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { startBeats } from '#watchdog/beat.ts';
import { exportsLogs, exportsTraces, telemetryOptions } from '#contract/platform/telemetry.ts';
import { parseEnv, type Env } from './process/env.ts';
import { log } from './process/log.ts';
import { createWorker, type Observers } from './worker.ts';

try {
  const beats = startBeats(process.env, log);
  const env = parseEnv(process.env);
  const worker = createWorker(env, { ...(await observersOf(env)), restarts: beats.restarts });
  let stopping = false;
  const stop = (signal: string): void => {
    if (stopping) return;
    stopping = true;
    beats.stopping();
    log.info({ signal }, 'worker stops');
    worker.stop().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ error }, 'worker could not stop in order');
        process.exit(1);
      },
    );
  };
  for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => stop(signal));
  await worker.start();
  if (!stopping) beats.ready();
} catch (error) {
  log.fatal({ error }, error instanceof Error ? error.message : 'worker could not start');
  process.exit(1);
}

/** Loads the configured observers only: their SDK costs time and memory at start. */
async function observersOf(env: Env): Promise<Observers> {
  const { OFFSHOOT_METRICS_HOST: host, OFFSHOOT_METRICS_PORT: port } = env;
  const manifest = await readFile(new URL('../package.json', import.meta.url), 'utf8');
  const { version } = z.object({ version: z.string() }).parse(JSON.parse(manifest));
  const metrics = port === 0 ? undefined : await import('./process/metrics.ts');
  const telemetry = exportsTraces(env) ? await import('#telemetry/spans.ts') : undefined;
  const logs = exportsLogs(env) ? await import('./run/log-export.ts') : undefined;
  return {
    metrics: metrics && new metrics.WorkerMetrics({ host, port }, version, env.OFFSHOOT_METRICS_FUNCTIONS),
    logs: logs?.startLogExport(env.OTEL_SERVICE_NAME, version, env.OTEL_EXPORTER_OTLP_PROTOCOL),
    telemetry: telemetry?.startTelemetry(env.OTEL_SERVICE_NAME, version, telemetryOptions(env)),
  };
}
