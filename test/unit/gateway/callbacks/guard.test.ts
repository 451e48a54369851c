/** Addresses to which a callback may lead, and that it goes to no other address than the one that was checked. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { afterEach, describe, expect, test } from 'vitest';
import type { CallbackBody } from '#contract/invocations/callback.ts';
import {
  askNameServers,
  Guard,
  listOf,
  ReceiverRefused,
  type Resolve,
} from '../../../../gateway/callbacks/guard.ts';
import { send } from '../../../../gateway/callbacks/send.ts';
import { parseEnvironment } from '../../../../gateway/env.ts';
import { encodeAnswer, parseQuery, RCODE, TYPE_A } from '../../../../worker/network/dns-wire.ts';
import { Receiver } from '../../../support/servers/receiver.ts';
import { Stopwatch } from '../../../support/platform/stopwatch.ts';

const now = AbortSignal.timeout(60_000);
const ports = new Set([80, 443]);

const byAddress = (one: { address: string }, other: { address: string }): number =>
  one.address.localeCompare(other.address);

/** A name server that gives its answers in turn, and then the last one again. */
function nameServer(...answers: string[][]): { asked: string[]; resolve: Resolve } {
  const asked: string[] = [];
  return {
    asked,
    resolve: (name) => {
      const answer = answers[Math.min(asked.length, answers.length - 1)] ?? [];
      asked.push(name);
      return Promise.resolve(answer.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })));
    },
  };
}

describe('the guard', () => {
  const guard = new Guard({ allow: [], ports });
  const inside = [
    'http://127.0.0.1',
    'http://127.8.8.8',
    'http://0x7f.1',
    'http://2130706433',
    'http://017700000001',
    'http://0.0.0.0',
    'http://10.1.2.3',
    'http://172.16.0.1',
    'http://192.168.1.1',
    'http://169.254.169.254',
    'http://100.64.0.1',
    'http://100.100.100.200',
    'http://168.63.129.16',
    'http://192.0.0.192',
    'http://198.18.0.1',
    'http://192.88.99.1',
    'http://203.0.113.1',
    'http://224.0.0.1',
    'http://255.255.255.255',
    'http://[::]',
    'http://[::1]',
    'http://[::127.0.0.1]',
    'http://[::ffff:127.0.0.1]',
    'http://[::ffff:8.8.8.8]',
    'http://[64:ff9b::127.0.0.1]',
    'http://[64:ff9b:1::1]',
    'http://[2002:7f00:1::1]',
    'http://[2001::1]',
    'http://[2001:db8::1]',
    'http://[3fff::1]',
    'http://[100::1]',
    'http://[fe80::1]',
    'http://[fec0::1]',
    'http://[fd00:ec2::254]',
    'http://[ff02::1]',
    'http://localhost',
    'http://localhost.',
    'http://a.localhost',
  ];
  test.each(inside)('the guard refuses %s [CB5]', async (url) => {
    await expect(guard.addresses(new URL(url), now)).rejects.toThrow(ReceiverRefused);
    await expect(guard.addresses(new URL(url), now)).rejects.toThrow(
      /not? public(?: address)?; the operator/,
    );
  });

  // Controls: the guard does not refuse everything.
  test.each(['https://8.8.8.8/path', 'http://1.1.1.1', 'http://[2606:4700::1111]', 'http://172.32.0.1'])(
    'the guard lets %s through',
    async (url) => {
      expect(await guard.addresses(new URL(url), now)).toHaveLength(1);
    },
  );

  test('the guard refuses a name when one of its addresses is inside', async () => {
    const of = (...addresses: string[]): Promise<unknown> =>
      new Guard({ allow: [], ports, resolve: nameServer(addresses).resolve }).addresses(
        new URL('https://example.com'),
        now,
      );
    await expect(of('10.0.0.1')).rejects.toThrow(
      'refused: example.com leads to an address that is not public; the operator',
    );
    await expect(of('8.8.8.8', '127.0.0.1')).rejects.toThrow(ReceiverRefused);
    await expect(of('8.8.8.8', '::ffff:10.0.0.1')).rejects.toThrow(ReceiverRefused);
    expect(await of('8.8.8.8', '2606:4700::1111')).toHaveLength(2);
  });

  test('the guard lets through addresses that the operator allows, and no others', async () => {
    const some = new Guard({ allow: ['127.0.0.1/32', '10.1.0.0/16', 'fd00:1::/32'], ports });
    for (const url of [
      'http://127.0.0.1:9000',
      'http://10.1.255.1:1',
      'http://[fd00:1::1]',
      'http://localhost:81',
    ])
      expect(await some.addresses(new URL(url), now)).toHaveLength(1);
    for (const url of ['http://127.0.0.2', 'http://10.2.0.1', 'http://[fd00:2::1]', 'http://[::1]'])
      await expect(some.addresses(new URL(url), now)).rejects.toThrow(ReceiverRefused);
  });

  test('the guard refuses other ports of public addresses, and other schemes', async () => {
    await expect(guard.addresses(new URL('http://8.8.8.8:25'), now)).rejects.toThrow('port 25');
    const more = new Guard({ allow: [], ports: new Set([8443]) });
    expect(await more.addresses(new URL('https://8.8.8.8:8443'), now)).toHaveLength(1);
    await expect(more.addresses(new URL('https://8.8.8.8'), now)).rejects.toThrow('port 443');
    await expect(guard.addresses(new URL('ftp://8.8.8.8'), now)).rejects.toThrow('ftp');
  });

  test('the guard reads the ranges of the environment, and names one that is invalid', () => {
    const env = (allow: string): string[] =>
      parseEnvironment({ OFFSHOOT_STATE: '/tmp', OFFSHOOT_CALLBACK_ALLOW: allow }).OFFSHOOT_CALLBACK_ALLOW;
    expect(env('10.0.0.0/8, fd00::/8')).toEqual(['10.0.0.0/8', 'fd00::/8']);
    expect(() => env('10.0.0.0/33')).toThrow('"10.0.0.0/33" is not an address or range');
    expect(() => listOf(['example.com'])).toThrow('example.com');
    expect(() => listOf(['10.0.0.0/'])).toThrow('10.0.0.0/');
    expect(() => parseEnvironment({ OFFSHOOT_STATE: '/tmp', OFFSHOOT_CALLBACK_PORTS: '80,http' })).toThrow(
      'OFFSHOOT_CALLBACK_PORTS',
    );
  });
});

