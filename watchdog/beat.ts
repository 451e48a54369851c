/**
 * Reports that this process's event loop turns, so that a watcher can restart a process that hangs. Our supervisor reads the
 * beats from a pipe, a service manager (systemd) from its own socket. Without a watcher no beat is sent.
 */
import { Socket } from 'node:net';
import { Worker } from 'node:worker_threads';
import { notify } from './notify.ts';
import { type Restarts, takeWatchers, type Watchers } from './settings.ts';

/** Number of beats sent to the service manager within the silence that it allows. */
const TOLD_WITHIN = 4;
const MANAGER_MS = 10_000;
/** Request for more start time. A slow start is no failure while the loop turns: Redis may be loading its data, or be away. */
const MORE_TIME = `EXTEND_TIMEOUT_USEC=${3 * MANAGER_MS * 1_000}`;
/** Heap of the witness thread in MB; it holds nothing. */
const WITNESS_HEAP_MB = 16;

export interface Beats {
  /** Earlier restarts of this process by the same supervisor. */
  readonly restarts: Restarts;
  /** Reports that the start is over. */
  ready(): void;
  /** Reports that this process has begun to stop. */
  stopping(): void;
}

export interface BeatLog {
  warn(facts: object, message: string): void;
}

/**
 * Starts the beats to each watcher that `environment` names, and removes the watchers' variables from it. Call this early: all
 * work before the first beat counts as the start. Throws when a variable is invalid or a descriptor is not open.
 */
export function startBeats(environment: NodeJS.ProcessEnv, log: BeatLog): Beats {
  const watchers = takeWatchers(environment);
  if (watchers.OFFSHOOT_BEAT_FD !== undefined) tellSupervisor(watchers.OFFSHOOT_BEAT_FD, watchers);
  if (watchers.OFFSHOOT_WITNESS_FD !== undefined) startWitness(watchers.OFFSHOOT_WITNESS_FD, log);
  const socket = watchers.NOTIFY_SOCKET;
  const restarts = {
    ended: watchers.OFFSHOOT_RESTARTS_ENDED,
    stood_still: watchers.OFFSHOOT_RESTARTS_STILL,
  };
  return {
    restarts,
    ...(socket === undefined
      ? { ready: () => undefined, stopping: () => undefined }
      : tellManager(socket, watchers, log)),
  };
}

function tellSupervisor(fd: number, { OFFSHOOT_BEAT_MS: everyMs }: Watchers): void {
  const pipe = new Socket({ fd, readable: false, writable: true });
  const timer = setInterval(() => {
    // Skip the beat while the last one is unread, so that a supervisor that does not read cannot fill our memory.
    if (pipe.writableLength === 0) pipe.write('.');
  }, everyMs);
  // The supervisor has ended. The parent-death signal ends this process within a moment.
  pipe.on('error', () => clearInterval(timer));
  timer.unref();
  pipe.unref();
}

/** Starts the thread that reports where JavaScript stands when the supervisor asks. Without it only that report is missing. */
function startWitness(fd: number, log: BeatLog): void {
  const witness = new Worker(new URL('witness.mjs', import.meta.url), {
    workerData: { fd },
    // Preload options that an operator set for this process are not meant for its witness.
    execArgv: [],
    env: {},
    resourceLimits: { maxOldGenerationSizeMb: WITNESS_HEAP_MB, maxYoungGenerationSizeMb: 2 },
  });
  witness.on('error', (error) => log.warn({ error: String(error) }, 'the witness of this process has ended'));
  witness.unref();
}

function tellManager(socket: string, watchers: Watchers, log: BeatLog): Omit<Beats, 'restarts'> {
  const { WATCHDOG_USEC: silence, WATCHDOG_PID: pid } = watchers;
  let complained = false;
  const tell = (text: string): void => {
    try {
      notify(socket, text);
    } catch (error) {
      if (!complained) log.warn({ error: String(error) }, 'the service manager could not be reached');
      complained = true;
    }
  };
  const every = (milliseconds: number, text: string): NodeJS.Timeout =>
    setInterval(() => tell(text), milliseconds).unref();
  if (silence !== undefined && (pid === undefined || pid === process.pid))
    every(silence / 1_000 / TOLD_WITHIN, 'WATCHDOG=1');
  tell(MORE_TIME);
  const starting = every(MANAGER_MS, MORE_TIME);
  return {
    ready: () => {
      clearInterval(starting);
      tell('READY=1');
    },
    stopping: () => tell('STOPPING=1'),
  };
}
