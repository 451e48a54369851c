/** The gateway as a process: its output at the start, its errors, and its end. */
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { freePort, PrivateRedis, send, waitFor } from '../../support/gateway/fixture.ts';

const MAIN = new URL('../../../gateway/main.ts', import.meta.url).pathname;

type Child = ChildProcessByStdio<null, Readable, Readable>;

let redis: PrivateRedis;
let state = '';
const children: Child[] = [];

beforeAll(async () => {
  redis = await PrivateRedis.start();
  state = await mkdtemp(join(tmpdir(), 'offshoot-state-'));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});
afterAll(async () => {
  await redis.stop();
  await rm(state, { recursive: true, force: true });
});

/** The process gets this environment and no other variable. */
function start(env: Record<string, string>): Child {
  const child = spawn(process.execPath, [MAIN], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  return child;
}

async function exitCode(child: Child): Promise<unknown> {
  const [code] = (await once(child, 'exit')) as [unknown];
  return code;
}

test('a gateway shows the key once, serves, and ends cleanly on SIGTERM', async () => {
  const port = await freePort();
  const env = { OFFSHOOT_STATE: state, REDIS_URL: redis.url, OFFSHOOT_PORT: String(port) };
  const first = start(env);
  const output = text(first.stdout);
  await waitFor(async () => (await send({ port }, '/healthz')).status === 200);
  await waitFor(async () => (await readFile(join(state, 'admin-key'), 'utf8').catch(() => '')).length > 0);
  const key = (await readFile(join(state, 'admin-key'), 'utf8')).trim();
  await waitFor(
    async () => (await send({ port }, '/api/v1/whoami', { headers: { 'x-api-key': key } })).status === 200,
  );
  first.kill('SIGTERM');
  expect(await exitCode(first)).toBe(0);
  expect((await output).split(key)).toHaveLength(2);

  const second = start(env);
  const again = text(second.stdout);
  await waitFor(async () => (await send({ port }, '/healthz')).status === 200);
  second.kill('SIGINT');
  expect(await exitCode(second)).toBe(0);
  expect(await again).not.toContain(key);
});

test('a gateway refuses an invalid environment, and says why', async () => {
  const child = start({ OFFSHOOT_STATE: state, OFFSHOOT_PORT: 'eighty', REDIS_URL: 'localhost' });
  const errors = text(child.stderr);
  expect(await exitCode(child)).toBe(2);
  expect(await errors).toMatch(/OFFSHOOT_PORT: [^]*REDIS_URL: "localhost" is not the address of a Redis/);
});

test('a gateway says so when its port is taken [ST9]', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  const child = start({ OFFSHOOT_STATE: state, REDIS_URL: redis.url, OFFSHOOT_PORT: String(port) });
  const output = text(child.stdout);
  expect(await exitCode(child)).toBe(1);
  expect(await output).toMatch(/the part \\"http\\" did not start: listen EADDRINUSE/);
  // Those before it are stopped.
  for (const part of ['dispatch', 'spool', 'redis'])
    expect(await output).toMatch(new RegExp(`"part":"${part}".*"part stopped"`));
  other.close();
});
