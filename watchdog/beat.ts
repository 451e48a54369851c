/**
 * A process tells those who watch it that its event loop turns: our supervisor over a pipe, a service manager (systemd) over its
 * own socket. With neither it tells nobody.
 */
import { Socket } from 'node:net';
import { Worker } from 'node:worker_threads';
import { notify } from './notify.ts';
import { type Restarts, takeWatchers, type Watchers } from './settings.ts';

/** A manager is told this many times within the silence that it allows. */
const TOLD_WITHIN = 4;
const MANAGER_MS = 10_000;
/** A start that lasts, since Redis loads its data or is away, is no failure for as long as the loop turns. */
const MORE_TIME = `EXTEND_TIMEOUT_USEC=${3 * MANAGER_MS * 1_000}`;
/** MB of the witness: it holds nothing. */
const WITNESS_HEAP_MB = 16;

export interface Beats {
  /** Of this process before now, by the same supervisor. */
  readonly restarts: Restarts;
  /** The start is over. */
  ready(): void;
  /** It has begun to stop. */
  stopping(): void;
}

export interface BeatLog {
  warn(facts: object, message: string): void;
}

/**
 * Begins to tell whoever `environment` names, and takes their names out of it. Early: what comes before the first beat counts as
 * the start. Throws where a variable makes no sense, or a descriptor is none.
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
    // A supervisor that does not read must not fill our memory: one beat is as good as many.
    if (pipe.writableLength === 0) pipe.write('.');
  }, everyMs);
  // It has ended, and so shall we within a moment, by the parent-death signal.
  pipe.on('error', () => clearInterval(timer));
  timer.unref();
  pipe.unref();
}

/** The thread that says where JavaScript stands, should the supervisor ask. Without it only that is not known. */
function startWitness(fd: number, log: BeatLog): void {
  const witness = new Worker(new URL('witness.mjs', import.meta.url), {
    workerData: { fd },
    // What an operator has loaded into this process is not for its witness.
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
      if (!complained) log.warn({ error: String(error) }, 'the service manager could not be told');
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
