/** A function without a network reaches nothing outside of its sandbox, and learns so at once. */
import { execFile } from 'node:child_process';
import { createSocket, type Socket as Datagrams } from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createConnection, createServer, type AddressInfo, type Server } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Platform } from '../../support/platform/platform.ts';
import { deployAttack, nativeProgram } from './platform.ts';

interface Probe {
  readonly kind: string;
  readonly address: string;
  readonly port?: number;
}

interface Answer {
  readonly address: string;
  readonly error: string;
  readonly ms: number;
}

/** EINVAL: a link-local address that names no link. */
const REFUSALS =
  /^(EINVAL|ENETUNREACH|ECONNREFUSED|ENOENT|EAFNOSUPPORT|EACCES|EPERM|EAI_AGAIN|ENOTFOUND|EADDRNOTAVAIL|EHOSTUNREACH)$/;
const FAST_MS = 100;

let platform: Platform;
let directory = '';
let program = '';
let server: Server;
let pathServer: Server;
let abstractServer: Server;
let datagrams: Datagrams;
/** Connections and datagrams that came in from anywhere. */
let arrived = 0;
const abstractName = `offshoot-canary-${process.pid}`;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'offshoot-network-'));
  program = join(directory, 'abuse');
  await writeFile(program, await nativeProgram(), { mode: 0o755 });
  const count = (): void => {
    arrived++;
  };
  // Listens on all addresses, IPv6 as well: a packet that leaves a sandbox by any way arrives at one of these.
  server = createServer(count).listen(0, '::');
  pathServer = createServer(count).listen(join(directory, 'canary.sock'));
  abstractServer = createServer(count).listen({ path: `\0${abstractName}` });
  datagrams = createSocket({ type: 'udp6' }).on('message', count).bind(0, '::');
  await Promise.all([server, pathServer, abstractServer, datagrams].map((one) => once(one, 'listening')));
  platform = await Platform.start();
  await deployAttack(platform, 'network', { timeout: 20 });
  await platform.deploy('hello-fetch', { name: 'honest' });
}, 90_000);
afterAll(async () => {
  for (const one of [server, pathServer, abstractServer, datagrams]) one.close();
  await platform.stop();
  await rm(directory, { recursive: true, force: true });
});
afterEach(async () => {
  await sleep(20);
  expect(arrived).toBe(0);
  expect((await platform.call('honest')).status).toBe(200);
});

const port = (): number => (server.address() as AddressInfo).port;
const gatewayPort = (): number => Number(new URL(platform.url).port);
const hostAddresses = (): string[] =>
  Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address));

