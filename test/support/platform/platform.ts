/**
 * A whole platform of a test's own: Redis, worker and gateway as real processes, with their state in a temporary
 * directory, and functions deployed by the real CLI.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Accepted, AnyInvocationDetail, InvocationDetail } from '#contract/api/api.ts';
import { OwnNetwork } from '../network/own-network.ts';
import { PrivateRedis } from '../redis/private-redis.ts';
import { SLOWNESS } from '../faults/slowness.ts';

const checkout = fileURLToPath(new URL('../../..', import.meta.url));
/**
 * Time after which a start fails in which no process ends; a busy machine needs longer. It is below the timeout of a
 * hook, so that the output is shown and the processes are ended.
 */
const START_MS = 25_000 * SLOWNESS;
const MAINS: Readonly<Record<Part, string>> = {
  worker: 'worker/main.ts',
  'worker-2': 'worker/main.ts',
  gateway: 'gateway/main.ts',
  supervisor: 'infra/platform/start.ts',
};
/** Upper bound on the wait for a record; the only promise is that it comes. */
const RECORD_MS = 20_000 * SLOWNESS;

export interface CliResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * One of its processes. The second worker runs only where a test starts it. The supervisor runs only where the test
 * asks for it, and then starts worker and gateway.
 */
export type Part = 'worker' | 'worker-2' | 'gateway' | 'supervisor';

export interface PlatformOptions {
  /** In a network of its own, instead of the machine's. */
  readonly ownNetwork?: boolean;
  /** Additional environment of its Redis. */
  readonly redisEnvironment?: Readonly<Record<string, string>>;
  /** The supervisor starts worker and gateway, as in `npm start`. */
  readonly supervised?: boolean;
  /** Directory of the runtime images, instead of that of the set-up. */
  readonly images?: string;
}

export class Platform {
  readonly url: string;
  readonly state: string;
  readonly redis: PrivateRedis;
  key = '';
  readonly #port: number;
  readonly #environment: Readonly<Record<string, string>>;
  readonly #network: OwnNetwork | undefined;
  readonly #children = new Map<Part, ChildProcess>();
  /** Output of all processes, shown when a test fails. */
  output = '';

  private constructor(
    state: string,
    redis: PrivateRedis,
    port: number,
    environment: Readonly<Record<string, string>>,
    network?: OwnNetwork,
  ) {
    this.#network = network;
    this.state = state;
    this.redis = redis;
    this.#port = port;
    this.url = `http://127.0.0.1:${port}`;
    this.#environment = environment;
  }

  static async start(
    environment: Readonly<Record<string, string>> = {},
    redis: readonly string[] = [],
    { ownNetwork = false, redisEnvironment = {}, supervised = false, images }: PlatformOptions = {},
  ): Promise<Platform> {
    const installed = process.env['OFFSHOOT_STATE'];
    if (!installed) throw new Error('OFFSHOOT_STATE is not set; run the tests by: npm test');
    const state = await mkdtemp(join(tmpdir(), 'offshoot-platform-'));
    await symlink(images ?? join(installed, 'images'), join(state, 'images'));
    const port = await freePort();
    const platform = new Platform(
      state,
      await PrivateRedis.start(['--appendonly', 'yes', ...redis], redisEnvironment),
      port,
      environment,
      ownNetwork ? await OwnNetwork.open(port) : undefined,
    );
    for (const part of supervised ? (['supervisor'] as const) : (['worker', 'gateway'] as const))
      platform.run(part);
    await platform.ready().catch(async (error: unknown) => {
      // The test has no platform yet that it could stop.
      await platform.stop();
      throw error;
    });
    // Written a moment after the gateway listens.
    while (!platform.key) {
      platform.key = (await readFile(join(state, 'admin-key'), 'utf8').catch(() => '')).trim();
      if (!platform.key) await sleep(20);
    }
    // The file is written before Redis learns of the key.
    while ((await platform.api('/whoami')).status !== 200) await sleep(20);
    return platform;
  }

