/** A Redis for the tests of a file, with a connection to it. */
import { once } from 'node:events';
import type { Redis } from 'ioredis';
import pino from 'pino';
import { afterAll, beforeAll, beforeEach } from 'vitest';
import { connectRedis, type RedisRole } from '#storage/redis/redis.ts';
import { PrivateRedis } from './private-redis.ts';

/** A ready connection of the platform's, which logs nothing. */
export async function readyConnection(url: string, role: RedisRole = 'commands'): Promise<Redis> {
  const redis = connectRedis(url, role, pino({ level: 'silent' }));
  await once(redis, 'ready');
  return redis;
}

interface Options {
  readonly role?: RedisRole;
  /** Each test finds it empty. */
  readonly flush?: boolean;
}

/** Starts a Redis for the tests that follow, and stops it after them. `use` gets the parts that the tests need. */
export function redisForTests(
  use: (redis: Redis, server: PrivateRedis) => void | Promise<void>,
  { role, flush = false }: Options = {},
): void {
  let server: PrivateRedis | undefined;
  let redis: Redis | undefined;
  beforeAll(async () => {
    server = await PrivateRedis.start();
    redis = await readyConnection(server.url, role);
    await use(redis, server);
  });
  if (flush) beforeEach(() => redis?.flushall());
  afterAll(async () => {
    redis?.disconnect();
    await server?.stop();
  });
}