describe('a name', () => {
  const sockets: Socket[] = [];
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.close();
  });

  /** A name server on loopback; `known` are its IPv4 addresses by name, and those of `six.` have an IPv6 address too. */
  async function serve(known: Record<string, string[]>): Promise<string> {
    const socket = createSocket('udp4').bind(0, '127.0.0.1');
    sockets.push(socket);
    await once(socket, 'listening');
    socket.on('message', (message, { port, address }) => {
      const query = parseQuery(message);
      const found = query && known[query.name];
      if (!query || query.name.startsWith('silent.')) return;
      const answer = encodeAnswer(
        query,
        found ? RCODE.NOERROR : RCODE.NXDOMAIN,
        query.type === TYPE_A ? found?.map((one) => ({ address: one, ttl: 1 })) : [],
      );
      socket.send(
        query.type !== TYPE_A && query.name.startsWith('six.') ? withLoopback6(answer) : answer,
        port,
        address,
      );
    });
    return `127.0.0.1:${socket.address().port}`;
  }

  /** An answer with one record more: ::1. */
  function withLoopback6(answer: Buffer): Buffer {
    answer.writeUInt16BE(1, 6);
    const record = Buffer.from('c00c001c0001000000010010', 'hex');
    return Buffer.concat([answer, record, Buffer.alloc(15), Buffer.from([1])]);
  }

  test('a name is looked up at the name servers, for all its addresses of both families', async () => {
    const server = await serve({ 'four.example': ['192.0.2.1', '192.0.2.2'], 'six.example': ['192.0.2.3'] });
    expect((await askNameServers('four.example', now, [server])).toSorted(byAddress)).toEqual([
      { address: '192.0.2.1', family: 4 },
      { address: '192.0.2.2', family: 4 },
    ]);
    const both = await askNameServers('six.example', now, [server]);
    expect(both).toEqual([
      { address: '192.0.2.3', family: 4 },
      { address: '::1', family: 6 },
    ]);
    const guard = new Guard({
      allow: ['192.0.2.0/24'],
      ports,
      resolve: (name, signal) => askNameServers(name, signal, [server]),
    });
    // The second family is checked as well.
    await expect(guard.addresses(new URL('http://six.example'), now)).rejects.toThrow(
      'six.example leads to an address that is not public',
    );
    expect(await guard.addresses(new URL('http://four.example'), now)).toHaveLength(2);
  });

  test('an unknown name, or a silent name server, is a failure in time', async () => {
    const server = await serve({});
    await expect(askNameServers('none.example', now, [server])).rejects.toThrow('ENOTFOUND');
    const before = Stopwatch.start();
    await expect(askNameServers('silent.example', AbortSignal.timeout(200), [server])).rejects.toThrow(
      'ECANCELLED',
    );
    expect(before.stop()).toBeLessThan(1_400);
  });
});

