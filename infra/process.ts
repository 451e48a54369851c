/**
 * A child process that cannot outlive us, whose output goes line by line to a log, and that can be stopped for certain.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

/** How a process ended: `code` when it exited by itself, `signal` when it was killed. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
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
}

/** Starts a program. It is killed by the kernel when this process ends, however it ends. */
export async function startProcess(command: readonly string[], options: ProcessOptions): Promise<Running> {
  // The parent-death signal is sent when the thread that forked ends: that is our main thread, so when we do.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...command], {
    env: options.env ?? process.env,
    stdio: ['ignore', 'pipe', 'pipe'],
    // A session of its own: Ctrl-C in the terminal is for us, who stop the children in order.
    detached: true,
  });
  const exited = exitOf(child, [
    eachLine(child.stdout, options.onLine),
    eachLine(child.stderr, options.onLine),
  ]);
  await once(child, 'spawn');
  const pid = child.pid;
  if (pid === undefined) throw new Error(`${command[0]} has no process id`);
  return { pid, exited, stop: (graceMs) => stop(child, exited, graceMs) };
}

async function exitOf(child: ChildProcess, output: readonly Promise<void>[]): Promise<Exit> {
  const exit = await new Promise<Exit>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
    child.once('error', () => resolve({ code: 127, signal: null }));
  });
  // A grandchild may hold the pipes open; what the child itself said is there by now.
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

/** `exit code 1`, `signal SIGKILL`. */
export function describeExit({ code, signal }: Exit): string {
  return signal === null ? `exit code ${code}` : `signal ${signal}`;
}
