/** Ways to a Redis: addresses, TLS with a self-made authority, and lanes of a Cluster. */
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { type AnyLaneReader, openLaneReader } from '#storage/lane/cluster-lane.ts';
import { LaneWriter } from '#storage/lane/lane.ts';
import { parseRedisAddress, parseRedisUrl, withoutPassword } from '#storage/redis/address.ts';
import {
  connectBlocking,
  connectRedis,
  eachPrimary,
  keepsEverything,
  redisError,
  type RedisRole,
  sendTogether,
} from '#storage/redis/redis.ts';
import {
  freePorts,
  RedisCluster,
  RedisServer,
  serverArguments,
} from '../../../support/redis/redis-server.ts';
import { Stopwatch } from '../../../support/platform/stopwatch.ts';
import { QUIET } from '../../../support/gateway/fixture.ts';

const open: Redis[] = [];
afterEach(() => {
  for (const redis of open.splice(0)) redis.disconnect();
});

function connect(url: string, role: RedisRole = 'commands'): Redis {
  const redis = connectRedis(url, role, QUIET);
  open.push(redis);
  return redis;
}

async function ready(redis: Redis): Promise<Redis> {
  await vi.waitFor(() => expect(redis.status).toBe('ready'), 5_000);
  return redis;
}

describe('addresses', () => {
  test('the URL of Sentinels is read, with their own password, and the database of the primary', () => {
    const url = 'redis+sentinel://app:s%40crit@one:26380,two/main/2?sentinel_password=other';
    expect(parseRedisAddress(url)).toEqual({
      options: {
        username: 'app',
        password: 's@crit',
        sentinels: [
          { host: 'one', port: 26380 },
          { host: 'two', port: 26379 },
        ],
        name: 'main',
        db: 2,
        sentinelPassword: 'other',
      },
    });
    expect(parseRedisUrl('rediss+sentinel://[::1]:5000/main')).toMatchObject({
      sentinels: [{ host: '::1', port: 5000 }],
      tls: {},
      sentinelTLS: {},
      enableTLSForSentinelMode: true,
    });
  });

  test('the URL of a Cluster is read', () => {
    expect(parseRedisAddress('redis+cluster://:word@one:7000,two:7001')).toEqual({
      options: { password: 'word' },
      cluster: [
        { host: 'one', port: 7000 },
        { host: 'two', port: 7001 },
      ],
    });
    expect(parseRedisAddress('rediss+cluster://one?servername=redis.example')).toMatchObject({
      options: { tls: { servername: 'redis.example' } },
      cluster: [{ host: 'one', port: 6379 }],
    });
    expect(() => parseRedisUrl('redis+cluster://:secret@one')).toThrow(/^(?!.*secret).*is a Cluster/);
  });

  test.each([
    ['redis+sentinel://one,two', /does not name the primary/],
    ['redis+cluster://one/3', /no databases/],
    ['redis+cluster://one:x', /"one:x" is not HOST:PORT/],
    ['redis+cluster://one:70000', /not HOST:PORT/],
    ['redis://one/x', /"x" is not the number of a database/],
    ['redis://one?ca=/x', /the parameter "ca"; none has a meaning there/],
    ['rediss://one?insecure=1', /the parameter "insecure"; known there: ca, cert, key, servername/],
    ['rediss://one?ca=/nowhere/ca.pem', /the file that "ca" names .* cannot be read: ENOENT/],
    ['redis+magic://one', /not the address of a Redis: use redis:\/\//],
  ])('a URL is refused with the reason: %s', (url, reason) => {
    expect(() => parseRedisAddress(url)).toThrow(reason);
  });

  test('passwords are left out of logs', () => {
    expect(withoutPassword('redis+sentinel://a:secret@one,two/main?sentinel_password=secret&ca=/x')).toBe(
      'redis+sentinel://a:***@one,two/main?sentinel_password=***&ca=/x',
    );
  });
});

describe('TLS', () => {
  let directory: string;
  let server: RedisServer;
  const file = (name: string): string => join(directory, name);

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'offshoot-tls-'));
    const openssl = (...words: string[]): void => {
      execFileSync('openssl', words, { cwd: directory, stdio: 'ignore' });
    };
    const subject = (name: string): string[] => ['-newkey', 'rsa:2048', '-nodes', '-subj', `/CN=${name}`];
    for (const name of ['ca', 'stranger'])
      openssl(
        'req',
        '-x509',
        ...subject(name),
        '-days',
        '2',
        '-keyout',
        `${name}.key`,
        '-out',
        `${name}.crt`,
      );
    await writeFile(file('names'), 'subjectAltName=IP:127.0.0.1');
    for (const name of ['server', 'client']) {
      openssl('req', ...subject(name), '-keyout', `${name}.key`, '-out', `${name}.csr`);
      const signed = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2'];
      openssl('x509', '-req', '-in', `${name}.csr`, ...signed, '-extfile', 'names', '-out', `${name}.crt`);
    }
    const [port = 0] = await freePorts(1);
    const tls = ['--tls-port', String(port), '--tls-cert-file', file('server.crt')];
    const files = ['--tls-key-file', file('server.key'), '--tls-ca-cert-file', file('ca.crt')];
    const { options } = parseRedisAddress(url(port));
    server = new RedisServer(port, [...serverArguments(0, directory), ...tls, ...files], options);
    await server.start();
  }, 30_000);
  afterAll(async () => {
    await server?.kill();
    await rm(directory, { recursive: true, force: true });
  });

  function url(port: number, { ca = 'ca', client = 'client' } = {}): string {
    const own = client === '' ? '' : `&cert=${file(`${client}.crt`)}&key=${file(`${client}.key`)}`;
    return `rediss://127.0.0.1:${port}?ca=${file(`${ca}.crt`)}${own}`;
  }

  test('TLS works with a self-made authority and a certificate of our own', async () => {
    const redis = await ready(connect(url(server.port)));
    expect(await redis.set('x', '1')).toBe('OK');
    const subscriber = await ready(connect(url(server.port), 'subscriber'));
    const heard: string[] = [];
    subscriber.on('message', (_channel, text) => heard.push(text));
    await subscriber.subscribe('news');
    await redis.publish('news', 'hello');
    await vi.waitFor(() => expect(heard).toEqual(['hello']));
  });

  test.each([
    ['a server that another authority has signed', { ca: 'stranger' }],
    ['a client without a certificate, where one is asked for', { client: '' }],
  ])('TLS makes no connection for %s [RE4]', async (_what, files) => {
    const errors: unknown[] = [];
    const log = { ...QUIET, error: (facts: object) => errors.push(facts) };
    const redis = connectRedis(url(server.port, files), 'commands', log);
    open.push(redis);
    await vi.waitFor(() => expect(errors.length).toBeGreaterThan(0), 5_000);
    await expect(redis.get('x')).rejects.toThrow();
  });
});

