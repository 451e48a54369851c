/**
 * Addresses that a function reaches over the network and addresses that it must not reach, in a world of the test's
 * own.
 */
import { networkInterfaces } from 'node:os';
import { describe, expect, test } from 'vitest';
import { RESOLVER_ADDRESS } from '#contract/functions/network.ts';
import {
  ask,
  denied,
  type EgressBench,
  egressForTests,
  HOSTS,
  METADATA,
  OTHER_PORT,
  PORT,
  PRIVATE,
  PRIVATE_DECOY,
  PUBLIC,
  PUBLIC_DECOY,
  tcp,
  udp,
  UPLINK_GATEWAY,
} from './egress-bench.ts';

describe('network egress', () => {
  let egress: EgressBench;
  let start: EgressBench['start'];

  egressForTests((bench) => {
    egress = bench;
    ({ start } = bench);
  });

  test('N1 an address and port that a rule names are reached, and no other [NE1]', async () => {
    const sandbox = await start([`${PUBLIC}:${PORT}`]);
    expect(await tcp(sandbox, PUBLIC)).toBe(`tcp ${PUBLIC}`);
    expect(await tcp(sandbox, PUBLIC, OTHER_PORT)).toBe('ECONNREFUSED');
    expect(await tcp(sandbox, PUBLIC_DECOY)).toBe('ECONNREFUSED');
  });

  test('N2 a sandbox without rules has no way out at all, while others have one', async () => {
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

  test('N4 a name that a rule allows resolves and is reached; another name is not even asked for outside', async () => {
    egress.world.names.set('allowed.example', [[PUBLIC]]);
    egress.world.names.set('other.example', [[PUBLIC]]);
    const sandbox = await start([`allowed.example:${PORT}`]);
    expect(await tcp(sandbox, 'allowed.example')).toBe(`tcp ${PUBLIC}`);
    expect(await tcp(sandbox, 'allowed.example', OTHER_PORT)).toBe('ECONNREFUSED');
    expect(await ask(sandbox, '/default?host=allowed.example')).toEqual([PUBLIC]);
    expect(await tcp(sandbox, 'other.example')).toBe('ENOTFOUND');
    expect(await tcp(sandbox, 'sub.allowed.example')).toBe('ENOTFOUND');
    expect(egress.world.asked).toContain('allowed.example');
    expect(egress.world.asked).not.toContain('other.example');
    expect(egress.world.asked).not.toContain('sub.allowed.example');
  });

  test('N5 a star matches the names below a domain, and no name that only looks similar', async () => {
    for (const name of [
      'a.wild.example',
      'a.b.wild.example',
      'wild.example',
      'notwild.example',
      'wild.example.evil.test',
    ])
      egress.world.names.set(name, [[PUBLIC]]);
    const sandbox = await start([`*.wild.example:${PORT}`]);
    expect(await tcp(sandbox, 'A.wild.Example')).toBe(`tcp ${PUBLIC}`);
    expect(await tcp(sandbox, 'a.b.wild.example')).toBe(`tcp ${PUBLIC}`);
    for (const name of ['wild.example', 'notwild.example', 'wild.example.evil.test'])
      expect(await tcp(sandbox, name), name).toBe('ENOTFOUND');
  });

  test('N6 an address literal is refused until an allowed name has resolved to it', async () => {
    egress.world.names.set('literal.example', [[PUBLIC]]);
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
      egress.world.names.set(name, [[address]]);
      const sandbox = await start(['*.inside.example:1-65535']);
      expect(await ask(sandbox, `/resolve?type=A&host=${name}`)).toBe('ENODATA');
      expect(await tcp(sandbox, name)).toBe('ENOTFOUND');
      expect(await tcp(sandbox, address)).not.toBe(`tcp ${address}`);
      expect((await denied(sandbox)).map(({ to }) => to)).toContain(`dns ${name} -> ${address}`);
    },
  );

  test('N8 an allowed name that changes to a private address still leads to the address that was allowed', async () => {
    egress.world.names.set('rebind.example', [[PUBLIC], [PRIVATE, METADATA, PUBLIC], [METADATA]]);
    const sandbox = await start([`rebind.example:${PORT}`]);
    expect(await tcp(sandbox, 'rebind.example')).toBe(`tcp ${PUBLIC}`);
    expect(await ask(sandbox, '/resolve?type=A&host=rebind.example')).toEqual([PUBLIC]);
    expect(await tcp(sandbox, 'rebind.example')).toBe('ENOTFOUND');
    for (const address of [PRIVATE, METADATA]) expect(await tcp(sandbox, address)).toBe('ECONNREFUSED');
  });

  test('N9 a private address that a rule names is reached, also by an allowed name', async () => {
    egress.world.names.set('db.example', [[PRIVATE]]);
    const sandbox = await start([`${PRIVATE}:${PORT}`, `db.example:${PORT}`]);
    expect(await tcp(sandbox, 'db.example')).toBe(`tcp ${PRIVATE}`);
    expect(await tcp(sandbox, PRIVATE_DECOY)).toBe('ECONNREFUSED');
  });

  test('N10 a rule for all addresses means the public ones only [NE2]', async () => {
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
    // The sandbox's own loopback, on which no server listens.
    for (const host of ['127.0.0.1', '127.1.2.3', '0.0.0.0', 'localhost'])
      expect(await tcp(sandbox, host), host).toBe('ECONNREFUSED');
    for (const host of [UPLINK_GATEWAY, '198.19.254.3', '198.19.254.100', RESOLVER_ADDRESS])
      expect(await tcp(sandbox, host), host).toBe('ECONNREFUSED');
  });

  test('N12 UDP is refused even where TCP is allowed, and so is every name server but the sandbox’s own [NE3]', async () => {
    egress.world.names.set('allowed.example', [[PUBLIC]]);
    const sandbox = await start(['0.0.0.0/0:1-65535', `allowed.example:${PORT}`]);
    expect(await udp(sandbox, PUBLIC)).toMatch(/nothing|EHOSTUNREACH/);
    expect(await ask(sandbox, `/elsewhere?server=${PUBLIC}:53&host=allowed.example`)).not.toEqual([PUBLIC]);
    expect(await ask(sandbox, `/elsewhere?server=${UPLINK_GATEWAY}:53&host=allowed.example`)).not.toEqual([
      PUBLIC,
    ]);
    expect(await ask(sandbox, '/resolve?type=A&host=allowed.example')).toEqual([PUBLIC]);
    expect((await denied(sandbox)).map(({ to }) => to)).toContain(`udp ${PUBLIC}:${PORT}`);
  });

  test('N13 a sandbox has no IPv6: no address, no answer, no way out', async () => {
    egress.world.names.set('allowed.example', [[PUBLIC]]);
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
    // An IPv4 address written as an IPv6 one.
    expect(await tcp(sandbox, '::ffff:10.1.2.3')).toBe('ECONNREFUSED');
  });

  test('N33 records of services, texts and mail of covered names are answered, and open no address [NE9]', async () => {
    const { world } = egress;
    const label = (name: string): Buffer =>
      Buffer.concat([
        ...name.split('.').map((part) => Buffer.from([part.length, ...Buffer.from(part)])),
        Buffer.from([0]),
      ]);
    world.names.set('allowed.example', [[PUBLIC]]);
    world.names.set('target.other.example', [[PUBLIC]]);
    world.records.set(
      '33 _mongodb._tcp.allowed.example',
      Buffer.concat([Buffer.from([0, 1, 0, 2, 0x69, 0x89]), label('target.other.example')]),
    );
    world.records.set('16 allowed.example', Buffer.from([3, 0x61, 0x3d, 0x62]));
    world.records.set(
      '15 allowed.example',
      Buffer.concat([Buffer.from([0, 10]), label('mail.allowed.example')]),
    );
    world.records.set('5 allowed.example', label('alias.allowed.example'));
    world.records.set('12 5.113.0.203.in-addr.arpa', label('public.example'));
    world.records.set('16 other.example', Buffer.from([1, 0x78]));
    const sandbox = await start([`allowed.example:${PORT}`, `${PUBLIC}/32:${OTHER_PORT}`]);
    const resolve = async (type: string, host: string) =>
      await ask(sandbox, `/resolve?type=${type}&host=${host}`);
    expect(await resolve('SRV', '_mongodb._tcp.allowed.example')).toEqual([
      { name: 'target.other.example', port: 27017, priority: 1, weight: 2, type: 'SRV' },
    ]);
    expect(await resolve('TXT', 'allowed.example')).toEqual([['a=b']]);
    expect(await resolve('MX', 'allowed.example')).toEqual([
      { exchange: 'mail.allowed.example', priority: 10, type: 'MX' },
    ]);
    expect(await resolve('CNAME', 'allowed.example')).toEqual(['alias.allowed.example']);
    expect(await resolve('PTR', '5.113.0.203.in-addr.arpa')).toEqual(['public.example']);
    // No rule covers the target, so its name stays closed, and the record says which name that was.
    expect(await tcp(sandbox, 'target.other.example')).toBe('ENOTFOUND');
    expect((await denied(sandbox)).map(({ to }) => to)).toContain('dns target.other.example');
    expect(await resolve('TXT', 'other.example')).toBe('ENOTFOUND');
    expect(world.asked).not.toContain('other.example');
  });

  test('N34 a name that does not exist is unknown for every type, and one that does has no such record [NE9]', async () => {
    egress.world.names.set('bare.example', [[PUBLIC]]);
    const sandbox = await start([`bare.example:${PORT}`, `*.missing.example:${PORT}`]);
    for (const type of ['A', 'AAAA', 'TXT', 'SRV', 'MX']) {
      expect(await ask(sandbox, `/resolve?type=${type}&host=a.missing.example`), type).toBe('ENOTFOUND');
      if (type !== 'A')
        expect(await ask(sandbox, `/resolve?type=${type}&host=bare.example`), type).toBe('ENODATA');
    }
  });

  test('N14 two sandboxes never reach each other, whatever their rules [NE4]', async () => {
    const [one, other] = await Promise.all([start(['0.0.0.0/0:1-65535']), start(['0.0.0.0/0:1-65535'])]);
    const { address, text } = await ask<{ address: string; text: string }>(one, '/listen?port=8080');
    // Control: the server listens on the address that the other sandbox tries.
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

  test('N15 a refused attempt is reported once, with its count, for the sandbox that made it [NE5]', async () => {
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

  test('N16 a function sees one interface and its resolver, and cannot list more through netlink', async () => {
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
    // The system call filter refuses AF_NETLINK; the runtime names the interface in any case.
    expect(Object.keys(await ask<object>(sandbox, '/interfaces'))).toEqual(['lo']);
  });

  test('N27 an address that the operator forbids is reached by no rule and by no name', async () => {
    egress.world.names.set('forbidden.example', [[PRIVATE_DECOY]]);
    egress.world.names.set('public-forbidden.example', [[PUBLIC_DECOY]]);
    const guarded = egress.open({
      ready: 1,
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

  test('N18 control: with the firewall off, addresses that the tests above call refused are reached', async () => {
    const open = egress.open({
      ready: 1,
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
      // A second layer that does not depend on the first: slirp4netns is started without a way to the host's loopback.
      expect(await tcp(one, UPLINK_GATEWAY)).not.toBe('tcp 127.0.0.1');
    } finally {
      await open.stop();
    }
  });
});
