/** A Redis of a test's own. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A redis-server child on a unix socket in a directory of its own. */
export class PrivateRedis {
  readonly directory: string;
  readonly url: string;
  readonly #arguments: readonly string[];
  readonly #environment: Readonly<Record<string, string>>;
  #child: ChildProcess | undefined;

  constructor(
    directory: string,
    options: readonly string[],
    environment: Readonly<Record<string, string>> = {},
  ) {
    this.directory = directory;
    this.#environment = environment;
    this.url = `unix://${join(directory, 'redis.sock')}`;
    this.#arguments = options;
  }

  static async start(
    options: readonly string[] = [],
    environment: Readonly<Record<string, string>> = {},
  ): Promise<PrivateRedis> {
    const directory = await mkdtemp(join(tmpdir(), 'offshoot-redis-'));
    const redis = new PrivateRedis(directory, options, environment);
    await redis.resume();
    return redis;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Starts the server again after kill(). */
  async resume(): Promise<void> {
    const socket = join(this.directory, 'redis.sock');
    this.#child = spawn(
      'redis-server',
      [
        '--port',
        '0',
        '--unixsocket',
        socket,
        '--dir',
        this.directory,
        '--save',
        '',
        '--maxmemory-policy',
        'noeviction',
        ...this.#arguments,
      ],
      { stdio: 'ignore', env: { ...process.env, ...this.#environment } },
    );
    for (let attempt = 0; attempt < 200; attempt++) {
      if (await answers(socket)) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error('the redis-server of the test does not come up');
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  async stop(): Promise<void> {
    await this.kill();
    await rm(this.directory, { recursive: true, force: true });
  }
}

function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = createConnection(socket);
    connection.on('error', () => resolve(false));
    connection.on('connect', () => connection.write('PING\r\n'));
    connection.on('data', (data) => {
      connection.destroy();
      resolve(data.toString().startsWith('+PONG'));
    });
  });
}