describe('a Cluster', () => {
  let cluster: RedisCluster;
  let commands: Redis;
  const readers: AnyLaneReader[] = [];
  beforeAll(async () => {
    cluster = await RedisCluster.start();
  }, 60_000);
  afterEach(async () => {
    await Promise.all(readers.splice(0).map((reader) => reader.stop()));
  });
  afterAll(() => cluster?.stop());

  /** Reads lists of three primaries, and counts the frames. */
  async function read(
    keys: () => readonly string[],
    count: () => number,
    onFrames: (list: string, frames: Buffer[]) => void,
  ): Promise<AnyLaneReader> {
    commands = await ready(connect(cluster.url));
    const blocking = connectBlocking(cluster.url, QUIET);
    const reader = openLaneReader({ blocking, commands, keys, count, onFrames, log: QUIET });
    readers.push(reader);
    reader.start();
    return reader;
  }

  test('lists of all primaries are read side by side, new ones too, and as many frames as there is room for', async () => {
    let lists = ['{default}:a', '{second}:a'];
    const got: string[] = [];
    let room = 4;
    const reader = await read(
      () => lists,
      () => room,
      (list, frames) => {
        room -= frames.length;
        got.push(...frames.map((frame) => `${list} ${frame.toString()}`));
      },
    );
    const writer = new LaneWriter(await ready(connect(cluster.url, 'lane')));
    const before = Stopwatch.start();
    for (const list of lists) await writer.push(list, Buffer.from('1'));
    await vi.waitFor(() => expect(got.toSorted()).toEqual(['{default}:a 1', '{second}:a 1']));
    lists = [...lists, '{red}:a'];
    reader.wake();
    await writer.push('{red}:a', Buffer.from('1'));
    await vi.waitFor(() => expect(got).toContain('{red}:a 1'));
    expect(before.stop()).toBeLessThan(1_500);

    // One place is left; each of the three may hand over one frame at most beyond that.
    await Promise.all(
      lists.flatMap((list) => [2, 3, 4, 5].map((n) => writer.push(list, Buffer.from(`${n}`)))),
    );
    await sleep(300);
    expect(room).toBeGreaterThanOrEqual(-2);
    expect(room).toBeLessThanOrEqual(0);
    room = 100;
    reader.wake();
    await vi.waitFor(() => expect(got).toHaveLength(15));
    for (const list of lists)
      expect(
        got
          .filter((one) => one.startsWith(list))
          .map((one) => one.slice(-1))
          .join(''),
      ).toBe('12345');
  });

  test('stopping ends the waits at their own nodes, at once, and loses nothing', async () => {
    const lists = ['{default}:b', '{second}:b', '{red}:b'];
    const got: string[] = [];
    const reader = await read(
      () => lists,
      () => 10,
      (list) => got.push(list),
    );
    const blocked = async (): Promise<number> => {
      const infos = await Promise.all(eachPrimary(commands).map((primary) => primary.info('clients')));
      return infos.reduce((sum, info) => sum + Number(/blocked_clients:(\d+)/.exec(info)?.[1]), 0);
    };
    await vi.waitFor(async () => expect(await blocked()).toBe(3), 3_000);
    const before = Stopwatch.start();
    await reader.stop();
    // Otherwise it is a second of patience, and the connections are cut off with whatever is on its way.
    expect(before.stop()).toBeLessThan(500);
    for (const list of lists) await commands.rpush(list, 'later');
    await sleep(100);
    expect(got).toEqual([]);
    for (const list of lists) expect(await commands.llen(list)).toBe(1);
  });

  test('commands for several slots go to each of them, and the first error is returned', async () => {
    commands = await ready(connect(cluster.url));
    const names = ['{default}', '{second}', '{red}'];
    await sendTogether(
      commands,
      names.map((name) => [name, (pipeline) => pipeline.set(name, 'x').expire(name, 100)]),
    );
    expect(await Promise.all(names.map((name) => commands.ttl(name)))).toEqual([100, 100, 100]);
    await expect(
      sendTogether(
        commands,
        names.map((name) => [name, (pipeline) => pipeline.lpush(name, 'x')]),
      ),
    ).rejects.toThrow(/WRONGTYPE/);
  });

  test('a primary without the replica that it needs refuses writes, which counts as Redis being away', async () => {
    commands = await ready(connect(cluster.url));
    const all = (value: string): Promise<unknown> =>
      Promise.all(
        cluster.servers.map((one) =>
          one.ask((server) => server.config('SET', 'min-replicas-to-write', value)),
        ),
      );
    await all('1');
    const refused: unknown = await commands.set('x', '1').catch((error: unknown) => error);
    await all('0');
    expect(redisError(refused)).toMatchObject({
      code: 'redis_unavailable',
      message: expect.stringMatching(/NOREPLICAS/) as unknown,
    });
    expect(await commands.set('x', '1')).toBe('OK');
  });

  test('every primary must be set to evict nothing', async () => {
    commands = await ready(connect(cluster.url));
    expect(await keepsEverything(commands)).toBe(true);
    await cluster.servers[2]?.ask((server) => server.config('SET', 'maxmemory-policy', 'allkeys-lru'));
    expect(await keepsEverything(commands)).toBe(false);
    await cluster.servers[2]?.ask((server) => server.config('SET', 'maxmemory-policy', 'noeviction'));
  });
});
