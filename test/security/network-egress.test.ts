/** What a function reaches over the network, and what not, in a world of the test's own. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Manifest } from '#contract/manifest.ts';
import type { DeniedEgress } from '#contract/network.ts';
import { Networks } from '../../worker/network/networks.ts';
import { type BenchSandbox, SandboxBench } from '../support/sandbox-bench.ts';
import { World } from '../support/world.ts';

const PORT = 8080;
const OTHER_PORT = 8081;
const PUBLIC = '203.0.113.5';
const PUBLIC_DECOY = '203.0.113.6';
const PRIVATE = '10.1.2.3';
const PRIVATE_DECOY = '10.1.3.3';
const METADATA = '169.254.169.254';
const HOSTS = [
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
const UPLINK_GATEWAY = '198.19.254.2';

const PROBE = `
import { connect } from 'node:net';
import { createSocket } from 'node:dgram';
import { lookup, Resolver } from 'node:dns/promises';
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
    '/lookup': () => lookup(host, { family: 4 }).then(({ address }) => address),
    '/resolve': () => new Resolver().resolve(host, searchParams.get('type')),
    '/elsewhere': () => { const other = new Resolver({ timeout: 500, tries: 1 }); other.setServers([searchParams.get('server')]); return other.resolve4(host); },
    '/own': () => ({ resolv: readFileSync('/etc/resolv.conf', 'utf8'), routes: readFileSync('/proc/self/net/route', 'utf8'), v6: readFileSync('/proc/self/net/if_inet6', 'utf8') }),
    '/interfaces': () => networkInterfaces(),
  }[pathname];
  return Response.json(await attempt(answer));
} };`;

describe('network egress', () => {
  let bench: SandboxBench;
  let world: World;
  let networks: Networks;
  let code: string;
  const started: BenchSandbox[] = [];

  const start = async (egress: string[], from: Networks = networks): Promise<BenchSandbox> => {
    const manifest = Manifest.parse({ name: 'test', network: { egress } });
    const network = await from.assign(bench.zygote, { key: `test/${egress.join()}@1`, manifest });
    const sandbox = await bench.start(code, false, network);
    started.push(sandbox);
    return sandbox;
  };
  const ask = async <T = string>(sandbox: BenchSandbox, path: string): Promise<T> =>
    JSON.parse((await sandbox.call(path)).text) as T;
  const tcp = (sandbox: BenchSandbox, host: string, port = PORT): Promise<string> =>
    ask(sandbox, `/tcp?host=${host}&port=${port}`);
  const udp = (sandbox: BenchSandbox, host: string, port = PORT): Promise<string> =>
    ask(sandbox, `/udp?host=${host}&port=${port}`);
  const denied = async (sandbox: BenchSandbox): Promise<DeniedEgress[]> =>
    (await sandbox.sandbox.network?.denied()) ?? [];

  beforeAll(async () => {
    bench = await SandboxBench.open();
    world = await World.open(bench.zygote.pid ?? 0, HOSTS, PORT);
    networks = new Networks({ ready: 2, hostNetwork: world.network, servers: [world.nameServer] });
    code = await bench.addCode(PROBE);
  });
  afterAll(async () => {
    await Promise.all(started.map((sandbox) => sandbox.end()));
    await networks.stop();
    await world.close();
    await bench.close();
  });

  test('N1 an address and port that a rule names are reached, and nothing beside them', async () => {
    const sandbox = await start([`${PUBLIC}:${PORT}`]);
    expect(await tcp(sandbox, PUBLIC)).toBe(`tcp ${PUBLIC}`);
    expect(await tcp(sandbox, PUBLIC, OTHER_PORT)).toBe('EHOSTUNREACH');
    expect(await tcp(sandbox, PUBLIC_DECOY)).toBe('EHOSTUNREACH');
  });
});
