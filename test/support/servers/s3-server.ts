/**
 * An S3 server of a test's own, on loopback. Its objects are files of a directory, and survive an end and a new start.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, utimes } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { S3Settings } from '#storage/s3/settings.ts';

const PROGRAM = join(process.env['OFFSHOOT_CACHE'] ?? '', 's3-server', 'versitygw');
/** `npm run test:s3` builds it. */
export const HAS_S3_SERVER = existsSync(PROGRAM);

const BUCKET = 'offshoot-test';
const CREDENTIALS = { accessKeyId: 'test-key', secretAccessKey: 'test-secret-of-the-tests' };

export class S3Server {
  readonly directory: string;
  readonly port: number;
  #child: ChildProcess | undefined;

  private constructor(directory: string, port: number) {
    this.directory = directory;
    this.port = port;
  }

  static async start(): Promise<S3Server> {
    const server = new S3Server(await mkdtemp(join(tmpdir(), 'offshoot-s3-')), await freePort());
    await mkdir(server.bucket, { recursive: true });
    await mkdir(join(server.directory, 'facts'));
    await server.resume();
    return server;
  }

  /** Directory of the objects, each a file under its key. */
  get bucket(): string {
    return join(this.directory, 'buckets', BUCKET);
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  settings(prefix: string, given: Partial<S3Settings> = {}): S3Settings {
    return {
      bucket: BUCKET,
      prefix,
      region: 'us-east-1',
      endpoint: this.url,
      pathStyle: true,
      credentials: CREDENTIALS,
      ...given,
    };
  }

  /** Settings of the store for a process of the platform. */
  environment(prefix: string): Record<string, string> {
    return {
      OFFSHOOT_ARTIFACTS: `s3://${BUCKET}/${prefix}`,
      AWS_ENDPOINT_URL_S3: this.url,
      AWS_ACCESS_KEY_ID: CREDENTIALS.accessKeyId,
      AWS_SECRET_ACCESS_KEY: CREDENTIALS.secretAccessKey,
    };
  }

  /** Starts the server again after kill(). */
  async resume(): Promise<void> {
    const at = ['--port', `127.0.0.1:${this.port}`, '--keep-alive', '--quiet'];
    // Without extended attributes, which not every file system of /tmp has.
    const where = ['--sidecar', join(this.directory, 'facts'), join(this.directory, 'buckets')];
    this.#child = spawn(PROGRAM, [...at, 'posix', ...where], {
      env: { ROOT_ACCESS_KEY: CREDENTIALS.accessKeyId, ROOT_SECRET_KEY: CREDENTIALS.secretAccessKey },
      stdio: 'ignore',
    });
    for (let attempt = 0; attempt < 250; attempt++) {
      if (await fetch(this.url).catch(() => undefined)) return;
      await sleep(20);
    }
    throw new Error('the S3 server of the test does not come up');
  }

  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  async stop(): Promise<void> {
    await this.kill();
    await rm(this.directory, { recursive: true, force: true });
  }

  /** Keys of all objects, and files of unfinished uploads. */
  async files(): Promise<string[]> {
    const all = await readdir(this.bucket, { recursive: true, withFileTypes: true });
    return all
      .filter((entry) => entry.isFile())
      .map((entry) => relative(this.bucket, join(entry.parentPath, entry.name)))
      .toSorted();
  }

  /** Sets the time of an object `ms` milliseconds back. */
  async age(key: string, ms: number): Promise<void> {
    const past = new Date(Date.now() - ms);
    await utimes(join(this.bucket, key), past, past);
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
