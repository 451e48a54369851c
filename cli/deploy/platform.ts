/** Starts the platform of this checkout for `offshoot dev`, and stops it again. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { CliError } from '../terminal/errors.ts';
import { defuse } from '../terminal/text.ts';

const START = fileURLToPath(new URL('../../infra/platform/start.sh', import.meta.url));
/** The first start sets up the host: packages, images, native parts. */
const START_LIMIT_MS = 15 * 60_000;
const POLL_MS = 200;
/** How long it may take to end its sandboxes before it is killed. */
const STOP_LIMIT_MS = 12_000;
const LAST_LINES = 15;
/** Log lines of its processes below the level of a warning (pino's numbers). */
const CHATTER = /\{"level":[123]0,/;

export interface Platform {
  stop(): Promise<void>;
}

/** Does anything answer there? */
export async function isAnswering(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(2_000) });
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
}

/** Starts it and returns when the gateway answers; `onLine` gets what it prints until then. */
export async function startPlatform(
  url: string,
  onLine: (line: string) => void,
  signal: AbortSignal,
): Promise<Platform> {
  const { hostname, port } = new URL(url);
  // In a URL an IPv6 address stands in brackets, which are no part of it.
  const host = hostname.replace(/^\[(.*)\]$/, '$1');
  // A process group of its own: Ctrl-C must reach this process first, which then ends the platform in order.
  const child = spawn('bash', [START], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, OFFSHOOT_HOST: host, OFFSHOOT_PORT: port || '80' },
  });
  const ended = once(child, 'exit');
  // Whatever ends this process, the platform is not left behind; told to, it ends in order by itself.
  const endWithUs = (): void => signalGroup(child.pid, 'SIGTERM');
  process.once('exit', endWithUs);
  const lines: string[] = [];
  let answering = false;
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      lines.push(defuse(line));
      if (lines.length > LAST_LINES) lines.shift();
      if (!answering && !CHATTER.test(line)) onLine(defuse(line));
    });
  }
  const stop = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    signalGroup(child.pid, 'SIGTERM');
    const gone = await Promise.race([ended.then(() => true), sleep(STOP_LIMIT_MS, false, { ref: false })]);
    if (!gone) signalGroup(child.pid, 'SIGKILL');
    process.off('exit', endWithUs);
  };
  const deadline = Date.now() + START_LIMIT_MS;
  while (!(await isAnswering(url))) {
    const over = child.exitCode !== null || child.signalCode !== null || Date.now() > deadline;
    if (over || signal.aborted) {
      await stop();
      if (signal.aborted) throw new CliError('interrupted', 'stopped', { next: 'offshoot dev' });
      throw new CliError('failed', 'the platform did not start', {
        code: 'not_started',
        lines,
        next: 'offshoot doctor',
      });
    }
    await sleep(POLL_MS);
  }
  answering = true;
  return { stop };
}

function signalGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // It has ended by itself.
  }
}
