/** What a function reaches over the network, and what not, in a world of the test's own. */
import { closeSync, openSync, readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Manifest } from '#contract/manifest.ts';
import { RESOLVER_ADDRESS, type DeniedEgress } from '#contract/network.ts';
import type { Counts, Inspection } from '../../worker/network/egress.ts';
import { MAX_CONNECTIONS } from '../../worker/network/ruleset.ts';
import { Networks } from '../../worker/network/networks.ts';
import { type BenchSandbox, SandboxBench } from '../support/sandbox-bench.ts';
import { World } from '../support/world.ts';

const PORT = 8080;
const OTHER_PORT = 8081;
/** Whoever is connected to stays so. */
const HOLDING_PORT = 8082;
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

describe('network egress', () => {
  let bench: SandboxBench;
  let world: World;
  let networks: Networks;
  let code: string;
  const started: BenchSandbox[] = [];

  const start = async (egress: string[], from: Networks = networks): Promise<BenchSandbox> => {
    const manifest = Manifest.parse({ name: 'test', network: { egress } });
    const version = { key: `test/${egress.join()}@1`, namespace: 'test', manifest };
    const network = await from.assign(bench.zygote, version);
    const sandbox = await bench.start(code, false, { network });
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
    world = await World.open(bench.zygote.pid ?? 0, HOSTS, [PORT, OTHER_PORT, HOLDING_PORT]);
    networks = new Networks({
      ready: 2,
      owner: world.owner,
      hostNetwork: world.network,
      servers: [world.nameServer],
    });
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
    expect(await tcp(sandbox, PUBLIC, OTHER_PORT)).toBe('ECONNREFUSED');
    expect(await tcp(sandbox, PUBLIC_DECOY)).toBe('ECONNREFUSED');
  });

  test('N2 without rules there is no way out at all, while others have one', async () => {
    const sandbox = await start([]);
    expect(sandbox.sandbox.network).toBeUndefined();
    for (const host of HOSTS.filter((address) => address !== '127.0.0.1'))
      expect(await tcp(sandbox, host), host).toBe('ENETUNREACH');
    expect(await ask(sandbox, '/lookup?host=example.com')).toMatch(/ENOTFOUND|EAI_AGAIN/);
  });

  test('N3 a range and a range of ports are reached to their ends', async () => {
    const sandbox = await start([`10.1.2.0/30:${PORT - 10}-${PORT}`]);
    expect(await tcp(sandbox, PRIVATE)).toBe(`tcp ${PRIVATE}`);
    expect(await tcp(sandbox, PRIVATE, PORT + 1)).toBe('ECONNREFUSED');
    expect(await tcp(sandbox, '10.1.2.4')).toBe('ECONNREFUSED');
    expect(await tcp(sandbox, PRIVATE_DECOY)).toBe('ECONNREFUSED');
  });

  test('N4 a name that a rule allows resolves and is reached; another is not even asked for outside', async () => {
    world.names.set('allowed.example', [[PUBLIC]]);
    world.names.set('other.example', [[PUBLIC]]);
    const sandbox = await start([`allowed.example:${PORT}`]);
    expect(await tcp(sandbox, 'allowed.example')).toBe(`tcp ${PUBLIC}`);
    expect(await tcp(sandbox, 'allowed.example', OTHER_PORT)).toBe('ECONNREFUSED');
    expect(await ask(sandbox, '/default?host=allowed.example')).toEqual([PUBLIC]);
    expect(await tcp(sandbox, 'other.example')).toBe('ENOTFOUND');
    expect(await tcp(sandbox, 'sub.allowed.example')).toBe('ENOTFOUND');
    expect(world.asked).toContain('allowed.example');
    expect(world.asked).not.toContain('other.example');
    expect(world.asked).not.toContain('sub.allowed.example');
  });

  test('N5 a star stands for the names below a domain, and for nothing that only looks like it', async () => {
    for (const name of [
      'a.wild.example',
      'a.b.wild.example',
      'wild.example',
      'notwild.example',
      'wild.example.evil.test',
    ])
      world.names.set(name, [[PUBLIC]]);
    const sandbox = await start([`*.wild.example:${PORT}`]);
    expect(await tcp(sandbox, 'A.wild.Example')).toBe(`tcp ${PUBLIC}`);
    expect(await tcp(sandbox, 'a.b.wild.example')).toBe(`tcp ${PUBLIC}`);
    for (const name of ['wild.example', 'notwild.example', 'wild.example.evil.test'])
      expect(await tcp(sandbox, name), name).toBe('ENOTFOUND');
  });

  test('N6 an address literal is refused until an allowed name has resolved to it', async () => {
    world.names.set('literal.example', [[PUBLIC]]);
    const sandbox = await start([`literal.example:${PORT}`]);
    const asNumber = String(Number.parseInt('cb007105', 16));
    for (const host of [PUBLIC, asNumber, '0xcb.0x00.0x71.0x05', `::ffff:${PUBLIC}`])
      expect(await tcp(sandbox, host), host).not.toBe(`tcp ${PUBLIC}`);
    expect(await tcp(sandbox, 'literal.example')).toBe(`tcp ${PUBLIC}`);
    expect(await tcp(sandbox, PUBLIC)).toBe(`tcp ${PUBLIC}`);
    expect(await tcp(sandbox, PUBLIC_DECOY)).toBe('ECONNREFUSED');
  });

  test.each([PRIVATE, METADATA, '192.168.7.7', '172.16.0.9', '100.64.0.9', '127.0.0.1', UPLINK_GATEWAY])(
    'N7 an allowed name that resolves to %s leads nowhere',
    async (address) => {
      const name = `to-${address.replaceAll('.', '-')}.inside.example`;
      world.names.set(name, [[address]]);
      const sandbox = await start(['*.inside.example:1-65535']);
      expect(await ask(sandbox, `/resolve?type=A&host=${name}`)).toBe('ENODATA');
      expect(await tcp(sandbox, name)).toBe('ENOTFOUND');
      expect(await tcp(sandbox, address)).not.toBe(`tcp ${address}`);
      expect((await denied(sandbox)).map(({ to }) => to)).toContain(`dns ${name} -> ${address}`);
    },
  );

  test('N8 a name that changes to a private address after it was allowed stays with what was allowed', async () => {
    world.names.set('rebind.example', [[PUBLIC], [PRIVATE, METADATA, PUBLIC], [METADATA]]);
    const sandbox = await start([`rebind.example:${PORT}`]);
    expect(await tcp(sandbox, 'rebind.example')).toBe(`tcp ${PUBLIC}`);
    expect(await ask(sandbox, '/resolve?type=A&host=rebind.example')).toEqual([PUBLIC]);
    expect(await tcp(sandbox, 'rebind.example')).toBe('ENOTFOUND');
    for (const address of [PRIVATE, METADATA]) expect(await tcp(sandbox, address)).toBe('ECONNREFUSED');
  });

  test('N9 a private address that is named is reached, also by an allowed name', async () => {
    world.names.set('db.example', [[PRIVATE]]);
    const sandbox = await start([`${PRIVATE}:${PORT}`, `db.example:${PORT}`]);
    expect(await tcp(sandbox, 'db.example')).toBe(`tcp ${PRIVATE}`);
    expect(await tcp(sandbox, PRIVATE_DECOY)).toBe('ECONNREFUSED');
  });

  test('N10 a rule for all addresses means the public ones only', async () => {
    const sandbox = await start(['0.0.0.0/0:1-65535']);
    expect(await tcp(sandbox, PUBLIC)).toBe(`tcp ${PUBLIC}`);
    expect(await tcp(sandbox, PUBLIC_DECOY)).toBe(`tcp ${PUBLIC_DECOY}`);
    const own = Object.values(networkInterfaces())
      .flat()
      .filter((entry) => entry?.family === 'IPv4' && !entry.internal)
      .map((entry) => entry?.address ?? '');
    for (const host of [PRIVATE, METADATA, '192.168.7.7', '172.16.0.9', '100.64.0.9', ...own])
      expect(await tcp(sandbox, host), host).toBe('ECONNREFUSED');
  });

  test('N11 the loopback of the host is not reached by any address', async () => {
    const sandbox = await start(['0.0.0.0/0:1-65535']);
    // Its own loopback, on which nobody listens.
    for (const host of ['127.0.0.1', '127.1.2.3', '0.0.0.0', 'localhost'])
      expect(await tcp(sandbox, host), host).toBe('ECONNREFUSED');
    for (const host of [UPLINK_GATEWAY, '198.19.254.3', '198.19.254.100', RESOLVER_ADDRESS])
      expect(await tcp(sandbox, host), host).toBe('ECONNREFUSED');
  });

  test('N12 UDP is refused even where TCP is allowed, and so is every name server but the own', async () => {
    world.names.set('allowed.example', [[PUBLIC]]);
    const sandbox = await start(['0.0.0.0/0:1-65535', `allowed.example:${PORT}`]);
    expect(await udp(sandbox, PUBLIC)).toMatch(/nothing|EHOSTUNREACH/);
    expect(await ask(sandbox, `/elsewhere?server=${PUBLIC}:53&host=allowed.example`)).not.toEqual([PUBLIC]);
    expect(await ask(sandbox, `/elsewhere?server=${UPLINK_GATEWAY}:53&host=allowed.example`)).not.toEqual([
      PUBLIC,
    ]);
    expect(await ask(sandbox, '/resolve?type=A&host=allowed.example')).toEqual([PUBLIC]);
    expect((await denied(sandbox)).map(({ to }) => to)).toContain(`udp ${PUBLIC}:${PORT}`);
  });

  test('N13 there is no IPv6: no address, no answer, no way', async () => {
    world.names.set('allowed.example', [[PUBLIC]]);
    const sandbox = await start([`allowed.example:${PORT}`]);
    const { v6 } = await ask<{ v6: string }>(sandbox, '/own');
    // Only its own ::1.
    expect(
      v6
        .trim()
        .split('\n')
        .every((line) => line.endsWith('lo')),
    ).toBe(true);
    expect(await ask(sandbox, '/resolve?type=AAAA&host=allowed.example')).toBe('ENODATA');
    for (const host of ['2001:db8::1', 'fd00::1', 'fe80::1'])
      expect(await tcp(sandbox, host), host).toMatch(/ENETUNREACH|EADDRNOTAVAIL|EINVAL|EHOSTUNREACH/);
    // An IPv4 address in the clothes of an IPv6 one.
    expect(await tcp(sandbox, '::ffff:10.1.2.3')).toBe('ECONNREFUSED');
  });

  test('N14 two sandboxes never reach each other, whatever their rules', async () => {
    const [one, other] = await Promise.all([start(['0.0.0.0/0:1-65535']), start(['0.0.0.0/0:1-65535'])]);
    const { address, text } = await ask<{ address: string; text: string }>(one, '/listen?port=8080');
    // It does listen, and on the address that the other tries.
    expect(text).toBe('inside');
    const first = Number(address.split('.')[3]);
    const around = [first - 2, first - 1, first, first + 1, first + 2].filter(
      (part) => part >= 0 && part < 256,
    );
    for (const part of around) {
      const host = [...address.split('.').slice(0, 3), part].join('.');
      expect(await tcp(other, host), host).not.toBe('inside');
      expect(await udp(other, host), host).toMatch(/nothing|EHOSTUNREACH|ECONNREFUSED/);
    }
    expect(await tcp(other, address)).toBe('ECONNREFUSED');
  });

  test('N15 what was refused is told once, with how often, and of the sandbox that tried it', async () => {
    const [one, other] = await Promise.all([start([`${PUBLIC}:${PORT}`]), start([`${PUBLIC}:${PORT}`])]);
    expect(await denied(one)).toEqual([]);
    await tcp(one, PRIVATE, 25);
    await tcp(one, PRIVATE, 25);
    await tcp(one, METADATA);
    await tcp(one, 'secret.evil.test');
    const told = await denied(one);
    expect(told.find(({ to }) => to === `tcp ${PRIVATE}:25`)?.count).toBe(2);
    expect(told.find(({ to }) => to === `tcp ${METADATA}:${PORT}`)?.count).toBe(1);
    expect(told.some(({ to }) => to === 'dns secret.evil.test')).toBe(true);
    expect(await denied(one)).toEqual([]);
    await tcp(one, PRIVATE, 25);
    expect(await denied(one)).toEqual([{ to: `tcp ${PRIVATE}:25`, count: 1 }]);
    expect(await denied(other)).toEqual([]);
  });

  test('N16 a function sees one interface, its resolver, and cannot list more through netlink', async () => {
    const sandbox = await start([`${PUBLIC}:${PORT}`]);
    const { resolv, routes } = await ask<{ resolv: string; routes: string }>(sandbox, '/own');
    expect(resolv).toContain(`nameserver ${RESOLVER_ADDRESS}\n`);
    expect(
      routes
        .trim()
        .split('\n')
        .slice(1)
        .every((line) => line.startsWith('eth0')),
    ).toBe(true);
    // AF_NETLINK is refused by the system call filter; the runtime names what is there in any case.
    expect(Object.keys(await ask<object>(sandbox, '/interfaces'))).toEqual(['lo']);
  });

  test('N17 sandboxes one after another leave no rule, no pair and no descriptor behind', async () => {
    const network = await networks.inspect(bench.zygote);
    world.names.set('leaves.example', [[PUBLIC_DECOY]]);
    const before = await settled(network);
    for (let round = 0; round < 5; round++) {
      // Another function each time, whose rules go with it.
      const sandbox = await start([`${PUBLIC}:${PORT}`, `leaves.example:${1000 + round}`]);
      expect(await tcp(sandbox, PUBLIC)).toBe(`tcp ${PUBLIC}`);
      expect(await tcp(sandbox, 'leaves.example')).toBe('ECONNREFUSED');
      await sandbox.end();
      started.splice(started.indexOf(sandbox), 1);
    }
    expect(await settled(network)).toEqual(before);
  });

  test('N19 when slirp4netns dies, another one takes its place under the same rules', async () => {
    const sandbox = await start([`${PUBLIC}:${PORT}`]);
    expect(await tcp(sandbox, PUBLIC)).toBe(`tcp ${PUBLIC}`);
    const network = await networks.inspect(bench.zygote);
    const died = network.uplinkPid ?? 0;
    process.kill(died, 'SIGKILL');
    let answer = '';
    for (const end = Date.now() + 10_000; answer !== `tcp ${PUBLIC}` && Date.now() < end; await sleep(100))
      answer = await tcp(sandbox, PUBLIC);
    expect(answer).toBe(`tcp ${PUBLIC}`);
    expect(network.uplinkPid).not.toBe(died);
    expect(await tcp(sandbox, PRIVATE)).toBe('ECONNREFUSED');
  });

  test('N28 what reads tenants’ packets outside is nobody: no capability, no id of ours, a filter', async () => {
    const pid = (await networks.inspect(bench.zygote)).uplinkPid ?? 0;
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const field = (name: string): string => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1] ?? '';
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapAmb']) expect(field(set), set).toMatch(/^0+(400)?$/);
    for (const id of field('Uid').split('\t')) expect(Number(id)).toBeGreaterThan(process.getuid?.() ?? 0);
    expect(field('Seccomp')).toBe('2');
  });

  test('N24 pairs are prepared ahead, and a prepared sandbox joins one as a cold one does', async () => {
    const network = await networks.inspect(bench.zygote);
    await settled(network);
    const manifest = Manifest.parse({ name: 'test', network: { egress: [`${PUBLIC}:${PORT}`] } });
    const { ready: before } = await network.counts();
    const assigned = await networks.assign(bench.zygote, {
      key: 'test/prepared@1',
      namespace: 'test',
      manifest,
    });
    expect(before).toBe(2);
    const sandbox = await bench.start(code, true, { network: assigned });
    started.push(sandbox);
    expect(await tcp(sandbox, PUBLIC)).toBe(`tcp ${PUBLIC}`);
    expect(await tcp(sandbox, PRIVATE)).toBe('ECONNREFUSED');
    expect((await settled(network)).ready).toBe(2);
  });

  test('N25 whoever tries very many destinations is refused them all, and fills nothing', async () => {
    const sandbox = await start([`${PUBLIC}:${PORT}`]);
    expect(await ask(sandbox, `/scan?host=${PRIVATE}`)).toEqual({ ECONNREFUSED: 300 });
    expect((await denied(sandbox)).length).toBe(64);
    await tcp(sandbox, METADATA, 80);
    expect(await denied(sandbox)).toEqual([{ to: `tcp ${METADATA}:80`, count: 1 }]);
  });

  test('N27 what the operator forbids is reached by no rule and by no name', async () => {
    world.names.set('forbidden.example', [[PRIVATE_DECOY]]);
    world.names.set('public-forbidden.example', [[PUBLIC_DECOY]]);
    const guarded = new Networks({
      ready: 1,
      owner: world.owner,
      hostNetwork: world.network,
      servers: [world.nameServer],
      never: ['10.1.3.0/24', `${PUBLIC_DECOY}/32`],
    });
    try {
      await expect(start([`${PUBLIC}:${PORT}`, `${PRIVATE_DECOY}:${PORT}`], guarded)).rejects.toThrow(
        /network\.egress\.1: .*10\.1\.3\.0\/24.* forbids/,
      );
      const sandbox = await start(
        [
          `10.1.0.0/16:${PORT}`,
          '0.0.0.0/0:1-65535',
          '*.example.com:443',
          `forbidden.example:${PORT}`,
          `public-forbidden.example:${PORT}`,
        ],
        guarded,
      );
      expect(await tcp(sandbox, PRIVATE)).toBe(`tcp ${PRIVATE}`);
      expect(await tcp(sandbox, PRIVATE_DECOY)).toBe('ECONNREFUSED');
      expect(await tcp(sandbox, PUBLIC_DECOY)).toBe('ECONNREFUSED');
      for (const name of ['forbidden.example', 'public-forbidden.example'])
        expect(await tcp(sandbox, name), name).toBe('ENOTFOUND');
      expect(await tcp(sandbox, PUBLIC)).toBe(`tcp ${PUBLIC}`);
    } finally {
      await guarded.stop();
    }
  });

  test('N29 a sandbox that floods the resolver keeps no other from its names', async () => {
    for (let index = 0; index < 400; index++)
      world.names.set(`n${index}.flood.example`, [[`203.0.113.${index % 250}`]]);
    world.names.set('quiet.example', [[PUBLIC]]);
    const flooding = await start([`*.flood.example:${PORT}`]);
    const quiet = await start([`quiet.example:${PORT}`]);
    const flood = ask(flooding, '/flood?host=flood.example');
    const askedAt = performance.now();
    expect(await tcp(quiet, 'quiet.example')).toBe(`tcp ${PUBLIC}`);
    // Far below the time after which a question is asked again.
    expect(performance.now() - askedAt).toBeLessThan(4_000);
    expect(await flood).toMatch(/^answered \d+$/);
    expect(await tcp(flooding, PRIVATE)).toBe('ECONNREFUSED');
  });

  test('N30 a sandbox holds a bounded number of connections, and has room again when it has let them go', async () => {
    const sandbox = await start([`${PUBLIC}:${HOLDING_PORT}`]);
    const path = `/hold?host=${PUBLIC}&port=${HOLDING_PORT}&count=`;
    const results = await ask<Record<string, number>>(sandbox, `${path}${MAX_CONNECTIONS + 50}`);
    expect(results).toEqual({ held: MAX_CONNECTIONS, ECONNREFUSED: 50 });
    await expect.poll(() => ask(sandbox, `${path}20`), { timeout: 10_000 }).toEqual({ held: 20 });
    // Not at the cost of others.
    const other = await start([`${PUBLIC}:${PORT}`]);
    expect(await tcp(other, PUBLIC)).toBe(`tcp ${PUBLIC}`);
  });

  test('N31 socket buffers are as small with egress as without', async () => {
    const manifest = Manifest.parse({ name: 'test', network: { egress: [`${PUBLIC}:${PORT}`] } });
    const version = { key: 'test/buffers@1', namespace: 'test', manifest };
    const network = (await networks.assign(bench.zygote, version)) ?? expect.fail();
    const namespace = openSync(`/proc/self/fd/${network.namespace}`, 'r');
    try {
      const buffers = (): Promise<string> =>
        world.owner.run(['sysctl', '-n', 'net.ipv4.tcp_rmem'], { network: namespace });
      const usual = await buffers();
      started.push(await bench.start(code, false, { network }));
      expect(await buffers()).not.toBe(usual);
      expect((await buffers()).trim().split(/\s+/)).toEqual(['4096', '8192', '2097152']);
    } finally {
      closeSync(namespace);
    }
  });

  test('N32 more sandboxes at once than pairs are ready: each gets its own, with the rules of its own function', async () => {
    const both = [PUBLIC, PUBLIC_DECOY];
    const wanted = Array.from({ length: 12 }, (_, index) => both[index % 2] ?? PUBLIC);
    const sandboxes = await Promise.all(wanted.map((address) => start([`${address}:${PORT}`])));
    await Promise.all(
      sandboxes.map(async (sandbox, index) => {
        for (const address of both)
          expect(await tcp(sandbox, address)).toBe(
            address === wanted[index] ? `tcp ${address}` : 'ECONNREFUSED',
          );
      }),
    );
    const ends = await Promise.all(sandboxes.map((sandbox) => ask<{ routes: string }>(sandbox, '/own')));
    expect(new Set(ends.map(({ routes }) => routes)).size).toBe(12);
  });

  test('N18 control: with the firewall off, what the tests above call refused is reached', async () => {
    const open = new Networks({
      ready: 1,
      owner: world.owner,
      hostNetwork: world.network,
      servers: [world.nameServer],
      withoutFirewall: true,
    });
    try {
      const [one, other] = await Promise.all([
        start([`${PUBLIC}:${PORT}`], open),
        start([`${PUBLIC}:${PORT}`], open),
      ]);
      for (const host of [PUBLIC_DECOY, PRIVATE, METADATA, '192.168.7.7', '172.16.0.9', '100.64.0.9'])
        expect(await tcp(one, host), host).toBe(`tcp ${host}`);
      expect(await udp(one, PUBLIC)).toBe(`udp ${PUBLIC}`);
      const { address } = await ask<{ address: string }>(one, '/listen?port=8080');
      expect(await tcp(other, address)).toBe('inside');
      // A second layer that does not depend on the first: slirp4netns is told not to lead to the host's loopback.
      expect(await tcp(one, UPLINK_GATEWAY)).not.toBe('tcp 127.0.0.1');
    } finally {
      await open.stop();
    }
  });
});

/** Counts what a launcher's egress consists of, once the spare pairs are complete and ended sandboxes are tidied away. */
async function settled(network: Inspection): Promise<Counts> {
  let counts = await network.counts();
  for (let last = ''; last !== JSON.stringify(counts); counts = await network.counts()) {
    last = JSON.stringify(counts);
    await sleep(300);
  }
  return counts;
}
