/**
 * Secrets of the host that no sandbox may ever show, and things of the host that no sandbox may ever touch. One oracle
 * for every attack: all its output is searched for them.
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile, chmod } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export class Canaries {
  /** Common part of all tokens of this run, for which the search looks. */
  readonly prefix = `canary-${randomBytes(12).toString('hex')}`;
  readonly #tokens = new Map<string, string>();
  readonly #directory: string;
  readonly #servers: Server[] = [];
  #reached = 0;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  static async plant(): Promise<Canaries> {
    const canaries = new Canaries(await mkdtemp(join(tmpdir(), 'offshoot-canary-')));
    await canaries.#plant();
    return canaries;
  }

  async #plant(): Promise<void> {
    // The worker's environment: the process that starts zygotes is this one.
    process.env['OFFSHOOT_CANARY'] = this.token('environment of the worker');
    process.env['REDIS_URL'] =
      `unix://${this.#directory}/redis.sock?password=${this.token('address of Redis')}`;
    await chmod(this.#directory, 0o755);
    // Readable, and writable, by everyone: only the sandbox keeps an attacker from it.
    await writeFile(this.file, this.token('file of the host'));
    await chmod(this.file, 0o666);
    for (const path of [this.socket, `\0${this.abstractSocket}`]) {
      const server = createServer((socket) => {
        this.#reached++;
        socket.end(this.token('socket of the host'));
      });
      await new Promise<void>((resolve) => {
        server.listen(path, resolve);
      });
      this.#servers.push(server);
    }
    await chmod(this.socket, 0o777);
  }

  /** The secret of that name, made when it is first needed. */
  token(name: string): string {
    let token = this.#tokens.get(name);
    if (token === undefined) {
      token = `${this.prefix}-${randomBytes(8).toString('hex')}`;
      this.#tokens.set(name, token);
    }
    return token;
  }

  get file(): string {
    return join(this.#directory, 'file');
  }

  get socket(): string {
    return join(this.#directory, 'socket');
  }

  get abstractSocket(): string {
    return `${this.prefix.slice(0, 24)}-socket`;
  }

  /** Names of the canaries that `text` shows. */
  shownIn(text: string): string[] {
    return [...this.#tokens].filter(([, token]) => text.includes(token)).map(([name]) => name);
  }

  /** Changes to the things of the host. */
  async hostEffects(): Promise<string[]> {
    const effects: string[] = [];
    if (this.#reached > 0) effects.push(`a socket of the host was reached ${this.#reached} times`);
    if ((await readFile(this.file, 'utf8')) !== this.token('file of the host'))
      effects.push('a file of the host was changed');
    if (((await stat(this.file)).mode & 0o777) !== 0o666)
      effects.push('the mode of a file of the host was changed');
    return effects;
  }

  async remove(): Promise<void> {
    delete process.env['OFFSHOOT_CANARY'];
    delete process.env['REDIS_URL'];
    await Promise.all(
      this.#servers.map(
        (server) =>
          new Promise<void>((resolve) => {
            server.close(() => resolve());
          }),
      ),
    );
    await rm(this.#directory, { recursive: true, force: true });
  }
}
