/**
 * The embedded Redis: a private `redis-server` on a unix socket, with an append-only file. Other users cannot reach it.
 */
import { mkdir } from 'node:fs/promises';
import { connect } from 'node:net';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeExit, type Exit, type Running, startProcess } from './process.ts';

/** sun_path of a unix socket holds 108 bytes, the closing zero among them. */
const MAX_SOCKET_PATH = 107;
/** Redis serves its socket between commands even while it loads, so a silent one does not work. */
const SILENCE_MS = 30_000;
const SAY_LOADING_MS = 10_000;
const STOP_MS = 10_000;
const LOG_LINES = 20;
/** Exit code of flock when another process holds the lock; any that redis-server does not use. */
const LOCK_TAKEN = 75;

export interface RedisOptions {
  /** Holds data and lock; made when missing. */
  readonly dir: string;
  /** Where the socket goes; `redis.sock` in `dir` unless given. */
  readonly socket?: string;
  readonly onLine?: (line: string) => void;
  /** Called while it loads its data, at once and every ten seconds, with the part that is loaded, such as `12.50%`. */
  readonly onLoading?: (part: string) => void;
  /** Upper bound on the time for which it may answer nothing at all. */
  readonly silenceMs?: number;
  /** Ends a start that is under way. */
  readonly signal?: AbortSignal;
}

export interface EmbeddedRedis extends Running {
  /** `unix:///path/redis.sock`, as REDIS_URL takes it. */
  readonly url: string;
  stop(graceMs?: number): Promise<Exit>;
}

/**
 * Starts a Redis and waits until it answers: as long as it takes to load its data, which may be minutes. Fails with its
 * last output when it ends.
 */
export async function startRedis(options: RedisOptions): Promise<EmbeddedRedis> {
  const dir = resolve(options.dir);
  const socket = resolve(options.socket ?? join(dir, 'redis.sock'));
  if (Buffer.byteLength(socket) > MAX_SOCKET_PATH) {
    throw new Error(
      `the socket path ${socket} is longer than the ${MAX_SOCKET_PATH} bytes that Linux allows: ` +
        'choose a shorter directory with OFFSHOOT_STATE',
    );
  }
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const tail: string[] = [];
  const running = await startProcess(redisCommand(dir, socket), {
    onLine(line) {
      tail.push(line);
      if (tail.length > LOG_LINES) tail.shift();
      options.onLine?.(line);
    },
  });
  const failed = await Promise.race([running.exited, untilAnswering(socket, options)]).catch(
    async (error: unknown) => {
      await running.stop(STOP_MS);
      throw error;
    },
  );
  if (failed !== undefined) {
    const why =
      failed.code === LOCK_TAKEN
        ? `another Redis already runs on ${dir}: stop that platform first, or give this one its own OFFSHOOT_STATE`
        : `redis-server ended with ${describeExit(failed)}. Its last lines:\n${tail.map((line) => `  | ${line}`).join('\n')}`;
    throw new Error(`the embedded Redis did not start: ${why}`);
  }
  return {
    ...running,
    url: `unix://${socket}`,
    stop: (graceMs = STOP_MS) => running.stop(graceMs),
  };
}

/** The command line; no configuration file, so that there is one place to read. */
export function redisCommand(dir: string, socket: string): string[] {
  const settings: Record<string, string> = {
    // No TCP: only a user who may open the socket may talk to it.
    port: '0',
    unixsocket: socket,
    unixsocketperm: '700',
    dir,
    // Queued work must survive a restart; at most the last second may be lost.
    appendonly: 'yes',
    appendfsync: 'everysec',
    // The sync lane's frames pass through the file as well and are gone at once; from the default of 64 MB, a loaded
    // platform would rewrite its file every few seconds, for a quarter of the machine.
    'auto-aof-rewrite-min-size': '512mb',
    // The append-only file is enough; snapshots would fork twice as often.
    save: '',
    // Dropping keys to make room would lose queued work in silence.
    'maxmemory-policy': 'noeviction',
    loglevel: 'notice',
    daemonize: 'no',
  };
  // Two servers on one append-only file would destroy it. The lock is on an open file which redis-server inherits
  // (--no-fork), so the kernel lifts it when that process ends, however it ends.
  const lock = [
    'flock',
    '--nonblock',
    '--no-fork',
    '--conflict-exit-code',
    String(LOCK_TAKEN),
    join(dir, 'lock'),
  ];
  return [
    ...lock,
    'redis-server',
    ...Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]),
  ];
}

/** Settles when Redis has loaded its data; until then it answers PING with an error that says so. */
async function untilAnswering(
  socket: string,
  { onLoading, silenceMs = SILENCE_MS, signal }: RedisOptions,
): Promise<undefined> {
  let heard = Date.now();
  let said = 0;
  for (;;) {
    signal?.throwIfAborted();
    const answer = await ask({ path: socket }, ['PING']);
    if (answer.startsWith('+PONG')) return undefined;
    const now = Date.now();
    if (answer.startsWith('-LOADING')) {
      heard = now;
      if (now - said >= SAY_LOADING_MS) {
        said = now;
        onLoading?.(await loadedPart(socket));
      }
    } else if (now - heard > silenceMs) {
      throw new Error(`the embedded Redis does not answer on ${socket}`);
    }
    await sleep(20);
  }
}

async function loadedPart(socket: string): Promise<string> {
  const facts = await ask({ path: socket }, ['INFO', 'persistence']);
  return `${/^loading_loaded_perc:([\d.]+)/m.exec(facts)?.[1] ?? '0'}%`;
}

/**
 * One command and the first bytes of its answer, or an empty string when there is none within a second. Enough for
 * probes, and without the reconnects of a client.
 */
export function ask(
  target: { path: string } | { host: string; port: number },
  command: readonly string[],
): Promise<string> {
  return new Promise((resolveAnswer) => {
    const connection = connect(target);
    const finish = (answer: string): void => {
      connection.destroy();
      resolveAnswer(answer);
    };
    connection.setTimeout(1000, () => finish(''));
    connection.once('error', () => finish(''));
    connection.once('close', () => finish(''));
    connection.once('data', (data) => finish(data.toString('latin1')));
    const words = command.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
    connection.write(`*${command.length}\r\n${words.join('')}`);
  });
}
