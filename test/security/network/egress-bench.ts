/**
 * Functions with a network, in a world of the test's own: hosts with every kind of address, and a function that tries
 * to reach them.
 */
import { afterAll, beforeAll } from 'vitest';
import { VersionSettings } from '#contract/functions/settings.ts';
import type { DeniedEgress } from '#contract/functions/network.ts';
import { Networks } from '../../../worker/network/networks.ts';
import { type BenchSandbox, SandboxBench } from '../../support/sandbox/sandbox-bench.ts';
import { World } from '../../support/network/world.ts';

export const PORT = 8080;
export const OTHER_PORT = 8081;
/** A server on this port keeps its connections open. */
export const HOLDING_PORT = 8082;
export const PUBLIC = '203.0.113.5';
export const PUBLIC_DECOY = '203.0.113.6';
export const PRIVATE = '10.1.2.3';
export const PRIVATE_DECOY = '10.1.3.3';
export const METADATA = '169.254.169.254';
export const HOSTS = [
  PUBLIC,
  PUBLIC_DECOY,
  PRIVATE,
  PRIVATE_DECOY,
  METADATA,
  '192.168.7.7',
  '172.16.0.9',
  '100.64.0.9',
  '127.0.0.1',
];
/** slirp4netns's own address, behind which its default would be the loopback of the host. */
export const UPLINK_GATEWAY = '198.19.254.2';

const PROBE = `
import { connect } from 'node:net';
import { createSocket } from 'node:dgram';
import { lookup, resolve4, Resolver } from 'node:dns/promises';
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
const tcp = (host, port) => new Promise((resolve) => {
  let text = '';
  const socket = connect({ host, port, timeout: 3000 });
  socket.on('data', (bytes) => { text += bytes; });
  socket.on('end', () => resolve(text || 'closed'));
  socket.on('timeout', () => { socket.destroy(); resolve('timeout'); });
  socket.on('error', (error) => resolve(error.code));
});
const udp = (host, port) => new Promise((resolve) => {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  const end = (text) => { clearTimeout(clock); socket.close(); resolve(text); };
  const clock = setTimeout(() => end('nothing'), 700);
  socket.on('message', (bytes) => end(String(bytes)));
  socket.on('error', (error) => end(error.code));
  socket.connect(port, host, () => socket.send('hello', () => undefined));
});
const attempt = async (work) => { try { return await work(); } catch (error) { return error.code ?? String(error); } };
export default { async fetch(request) {
  const { pathname, searchParams } = new URL(request.url);
  const host = searchParams.get('host'); const port = Number(searchParams.get('port'));
  const answer = {
    '/tcp': () => tcp(host, port),
    '/udp': () => udp(host, port),
    '/default': () => resolve4(host),
    '/lookup': () => lookup(host, { family: 4 }).then(({ address }) => address),
    '/resolve': () => new Resolver().resolve(host, searchParams.get('type')),
    '/elsewhere': () => { const other = new Resolver({ timeout: 500, tries: 1 }); other.setServers([searchParams.get('server')]); return other.resolve4(host); },
    '/own': () => ({ resolv: readFileSync('/etc/resolv.conf', 'utf8'), routes: readFileSync('/proc/self/net/route', 'utf8'), v6: readFileSync('/proc/self/net/if_inet6', 'utf8') }),
    '/interfaces': () => networkInterfaces(),
    '/flood': async () => {
      const other = new Resolver({ timeout: 500, tries: 1 });
      const results = await Promise.allSettled(Array.from({ length: 400 }, (_, index) => other.resolve4('n' + index + '.' + host)));
      return 'answered ' + results.filter(({ status }) => status === 'fulfilled').length;
    },
    '/hold': async () => {
      const sockets = [];
      const results = await Promise.all(Array.from({ length: Number(searchParams.get('count')) }, () => new Promise((resolve) => {
        const socket = connect({ host, port, timeout: 5000 });
        sockets.push(socket);
        socket.on('data', () => resolve('held'));
        socket.on('timeout', () => resolve('timeout'));
        socket.on('error', (error) => resolve(error.code));
      })));
      for (const socket of sockets) socket.destroy();
      return Object.fromEntries(Object.entries(Object.groupBy(results, (result) => result)).map(([result, all]) => [result, all.length]));
    },
    '/scan': async () => {
      const results = await Promise.all(Array.from({ length: 300 }, (_, index) => tcp(host, 1000 + index)));
      return Object.fromEntries(Object.entries(Object.groupBy(results, (result) => result)).map(([result, all]) => [result, all.length]));
    },
    '/listen': async () => {
      const { createServer } = await import('node:net');
      await new Promise((resolve) => createServer((socket) => socket.end('inside')).listen(port, '0.0.0.0', resolve));
      const other = createSocket('udp4'); other.connect(53, '198.19.255.53');
      await new Promise((resolve) => other.on('connect', resolve));
      const { address } = other.address(); other.close();
      return { address, text: await tcp(address, port) };
    },
  }[pathname];
  return Response.json(await attempt(answer));
} };`;

export class EgressBench {
  readonly bench: SandboxBench;
  readonly world: World;
  readonly networks: Networks;
  /** Name of the code of the function that tries. */
  readonly code: string;
  /** Ended with the bench. */
  readonly started: BenchSandbox[] = [];

  private constructor(bench: SandboxBench, world: World, code: string) {
    this.bench = bench;
    this.world = world;
    this.code = code;
    this.networks = this.open({ ready: 2 });
  }

  static async start(): Promise<EgressBench> {
    const bench = await SandboxBench.open();
    const world = await World.open(bench.zygote.pid ?? 0, HOSTS, [PORT, OTHER_PORT, HOLDING_PORT]);
    return new EgressBench(bench, world, await bench.addCode(PROBE));
  }

  /** Networks whose outside is the test's world. */
  open(options: ConstructorParameters<typeof Networks>[0]): Networks {
    const { owner, network: hostNetwork, nameServer } = this.world;
    return new Networks({ owner, hostNetwork, servers: [nameServer], ...options });
  }

  readonly start = async (egress: string[], from: Networks = this.networks): Promise<BenchSandbox> => {
    const settings = VersionSettings.parse({ network: { egress } });
    const version = { key: `test/${egress.join()}@1`, namespace: 'test', settings };
    const network = await from.assign(this.bench.zygote, version);
    const sandbox = await this.bench.start(this.code, false, { network });
    this.started.push(sandbox);
    return sandbox;
  };

  async stop(): Promise<void> {
    await Promise.all(this.started.map((sandbox) => sandbox.end()));
    await this.networks.stop();
    await this.world.close();
    await this.bench.close();
  }
}

/** Opens a bench before the tests of a `describe`, and stops it after them. `use` gets the bench. */
export function egressForTests(use: (bench: EgressBench) => void): void {
  let bench: EgressBench | undefined;
  beforeAll(async () => {
    bench = await EgressBench.start();
    use(bench);
  });
  afterAll(() => bench?.stop());
}

export async function ask<T = string>(sandbox: BenchSandbox, path: string): Promise<T> {
  return JSON.parse((await sandbox.call(path)).text) as T;
}

export function tcp(sandbox: BenchSandbox, host: string, port = PORT): Promise<string> {
  return ask(sandbox, `/tcp?host=${host}&port=${port}`);
}

export function udp(sandbox: BenchSandbox, host: string, port = PORT): Promise<string> {
  return ask(sandbox, `/udp?host=${host}&port=${port}`);
}

export async function denied(sandbox: BenchSandbox): Promise<DeniedEgress[]> {
  return (await sandbox.sandbox.network?.denied()) ?? [];
}
