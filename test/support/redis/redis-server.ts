/** Redis servers of a test's own on loopback ports, and set-ups of several: a Cluster, Sentinels. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis, type RedisOptions } from 'ioredis';
import { SLOWNESS } from '../faults/slowness.ts';

const PATIENCE_MS = 20_000 * SLOWNESS;
const SLOTS = 16_384;

/** Ports that are free now, `count` of them. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer().listen(0, '127.0.0.1');
      await once(server, 'listening');
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** One redis-server process. */
export class RedisServer {
  readonly port: number;
  readonly #arguments: readonly string[];
  readonly #client: RedisOptions;
  #child: ChildProcess | undefined;

  /** `client`: options that a client needs besides the port, such as TLS. */
  constructor(port: number, commandLine: readonly string[], client: RedisOptions = {}) {
    this.port = port;
    this.#arguments = commandLine;
    this.#client = client;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  async start(): Promise<void> {
    this.#child = spawn('redis-server', this.#arguments, { stdio: 'ignore' });
    await until(async () => (await this.ask((redis) => redis.ping())) === 'PONG', 'a redis-server comes up');
  }

  /** Sends it a command on a connection of its own. */
  async ask<T>(question: (redis: Redis) => Promise<T>): Promise<T> {
    const redis = new Redis({
      host: '127.0.0.1',
      port: this.port,
      retryStrategy: null,
      enableReadyCheck: false,
      ...this.#client,
      replyMapping: 'legacy',
    });
    redis.on('error', () => undefined);
    try {
      return await question(redis);
    } finally {
      redis.disconnect();
    }
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
}

/** Waits until the condition holds; an error counts as not yet. */
export async function until(isSo: () => Promise<boolean>, what: string): Promise<void> {
  const end = Date.now() + PATIENCE_MS;
  while (!(await isSo().catch(() => false))) {
    if (Date.now() > end) throw new Error(`it took too long until ${what}`);
    await sleep(50);
  }
}

/** Arguments of a server that keeps its data in this directory. */
export function serverArguments(port: number, directory: string, ...more: string[]): string[] {
  const common = ['--port', String(port), '--bind', '127.0.0.1', '--dir', directory, '--save', ''];
  return [...common, '--appendonly', 'yes', '--maxmemory-policy', 'noeviction', ...more];
}

/** Servers that belong together, in one directory. */
class Group {
  readonly directory: string;
  readonly servers: readonly RedisServer[];

  constructor(directory: string, servers: readonly RedisServer[]) {
    this.directory = directory;
    this.servers = servers;
  }

  async stop(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.kill()));
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** A Cluster of three primaries, each with a replica if it is to outlive one. The primaries are the first three servers. */
export class RedisCluster extends Group {
  get url(): string {
    return `redis+cluster://${this.servers.map(({ port }) => `127.0.0.1:${port}`).join(',')}`;
  }