describe('a delivery that is sent', () => {
  const receivers: Receiver[] = [];
  const start = async (host: string, port?: number): Promise<Receiver> => {
    const receiver = await Receiver.start(host, port);
    receivers.push(receiver);
    return receiver;
  };
  afterEach(async () => {
    await Promise.all(receivers.splice(0).map((receiver) => receiver.stop()));
  });
  const body = Buffer.from(
    JSON.stringify({
      type: 'invocation.ended',
      timestamp: '',
      id: 'one',
      namespace: 'n',
      name: 'f',
      version: 1,
      outcome: 'ok',
      status: 200,
      duration: 1,
      attempts: 1,
    } satisfies CallbackBody),
  );

  test('a delivery goes to the address that was checked, even if the name changes afterwards', async () => {
    const outside = await start('127.0.0.1');
    const within = await start('127.0.0.2', outside.port);
    const url = new URL(`http://receiver.example:${outside.port}/`);
    const names = nameServer(['127.0.0.1'], ['127.0.0.2']);
    const guard = new Guard({ allow: ['127.0.0.1'], ports, resolve: names.resolve });
    expect(await send(guard, url, {}, body, now)).toMatchObject({ status: 204 });
    expect(names.asked).toEqual(['receiver.example']);
    expect(outside.received.map(({ headers }) => headers.host)).toEqual([`receiver.example:${outside.port}`]);
    // From now on the name leads inside, so the next delivery is refused.
    await expect(send(guard, url, {}, body, now)).rejects.toThrow(ReceiverRefused);
    expect(within.received).toEqual([]);
    // Control: with an allowance the same address is reached.
    const both = new Guard({ allow: ['127.0.0.0/8'], ports, resolve: names.resolve });
    expect(await send(both, url, {}, body, now)).toMatchObject({ status: 204 });
    expect(within.received).toHaveLength(1);
  });

  test('a delivery goes to another checked address of the name where one does not answer', async () => {
    const there = await start('127.0.0.1');
    const names = nameServer(['127.0.0.3', '127.0.0.1']);
    const guard = new Guard({ allow: ['127.0.0.0/8'], ports, resolve: names.resolve });
    expect(await send(guard, new URL(`http://two.example:${there.port}`), {}, body, now)).toMatchObject({
      status: 204,
    });
  });

  test('a delivery reads little of an endless answer, and waits a bounded time for one that never ends [CB6]', async () => {
    const receiver = await start('127.0.0.1');
    const guard = new Guard({ allow: ['127.0.0.1'], ports });
    let written = 0;
    receiver.answer = (response) => {
      response.writeHead(200);
      const more = (): void => {
        while (!response.destroyed && response.write('x'.repeat(1024))) written += 1024;
        if (!response.destroyed) response.once('drain', more);
      };
      response.on('error', () => undefined);
      more();
    };
    const closed = new Promise((resolve) => {
      const answer = receiver.answer;
      receiver.answer = (response, turn) => {
        response.on('close', resolve);
        answer(response, turn);
      };
    });
    expect(await send(guard, new URL(receiver.url), {}, body, now)).toMatchObject({ status: 200 });
    await closed;
    expect(written).toBeLessThan(32 * 1024 * 1024);

    receiver.answer = (response) => void response.writeHead(200).write('x');
    const before = performance.now();
    const soon = AbortSignal.timeout(300);
    expect(await send(guard, new URL(receiver.url), {}, body, soon)).toMatchObject({ status: 200 });
    expect(performance.now() - before).toBeGreaterThan(200);
    receiver.answer = () => undefined;
    await expect(send(guard, new URL(receiver.url), {}, body, AbortSignal.timeout(300))).rejects.toThrow();
  });
});