async function ask<T>(path: string, body?: unknown): Promise<T> {
  const response = await platform.call(`network/${path}`, {
    method: 'POST',
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  expect({ status: response.status, text }).toEqual({ status: 200, text });
  return JSON.parse(text) as T;
}

/** Each attempt is refused, and quickly. A busy machine may be late with one of them, not with most. */
async function expectUnreachable(probes: readonly Probe[], how: string): Promise<void> {
  const answers = await ask<Answer[]>(
    'probe',
    probes.map((probe) => ({ ...probe, how })),
  );
  expect(answers).toHaveLength(probes.length);
  for (const { address, error } of answers)
    expect({ address, error }).toEqual({ address, error: expect.stringMatching(REFUSALS) as string });
  const times = answers.map(({ ms }) => ms).toSorted((a, b) => a - b);
  expect(times[Math.floor(times.length / 2)]).toBeLessThan(FAST_MS);
  expect(times.at(-1)).toBeLessThan(10 * FAST_MS);
}

test('E2 loopback-isolated: control, the same probes from outside of a sandbox arrive', async () => {
  for (const words of [
    ['tcp', '127.0.0.1', String(port())],
    ['tcp', '::1', String(port())],
    ['tcp', join(directory, 'canary.sock')],
    ['tcp', `@${abstractName}`],
    ['udp', '127.0.0.1', String(datagrams.address().port)],
  ]) {
    const { stdout } = await promisify(execFile)(program, words);
    expect(JSON.parse(stdout)).toMatchObject({ error: '' });
  }
  await expect.poll(() => arrived).toBe(5);
  arrived = 0;
});

describe.each(['javascript', 'native'])('from %s', (how) => {
  test(`E1 no-net: ${how}, public addresses by TCP, UDP and IPv6 fail within 100 ms`, () =>
    expectUnreachable(
      [
        { kind: 'tcp', address: '1.1.1.1', port: 80 },
        { kind: 'tcp', address: '8.8.8.8', port: 443 },
        { kind: 'tcp', address: '2606:4700:4700::1111', port: 443 },
        { kind: 'udp', address: '1.1.1.1', port: 53 },
        { kind: 'udp', address: '2606:4700:4700::1111', port: 53 },
      ],
      how,
    ));

  test(`E2 loopback-isolated: ${how}, no service of the host answers on 127.0.0.1 or another address of the host`, () => {
    const ports = [port(), gatewayPort(), 6379, 22];
    const addresses = ['127.0.0.1', '127.0.0.2', '0.0.0.0', '::1', '::ffff:127.0.0.1', ...hostAddresses()];
    return expectUnreachable(
      [
        ...addresses.flatMap((address) => ports.map((one): Probe => ({ kind: 'tcp', address, port: one }))),
        ...hostAddresses()
          .filter((address) => address !== '127.0.0.1' && address !== '::1')
          .map((address): Probe => ({ kind: 'udp', address, port: datagrams.address().port })),
      ],
      how,
    );
  });

  test(`E3 metadata: ${how}, metadata services, gateways and private ranges are unreachable`, () =>
    expectUnreachable(
      [
        '169.254.169.254',
        '169.254.170.2',
        '100.100.100.200',
        '168.63.129.16',
        'fd00:ec2::254',
        '10.0.0.1',
        '10.0.2.2',
        '172.16.0.1',
        '172.17.0.1',
        '192.168.0.1',
        '192.168.1.1',
        '100.64.0.1',
        '224.0.0.1',
        '255.255.255.255',
        'fe80::1',
        'ff02::1',
      ].map((address) => ({ kind: 'tcp', address, port: 80 })),
      how,
    ));

  test(`E4 abstract-unix: ${how}, sockets of the host cannot be found, in the abstract namespace or as files`, () =>
    expectUnreachable(
      [
        `@${abstractName}`,
        '@/tmp/.X11-unix/X0',
        join(directory, 'canary.sock'),
        platform.redis.url.replace('unix://', ''),
        '/run/dbus/system_bus_socket',
        '/var/run/docker.sock',
        '/run/systemd/private',
      ].map((address) => ({ kind: 'tcp', address })),
      how,
    ));
});

test('E1 no-net: javascript, names cannot be resolved and fetch fails, without a hang', async () => {
  const answers = await ask<Answer[]>('probe', [
    { kind: 'lookup', address: 'example.com' },
    { kind: 'resolve', address: 'example.com' },
    { kind: 'fetch', address: 'http://1.1.1.1/' },
    { kind: 'fetch', address: 'http://example.com/' },
    { kind: 'fetch', address: platform.url },
  ]);
  for (const { address, error, ms } of answers) {
    expect({ address, error }).not.toEqual({ address, error: '' });
    expect(error).not.toBe('TimeoutError');
    expect(ms).toBeLessThan(10 * FAST_MS);
  }
});

test('E5 raw-packet: native, raw, packet, netlink and other families of sockets are refused', async () => {
  const [inet, inet6, netlink, packet] = [2, 10, 16, 17];
  const [raw, datagram] = [3, 2];
  const refused = [
    [inet, raw, 1],
    [inet, raw, 255],
    [inet6, raw, 58],
    [packet, raw, 0x0300],
    [packet, datagram, 0x0300],
    [netlink, raw, 0],
    // alg, vsock, xdp, bluetooth, can, tipc, key
    ...[38, 40, 44, 31, 29, 30, 15].map((family) => [family, raw, 0]),
    // ICMP without privilege, which some systems allow.
    [inet, datagram, 1],
  ];
  const answers = await ask<{ socket: string; error: string }[]>('sockets', refused);
  for (const { socket, error } of answers) {
    expect({ socket, error }).toEqual({
      socket,
      error: expect.stringMatching(
        /^(EPERM|EACCES|EAFNOSUPPORT|EPROTONOSUPPORT|ESOCKTNOSUPPORT|EINVAL|ENOSYS)$/,
      ) as string,
    });
  }
  expect(answers).toHaveLength(refused.length);
});

test('E6 lo-self: a server and its client in one sandbox work, and neither the host nor a neighbour reaches the server', async () => {
  const inside = await ask<{ port: number; text: string }>('loopback');
  expect(inside.text).toBe('inside');
  const outside = createConnection(inside.port, '127.0.0.1');
  const [error] = (await once(outside, 'error')) as [NodeJS.ErrnoException];
  expect(error.code).toBe('ECONNREFUSED');
  await deployAttack(platform, 'network', { name: 'neighbour', timeout: 20 });
  const response = await platform.call('neighbour/probe', {
    method: 'POST',
    body: JSON.stringify([{ kind: 'tcp', address: '127.0.0.1', port: inside.port, how: 'native' }]),
  });
  expect(await response.json()).toMatchObject([{ error: 'ECONNREFUSED' }]);
  // The server is still there, for the function itself.
  expect(
    await ask<Answer[]>('probe', [{ kind: 'tcp', address: '127.0.0.1', port: inside.port, how: 'native' }]),
  ).toMatchObject([{ error: '' }]);
  expect(await ask<string[]>('interfaces')).toEqual(['lo']);
});
