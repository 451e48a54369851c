/** Fixtures of the gateway tests: a Redis of their own and a gateway in this process. */
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { request, type IncomingHttpHeaders, type IncomingMessage, type RequestOptions } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { Redis } from 'ioredis';
import { keys } from '#contract/platform/keys.ts';
import type { Log } from '#storage/log.ts';
import { connectRedis } from '#storage/redis/redis.ts';
import { parseEnvironment } from '../../../gateway/env.ts';
import { Gateway } from '../../../gateway/gateway.ts';
import { FunctionRepository } from '#storage/functions/function-repository.ts';
import type { Telemetry } from '#telemetry/spans.ts';
import { storeFunction } from '../platform/stored-function.ts';
import type { PrivateRedis } from '../redis/private-redis.ts';

export { PrivateRedis } from '../redis/private-redis.ts';

/** Logs nothing, so that the output of a test run is that of the tests. */
export const QUIET: Log = { info: () => undefined, warn: () => undefined, error: () => undefined };

export interface TestGateway {
  readonly url: string;
  readonly port: number;
  /** The admin key of the installation. */
  readonly key: string;
  readonly state: string;
  readonly functions: FunctionRepository;
  readonly commands: Redis;
  /** Stores a function without a deploy, so that a test of calls needs no archive. */
  add(name: string, manifest?: object, namespace?: string): Promise<void>;
  close(graceMs?: number): Promise<void>;
}

/** A gateway in this process, on a free port. */
export async function startGateway(
  redis: PrivateRedis,
  options: { env?: Record<string, string>; log?: Log; state?: string; telemetry?: Telemetry } = {},
): Promise<TestGateway> {
  const state = options.state ?? (await mkdtemp(join(tmpdir(), 'offshoot-state-')));
  const env = parseEnvironment({
    OFFSHOOT_PORT: '0',
    OFFSHOOT_STATE: state,
    REDIS_URL: redis.url,
    ...options.env,
  });
  const log = options.log ?? QUIET;
  const gateway = new Gateway({
    env,
    version: '0.0.0',
    log,
    telemetry: options.telemetry,
    showKey: () => undefined,
  });
  const { port } = await gateway.listen();
  const commands = connectRedis(redis.url, 'commands', QUIET);
  const functions = new FunctionRepository(commands);
  const key = await readWhenThere(join(state, 'admin-key'));
  // The key is in its file a moment before it is in Redis.
  await waitFor(async () => (await commands.hlen(keys.apiKeys())) > 0);
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    key,
    state,
    functions,
    commands,
    async add(name, manifest = {}, namespace = 'default') {
      await storeFunction(functions, { name, access: 'public', ...manifest }, { namespace });
      await functions.announce(`${namespace}/${name}`);
    },
    async close(graceMs = 200) {
      await gateway.close(graceMs);
      commands.disconnect();
      if (options.state === undefined) await rm(state, { recursive: true, force: true });
    },
  };
}

async function readWhenThere(path: string): Promise<string> {
  let text = '';
  await waitFor(async () => {
    text = await readFile(path, 'utf8').catch(() => '');
    return text.endsWith('\n');
  });
  return text.trim();
}

/**
 * Waits until a condition holds; a command that fails because Redis is away counts as not yet. The wait depends on how
 * busy the machine is, so the default is long. A test whose promise is a time measures the time itself.
 */
export async function waitFor(
  condition: () => Promise<boolean> | boolean,
  patienceMs = 25_000,
): Promise<void> {
  const end = performance.now() + patienceMs;
  while (
    !(await Promise.resolve()
      .then(condition)
      .catch(() => false))
  ) {
    if (performance.now() > end) throw new Error('waited in vain');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A port that was free a moment ago, for a program that must know its port before it listens. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export interface RawResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: string[];
  readonly body: Buffer;
  json(): unknown;
}

export interface RawRequest extends RequestOptions {
  readonly body?: Uint8Array | string | AsyncIterable<Uint8Array>;
}

/** An HTTP request that is sent exactly as written: no path is normalised, no header merged. */
export async function send(
  gateway: { port: number },
  path: string,
  options: RawRequest = {},
): Promise<RawResponse> {
  const { body, ...rest } = options;
  const sent = request({ host: '127.0.0.1', port: gateway.port, path, agent: false, ...rest });
  const answered = once(sent, 'response') as Promise<[IncomingMessage]>;
  if (body !== undefined && typeof body !== 'string' && !(body instanceof Uint8Array)) {
    Readable.from(body)
      .on('error', () => undefined)
      .pipe(sent);
  } else sent.end(body);
  const [response] = await answered;
  sent.on('error', () => undefined);
  const bytes = Buffer.concat(await response.toArray());
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    rawHeaders: response.rawHeaders,
    body: bytes,
    json: () => JSON.parse(bytes.toString()) as unknown,
  };
}
