/** The worker process: environment, start, and an orderly end on SIGTERM or SIGINT. */
import { parseEnv } from './env.ts';
import { log } from './log.ts';
import { createWorker } from './worker.ts';

try {
  const worker = createWorker(parseEnv(process.env));
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
