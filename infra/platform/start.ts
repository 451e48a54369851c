/**
 * All in one: an embedded Redis (unless REDIS_URL names one), a worker and a gateway, kept running until SIGTERM or Ctrl-C.
 */
import { chmod, mkdir } from 'node:fs/promises';
import { connect } from 'node:net';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { styleText } from 'node:util';
import { reachableHost, urlHost } from './address.ts';
import { startProcess } from './process.ts';
import { startRedis } from './redis.ts';
import { type Service, supervise } from './supervise.ts';
import { startBeats } from '#watchdog/beat.ts';
import { parseLimit } from '#watchdog/settings.ts';

const GRACE_MS = 10_000;
const HEALTHY_WITHIN_MS = 60_000;
const USUAL_URL = 'http://127.0.0.1:8787';
const CHECKOUT = fileURLToPath(new URL('../..', import.meta.url));
const COLOURS = { redis: 'red', worker: 'magenta', gateway: 'cyan', offshoot: 'green' } as const;

type Name = keyof typeof COLOURS;

const say = (name: Name, line: string): void => {
  // styleText leaves colour out when stdout is no terminal, or NO_COLOR is set.
  process.stdout.write(`${styleText(COLOURS[name], name.padEnd(8))} ${line}\n`);
};

/** Directory of the platform's permanent data, closed to other users. */
async function openState(): Promise<string> {
  const state = resolve(process.env['OFFSHOOT_STATE'] ?? join(homedir(), '.local/state/offshoot'));
  await mkdir(join(state, 'run'), { recursive: true });
  await chmod(join(state, 'run'), 0o700);
  return state;
}

/** The Redis to use, and a service to stop when it is our own. */
async function openRedis(state: string, stopping: AbortSignal): Promise<{ url: string; service?: Service }> {
  const given = process.env['REDIS_URL'];
  if (given !== undefined && given !== '') return { url: given };
  const start = (signal: AbortSignal) =>
    startRedis({
      dir: join(state, 'redis'),
      socket: join(state, 'run/redis.sock'),
      onLine: (line) => {
        if (isWarning(line)) say('redis', line);
      },
      onLoading: (part) => say('redis', `loading its data: ${part}`),
      signal,
    });
  // Without Redis there is no platform: a first start that fails ends everything, a later one is tried again.
  const first = await start(stopping);
  return {
    url: first.url,
    service: supervise({ name: 'redis', start, first, say: (line) => say('redis', line) }),
  };
}

/**
 * Redis marks important lines with `#`, and a few greetings too. The greetings do not interest the user who started the
 * platform. `offshoot doctor` reports a missing memory overcommit.
 */
function isWarning(line: string): boolean {
  return (
    / # /.test(line) &&
    !/oO0O|Redis version=|Configuration loaded|Server initialized|overcommit|shutdown|bye bye/.test(line)
  );
}

function startPart(
  name: 'worker' | 'gateway',
  env: NodeJS.ProcessEnv,
  stillLimitMs: number | undefined,
): Service {
  return supervise({
    name,
    start: (_signal, restarts) =>
      startProcess([process.execPath, join(CHECKOUT, name, 'main.ts')], {
        env: {
          ...env,
          OFFSHOOT_RESTARTS_ENDED: String(restarts.ended),
          OFFSHOOT_RESTARTS_STILL: String(restarts.stood_still),
        },
        onLine: (line) => say(name, line),
        stillLimitMs,
      }),
    say: (line) => say(name, line),
  });
}

/** Another program on our port would look like a running gateway. */
async function assertPortIsFree(host: string, port: string): Promise<void> {
  const taken = await new Promise<boolean>((resolveTaken) => {
    const connection = connect({ host, port: Number(port) });
    connection.once('connect', () => resolveTaken(true)).once('error', () => resolveTaken(false));
    connection.once('close', () => resolveTaken(false));
    connection.once('connect', () => connection.destroy());
  });
  if (!taken) return;
  throw new Error(
    `port ${port} of ${host} is taken by another program, perhaps an Offshoot that already runs: ` +
      `stop that one, or choose another port: OFFSHOOT_PORT=${Number(port) + 1} npm start`,
  );
}

async function isHealthy(url: string): Promise<boolean> {
  try {
    const answer = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(2000) });
    // A gateway without a worker answers too, and says `degraded`.
    return answer.ok && (await answer.text()).includes('"ok"');
  } catch {
    return false;
  }
}

async function untilHealthy(url: string, stopping: AbortSignal): Promise<boolean> {
  const deadline = Date.now() + HEALTHY_WITHIN_MS;
  while (Date.now() < deadline && !stopping.aborted) {
    if (await isHealthy(url)) return true;
    await sleep(50);
  }
  return false;
}

const command = (text: string): string => styleText('bold', text);

function banner(url: string, state: string): string {
  // The CLI looks for the key only at the usual address, since it must not offer a key to a stranger.
  const login = url === USUAL_URL ? `offshoot login ${url}` : `OFFSHOOT_STATE=${state} offshoot login ${url}`;
  return [
    '',
    `${styleText('green', 'Offshoot is ready')} at ${command(url)}`,
    `The API key of this installation is in ${join(state, 'admin-key')}`,
    `The dashboard is at ${command(`${url}/dashboard`)}; sign in with that key`,
    '',
    'Try next, in another terminal:',
    `  ${command(login)}`,
    `  ${command('offshoot init hello && cd hello')}`,
    `  ${command('offshoot deploy')}`,
    '',
    '',
  ].join('\n');
}

/** Runs until `stopping`. Settles when every process that it started is gone. */
async function main(stopping: AbortSignal): Promise<void> {
  // Tells a watching service manager that this loop turns. While the loop stands still, the service manager hears
  // nothing.
  const beats = startBeats(process.env, {
    warn: (facts, text) => say('offshoot', `${text}: ${JSON.stringify(facts)}`),
  });
  const stillLimitMs = parseLimit(process.env);
  const port = process.env['OFFSHOOT_PORT'] ?? '8787';
  const host = reachableHost(process.env['OFFSHOOT_HOST']);
  await assertPortIsFree(host, port);
  const state = await openState();
  const redis = await openRedis(state, stopping);
  const env = { ...process.env, OFFSHOOT_STATE: state, OFFSHOOT_PORT: port, REDIS_URL: redis.url };
  const worker = startPart('worker', env, stillLimitMs);
  const gateway = startPart('gateway', env, stillLimitMs);
  const url = `http://${urlHost(host)}:${port}`;
  if (await untilHealthy(url, stopping)) process.stdout.write(banner(url, state));
  else if (!stopping.aborted) {
    say(
      'offshoot',
      `${url}/healthz does not answer yet; the lines above say why. Still trying. See also: offshoot doctor`,
    );
  }

  beats.ready();
  await new Promise<void>((done) => {
    if (stopping.aborted) done();
    else stopping.addEventListener('abort', () => done(), { once: true });
  });
  say('offshoot', 'stopping');
  beats.stopping();
  // A worker that ends while others are waited for would be restarted for nothing.
  worker.retire();
  // From the front to the back: no new calls, then the end of the running ones, then their Redis.
  for (const service of [gateway, worker, redis.service]) await service?.stop(GRACE_MS);
}

const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stopping.abort());
try {
  await main(stopping.signal);
} catch (error) {
  // A stop during the load of Redis is no error.
  if (!stopping.signal.aborted) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}
