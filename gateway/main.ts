/** Runs the gateway as a process: reads the environment, listens, and drains on SIGTERM or SIGINT. */
import { readFile } from 'node:fs/promises';
import { pino } from 'pino';
import { z } from 'zod';
import { startBeats } from '#watchdog/beat.ts';
import { exportsTraces, telemetryOptions } from '#contract/platform/telemetry.ts';
import { parseEnvironment, type Environment } from './env.ts';
import { Gateway } from './gateway.ts';

/** Time limit for calls under way when the gateway stops. */
const GRACE_MS = 10_000;

let env: Environment;
try {
  env = parseEnvironment(process.env);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(2);
}
const log = pino({ name: 'gateway', level: env.OFFSHOOT_LOG_LEVEL });
const beats = startBeats(process.env, log);
const manifest = await readFile(new URL('../package.json', import.meta.url), 'utf8');
const { version } = z.object({ version: z.string() }).parse(JSON.parse(manifest));

const exports = exportsTraces(env);
// Loaded only when traces are exported, because the SDK costs time and memory at start.
const telemetry = !exports
  ? undefined
  : (await import('#telemetry/spans.ts')).startTelemetry(
      env.OTEL_SERVICE_NAME,
      version,
      telemetryOptions(env),
    );

const gateway = new Gateway({
  env,
  version,
  log,
  telemetry,
  restarts: beats.restarts,
  // Not through the log, which is kept and shipped: the key is for the person at the terminal.
  showKey: (key, file) => console.log(`Admin API key, shown this once and kept in ${file}: ${key}`),
});

let ending = false;
const end = (signal: string): void => {
  if (ending) return;
  ending = true;
  beats.stopping();
  log.info({ signal, graceMs: GRACE_MS }, 'gateway stops');
  gateway.close(GRACE_MS).then(
    () => process.exit(0),
    (error: unknown) => {
      log.error({ err: error }, 'gateway could not stop in order');
      process.exit(1);
    },
  );
};
process.on('SIGTERM', end);
process.on('SIGINT', end);

try {
  const { address, port } = await gateway.listen();
  if (!ending) {
    beats.ready();
    log.info({ address, port, traces: exports }, 'listening');
  }
} catch (error) {
  log.fatal({ err: error, host: env.OFFSHOOT_HOST, port: env.OFFSHOOT_PORT }, 'cannot start');
  process.exit(1);
}