  /** Starts one of the processes (again). */
  run(name: Part): void {
    const main = join(checkout, MAINS[name]);
    // env(1) becomes the program, so the process keeps its id, also in a network of its own.
    const child = spawn('env', [...(this.#network?.enter ?? []), process.execPath, main], {
      cwd: checkout,
      env: {
        PATH: process.env['PATH'] ?? '',
        ...(process.env['OFFSHOOT_CGROUP'] && { OFFSHOOT_CGROUP: process.env['OFFSHOOT_CGROUP'] }),
        REDIS_URL: this.redis.url,
        OFFSHOOT_STATE: this.state,
        OFFSHOOT_PORT: String(this.#port),
        ...this.#environment,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (text: Buffer) => {
        this.output = (this.output + text.toString()).slice(-200_000);
      });
    }
    this.#children.set(name, child);
  }

  /** The host of its own network, and the port on which it answers. */
  get host(): { readonly address: string; readonly port: number } {
    if (!this.#network) throw new Error('this platform is in the network of the machine');
    return this.#network;
  }

  /** Its process id, or 0 while it does not run. */
  pid(name: Part): number {
    const own = this.#children.get(name)?.pid;
    const supervisor = this.#children.get('supervisor')?.pid;
    return own ?? (supervisor === undefined ? 0 : childOf(supervisor, MAINS[name]));
  }

  /** Ends one of the processes without warning, and waits until it is gone. */
  async kill(name: Part, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#children.get(name);
    this.#children.delete(name);
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, 'exit');
  }

  /** Waits until the gateway answers and knows a worker. Throws when a process has ended instead. */
  async ready(): Promise<void> {
    const end = Date.now() + START_MS;
    for (;;) {
      const health = await fetch(`${this.url}/healthz`)
        .then((response) => response.json() as Promise<{ status: string; workers: number }>)
        .catch(() => undefined);
      if (health?.status === 'ok' && health.workers > 0) return;
      const gone = [...this.#children.values()].some(
        (child) => child.exitCode !== null || child.signalCode !== null,
      );
      if (gone || Date.now() > end) throw new Error(`the platform did not start:\n${this.output}`);
      await sleep(20);
    }
  }

  async cli(...args: string[]): Promise<CliResult> {
    const child = spawn(process.execPath, [join(checkout, 'cli/main.ts'), ...args], {
      env: {
        PATH: process.env['PATH'] ?? '',
        HOME: this.state,
        OFFSHOOT_STATE: this.state,
        OFFSHOOT_URL: this.url,
        OFFSHOOT_API_KEY: this.key,
        ...(this.#environment['NODE_OPTIONS'] && { NODE_OPTIONS: this.#environment['NODE_OPTIONS'] }),
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (text: Buffer) => (stdout += text.toString()));
    child.stderr.on('data', (text: Buffer) => (stderr += text.toString()));
    const [code] = (await once(child, 'close')) as [number];
    return { code, stdout, stderr };
  }

  /** Deploys one of functions/, with `manifest` merged into its own. Throws when the deploy fails. */
  async deploy(
    example: string,
    manifest: Readonly<Record<string, unknown>> = {},
    namespace = 'default',
  ): Promise<void> {
    const folder = join(this.state, 'projects', `${example}-${Object.keys(manifest).length}-${Date.now()}`);
    await mkdir(join(this.state, 'projects'), { recursive: true });
    const source = join(checkout, 'functions', example);
    await cp(source, folder, { recursive: true, filter: (path) => basename(path) !== 'node_modules' });
    await symlink(join(source, 'node_modules'), join(folder, 'node_modules'));
    const given = JSON.parse(await readFile(join(source, 'offshoot.json'), 'utf8')) as object;
    await writeFile(join(folder, 'offshoot.json'), JSON.stringify({ ...given, ...manifest }));
    const { code, stdout, stderr } = await this.cli('deploy', folder, '--json', '--namespace', namespace);
    if (code !== 0) throw new Error(`deploy of ${example} failed:\n${stdout}\n${stderr}`);
  }

  /** Calls a function by its URL. */
  call(path: string, init?: RequestInit): Promise<Response> {
    return fetch(`${this.url}/fn/default/${path}`, init);
  }

  /** Calls the management API with the admin key. */
  api(path: string, init: Omit<RequestInit, 'headers'> = {}): Promise<Response> {
    return fetch(`${this.url}/api/v1${path}`, {
      ...init,
      headers: { authorization: `Bearer ${this.key}`, 'content-type': 'application/json' },
    });
  }

  /** Queues an invocation, and resolves to its id. */
  async queue(name: string, event: unknown): Promise<string> {
    const response = await this.api(`/functions/default/${name}/invocations`, {
      method: 'POST',
      body: JSON.stringify(event),
    });
    return ((await response.json()) as Accepted).id;
  }

  /** The record of an invocation once it has ended. */
  async ended(id: string, patienceMs = 60_000): Promise<InvocationDetail> {
    for (const giveUp = Date.now() + patienceMs; Date.now() < giveUp; await sleep(50)) {
      const response = await this.api(`/invocations/${id}`);
      const found = response.ok ? ((await response.json()) as AnyInvocationDetail) : undefined;
      if (found?.state === 'done') return found;
    }
    throw new Error(`invocation ${id} did not end:\n${this.output}`);
  }

  /** The record of an invocation, which is written just after its answer. */
  async record(response: Response): Promise<InvocationDetail> {
    const id = response.headers.get('x-offshoot-invocation');
    for (const end = Date.now() + RECORD_MS; Date.now() < end; await sleep(20)) {
      const answer = await this.api(`/invocations/${id}`);
      const found = answer.status === 200 ? ((await answer.json()) as AnyInvocationDetail) : undefined;
      if (found?.state === 'done') return found;
    }
    throw new Error(`no record of invocation ${id}`);
  }

  async stop(): Promise<void> {
    await this.kill('gateway', 'SIGTERM');
    const rest = ['worker', 'worker-2', 'supervisor'] as const;
    await Promise.all(rest.map((part) => this.kill(part, 'SIGTERM')));
    await this.#network?.close();
    await this.redis.stop();
    await rm(this.state, { recursive: true, force: true });
  }
}

/** The child of a process that runs this program, or 0. */
function childOf(parent: number, program: string): number {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (!readFileSync(`/proc/${pid}/status`, 'utf8').includes(`\nPPid:\t${parent}\n`)) continue;
      // Skips the words of setpriv(1), which becomes the program.
      const [, file = ''] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      if (file.endsWith(program)) return Number(pid);
    } catch {
      // The process has ended meanwhile.
    }
  }
  return 0;
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}
