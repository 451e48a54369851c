/** Programs that the bench starts. The kernel ends them when the bench ends, however it ends. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describeExit, startProcess, type Running } from '../../infra/platform/process.ts';
import { messageOf } from './interleave.ts';

const STARTS_WITHIN_MS = 15_000;
const LOOK_AGAIN_MS = 25;
const STOP_GRACE_MS = 5_000;
const KEPT_LINES = 20;
/** Prefix of a result line: a program that measures prints it beside its warnings. */
const RESULT = 'RESULT ';

export interface Child {
  readonly pid: number;
  /** Throws with its last output when it has ended. */
  readonly assertRuns: () => void;
  readonly stop: () => Promise<void>;
}

/** Starts a program that serves, and waits until `isUp` says so. When it does not come up, it is stopped. */
export async function startServing(
  command: readonly string[],
  isUp: () => Promise<boolean>,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Child> {
  const { running, tail } = await start(command, env);
  let ended: string | undefined;
  void running.exited.then((exit) => {
    ended = describeExit(exit);
  });
  const child: Child = {
    pid: running.pid,
    assertRuns() {
      if (ended !== undefined) throw new Error(`${command.at(-1)} ended with ${ended}: ${tail.join(' | ')}`);
    },
    async stop() {
      await running.stop(STOP_GRACE_MS);
    },
  };
  const end = Date.now() + STARTS_WITHIN_MS;
  try {
    while (!(await isUp())) {
      child.assertRuns();
      if (Date.now() > end) throw new Error(`${command.at(-1)} does not come up: ${tail.join(' | ')}`);
      await sleep(LOOK_AGAIN_MS);
    }
  } catch (error) {
    await child.stop();
    throw error;
  }
  return child;
}

/** Runs a program that measures; returns the value that it reported with report(). */
export async function measureIn(command: readonly string[], stopping: AbortSignal): Promise<unknown> {
  stopping.throwIfAborted();
  const { running, tail, result } = await start(command, process.env);
  const stop = (): void => void running.stop(STOP_GRACE_MS);
  stopping.addEventListener('abort', stop);
  const exit = await running.exited;
  stopping.removeEventListener('abort', stop);
  stopping.throwIfAborted();
  const text = result();
  if (exit.code === 0 && text !== undefined) return JSON.parse(text);
  throw new Error(tail.at(-1) ?? `${command[0]} ended with ${describeExit(exit)}`);
}

/** The other side of measureIn(): runs the measurement, and reports its result or its error. */
export async function report(measure: () => Promise<object>): Promise<never> {
  try {
    const result = `${RESULT}${JSON.stringify(await measure())}\n`;
    await new Promise((resolve) => process.stdout.write(result, resolve));
    process.exit(0);
  } catch (error) {
    console.error(messageOf(error));
    process.exit(1);
  }
}

async function start(
  command: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<{ running: Running; tail: string[]; result: () => string | undefined }> {
  const tail: string[] = [];
  let result: string | undefined;
  const running = await startProcess(command, {
    env,
    onLine(line) {
      if (line.startsWith(RESULT)) result = line.slice(RESULT.length);
      else if (tail.push(readable(line)) > KEPT_LINES) tail.shift();
    },
  });
  return { running, tail, result: () => result };
}

/** The message of a JSON log line of our own processes; any other line unchanged. */
function readable(line: string): string {
  try {
    const { msg } = JSON.parse(line) as { msg?: unknown };
    return typeof msg === 'string' ? msg.replaceAll(/\s*\n\s*/g, ' ') : line;
  } catch {
    return line;
  }
}