  static async start({ replicas = false } = {}): Promise<RedisCluster> {
    const directory = await mkdtemp(join(tmpdir(), 'offshoot-cluster-'));
    const count = replicas ? 6 : 3;
    const ports = await freePorts(count * 2);
    const servers = await Promise.all(
      Array.from({ length: count }, async (_, index) => {
        const [port = 0, busPort = 0] = ports.slice(index * 2);
        const own = join(directory, String(index));
        await mkdir(own);
        const cluster = ['--cluster-enabled', 'yes', '--cluster-port', String(busPort)];
        return new RedisServer(
          port,
          serverArguments(port, own, ...cluster, '--cluster-node-timeout', String(1_500 * SLOWNESS)),
        );
      }),
    );
    const cluster = new RedisCluster(directory, servers);
    try {
      await cluster.#form(ports);
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  async #form(ports: readonly number[]): Promise<void> {
    const { servers } = this;
    await Promise.all(servers.map((server) => server.start()));
    const primaries = servers.slice(0, 3);
    for (const [index, server] of servers.entries()) {
      const first = Math.floor((SLOTS * index) / 3);
      const last = Math.floor((SLOTS * (index + 1)) / 3) - 1;
      if (index < 3) await server.ask((redis) => redis.call('CLUSTER', 'ADDSLOTSRANGE', first, last));
      // Otherwise all would have the same epoch, and would settle that first.
      await server.ask((redis) => redis.call('CLUSTER', 'SET-CONFIG-EPOCH', index + 1));
      if (index > 0)
        await server.ask((redis) => redis.call('CLUSTER', 'MEET', '127.0.0.1', ports[0] ?? 0, ports[1] ?? 0));
    }
    const facts = (server: RedisServer): Promise<string> =>
      server.ask((redis) => redis.call('CLUSTER', 'INFO') as Promise<string>);
    const agreed = async (server: RedisServer): Promise<boolean> => {
      const info = await facts(server);
      return info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${servers.length}`);
    };
    for (const server of servers) await until(() => agreed(server), 'the Cluster is whole');
    for (const [index, replica] of servers.slice(3).entries()) {
      const id = await primaries[index]?.ask((redis) => redis.call('CLUSTER', 'MYID') as Promise<string>);
      await replica.ask((redis) => redis.call('CLUSTER', 'REPLICATE', id ?? ''));
    }
    for (const replica of servers.slice(3)) await until(() => inStep(replica), 'a replica has everything');
    for (const primary of primaries) await until(() => agreed(primary), 'the Cluster is whole');
  }
}

/** A primary, a replica and three Sentinels, two of which have to agree. */
export class RedisSentinels extends Group {
  static readonly primaryName = 'main';
  readonly #sentinels: readonly RedisServer[];

  private constructor(directory: string, data: readonly RedisServer[], sentinels: readonly RedisServer[]) {
    super(directory, [...data, ...sentinels]);
    this.#sentinels = sentinels;
  }

  get url(): string {
    const hosts = this.#sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',');
    return `redis+sentinel://${hosts}/${RedisSentinels.primaryName}`;
  }

  static async start(): Promise<RedisSentinels> {
    const directory = await mkdtemp(join(tmpdir(), 'offshoot-sentinel-'));
    const ports = await freePorts(5);
    const [primaryPort = 0, replicaPort = 0] = ports;
    for (const port of ports) await mkdir(join(directory, String(port)));
    const ownDirectory = (port: number): string => join(directory, String(port));
    const primary = new RedisServer(primaryPort, serverArguments(primaryPort, ownDirectory(primaryPort)));
    const replica = new RedisServer(
      replicaPort,
      serverArguments(
        replicaPort,
        ownDirectory(replicaPort),
        '--replicaof',
        '127.0.0.1',
        String(primaryPort),
      ),
    );
    const sentinels = await Promise.all(
      ports.slice(2).map(async (port) => {
        const file = join(ownDirectory(port), 'sentinel.conf');
        const name = RedisSentinels.primaryName;
        const lines = [
          `port ${port}`,
          'bind 127.0.0.1',
          `dir ${ownDirectory(port)}`,
          `sentinel monitor ${name} 127.0.0.1 ${primaryPort} 2`,
          `sentinel down-after-milliseconds ${name} ${1_000 * SLOWNESS}`,
          `sentinel failover-timeout ${name} ${5_000 * SLOWNESS}`,
        ];
        await writeFile(file, `${lines.join('\n')}\n`);
        return new RedisServer(port, [file, '--sentinel']);
      }),
    );
    const group = new RedisSentinels(directory, [primary, replica], sentinels);
    try {
      for (const server of group.servers) await server.start();
      await until(() => inStep(replica), 'the replica has everything');
      for (const sentinel of sentinels) {
        await until(async () => {
          const name = RedisSentinels.primaryName;
          const answer = await sentinel.ask((redis) => redis.call('SENTINEL', 'CKQUORUM', name));
          const replicas = await sentinel.ask((redis) => redis.call('SENTINEL', 'REPLICAS', name));
          return String(answer).includes('3 usable Sentinels') && (replicas as unknown[]).length === 1;
        }, 'the Sentinels know of each other');
      }
      return group;
    } catch (error) {
      await group.stop();
      throw error;
    }
  }

  /** The port of the server that most Sentinels take for the primary. */
  async primary(): Promise<RedisServer> {
    for (const sentinel of this.#sentinels) {
      const [, port] = (await sentinel.ask((redis) =>
        redis.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', RedisSentinels.primaryName),
      )) as [string, string];
      const found = this.servers.find((server) => server.port === Number(port));
      if (found) return found;
    }
    throw new Error('no Sentinel knows the primary');
  }
}

/** Is this replica connected to its primary, and done with the first copy? */
async function inStep(replica: RedisServer): Promise<boolean> {
  const info = await replica.ask((redis) => redis.info('replication'));
  return info.includes('role:slave') && info.includes('master_link_status:up');
}
