/** A child process that cannot outlive us, whose output goes line by line to a log, and whose stop is certain. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Duplex, Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { beatMs, Watchdog } from '#watchdog/watch.ts';

/** Descriptors at which a watched child finds its two pipes. */
const BEAT_FD = 3;
const WITNESS_FD = 4;

/** How a process ended: `code` when it exited by itself, `signal` when it was killed. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Place where it stood still, when the watchdog has ended it. */
  readonly stillness?: string | undefined;
}

export interface Running {
  readonly pid: number;
  /** Settles when it has ended and its output is read. Never rejects. */
  readonly exited: Promise<Exit>;
  /** SIGTERM, then after `graceMs` SIGKILL. Settles when it is gone. */
  stop(graceMs: number): Promise<Exit>;
}

export interface ProcessOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly onLine: (line: string) => void;
  /** A process of the platform, which is ended when its event loop stands still for longer than this. */
  readonly stillLimitMs?: number | undefined;
  /** Upper bound on the time until its loop first turns. */
  readonly startLimitMs?: number;
}

/** Starts a program. The kernel kills it when this process ends, however it ends. */
export async function startProcess(command: readonly string[], options: ProcessOptions): Promise<Running> {
  // The parent-death signal is sent when the thread that forked ends: that is our main thread, so when we do.
  const { env = process.env, stillLimitMs, onLine } = options;
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...command], {
    env: stillLimitMs === undefined ? env : { ...env, ...beatEnvironment(stillLimitMs) },
    stdio: ['ignore', 'pipe', 'pipe', ...(stillLimitMs === undefined ? [] : (['pipe', 'pipe'] as const))],
    // A session of its own: Ctrl-C in the terminal is for us, who stop the children in order.
    detached: true,
  });
  const output = [child.stdout, child.stderr].filter((stream) => stream !== null);
  const ended = exitOf(
    child,
    output.map((stream) => eachLine(stream, onLine)),
  );
  await once(child, 'spawn');
  const pid = child.pid;
  if (pid === undefined) throw new Error(`${command[0]} has no process id`);
  const watchdog = stillLimitMs === undefined ? undefined : watch(child, pid, stillLimitMs, options);
  const lost = watchdog?.lost.then((): Exit => ({ code: null, signal: 'SIGKILL' }));
  const exited = Promise.race(lost ? [ended, lost] : [ended]).then((exit) => {
    watchdog?.stop();
    return { ...exit, stillness: watchdog?.stillness };
  });
  return {
    pid,
    exited,
    stop: (graceMs) => {
      // From now on the wait is `graceMs`, and silence ends nothing.
      watchdog?.stop();
      return stop(child, exited, graceMs);
    },
  };
}

/** Tells a child which of its descriptors are the pipes that `watch` reads. */
function beatEnvironment(limitMs: number): NodeJS.ProcessEnv {
  const [beat, witness] = [BEAT_FD, WITNESS_FD].map(String);
  return { OFFSHOOT_BEAT_FD: beat, OFFSHOOT_WITNESS_FD: witness, OFFSHOOT_BEAT_MS: String(beatMs(limitMs)) };
}

function watch(child: ChildProcess, pid: number, limitMs: number, options: ProcessOptions): Watchdog {
  // Pipes of spawn() are sockets, which go both ways.
  const [beats, witness] = [child.stdio[BEAT_FD], child.stdio[WITNESS_FD]] as [Duplex, Duplex];
  return new Watchdog(
    { pid, beats, witness, kill: () => child.kill('SIGKILL'), onLine: options.onLine },
    limitMs,
    options.startLimitMs,
  );
}

async function exitOf(child: ChildProcess, output: readonly Promise<void>[]): Promise<Exit> {
  const exit = await new Promise<Exit>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
    child.once('error', () => resolve({ code: 127, signal: null }));
  });
  // A grandchild may hold the pipes open; the child's own output is complete by now.
  await Promise.race([Promise.all(output), sleep(200, undefined, { ref: false })]);
  return exit;
}

async function eachLine(stream: Readable, onLine: (line: string) => void): Promise<void> {
  for await (const line of createInterface({ input: stream, crlfDelay: Infinity })) onLine(line);
}

async function stop(child: ChildProcess, exited: Promise<Exit>, graceMs: number): Promise<Exit> {
  child.kill('SIGTERM');
  const timer = new AbortController();
  const late = sleep(graceMs, 'late' as const, { signal: timer.signal }).catch(() => 'late' as const);
  if ((await Promise.race([exited, late])) === 'late') child.kill('SIGKILL');
  timer.abort();
  return exited;
}

/** `ended (exit code 1)`, `ended (signal SIGKILL)`, `stood still for 5.4 s, stopped by a signal; ended it`. */
export function describeEnd(exit: Exit): string {
  return exit.stillness === undefined ? `ended (${describeExit(exit)})` : `${exit.stillness}; ended it`;
}

/** `exit code 1`, `signal SIGKILL`. */
export function describeExit({ code, signal }: Exit): string {
  return signal === null ? `exit code ${code}` : `signal ${signal}`;
}
