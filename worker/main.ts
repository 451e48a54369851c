/** The worker process: environment, start, and an orderly end on SIGTERM or SIGINT. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { parseEnv, type Env } from './env.ts';
import { log } from './log.ts';
import type { WorkerMetrics } from './metrics.ts';
import { createWorker } from './worker.ts';

try {
  const env = parseEnv(process.env);
  const worker = createWorker(env, await metricsOf(env));
  let stopping = false;
  const stop = (signal: string): void => {
    if (stopping) return;
    stopping = true;
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
} catch (error) {
  log.fatal({ error }, error instanceof Error ? error.message : 'worker could not start');
  process.exit(1);
}

/** Loaded only when it is wanted: the SDK costs time and memory at start. */
async function metricsOf(env: Env): Promise<WorkerMetrics | undefined> {
  const { OFFSHOOT_METRICS_HOST: host, OFFSHOOT_METRICS_PORT: port } = env;
  if (port === 0) return undefined;
  const manifest = await readFile(new URL('../package.json', import.meta.url), 'utf8');
  const { version } = z.object({ version: z.string() }).parse(JSON.parse(manifest));
  const { WorkerMetrics: Opened } = await import('./metrics.ts');
  return new Opened({ host, port }, version, env.OFFSHOOT_METRICS_FUNCTIONS);
}
