/** The whole path: HTTP, gateway, Redis, worker, sandbox and back, beside servers that have less to do. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Platform } from '../test/support/platform.ts';
import { freePort, manyAtOnce, oneAtATime } from './http-load.ts';
import { bullmqRows } from './peers/bullmq.ts';
import { figure, type Section } from './stats.ts';

export interface WarmCounts {
  readonly calls: number;
  readonly seconds: number;
  readonly runs: number;
}

const CONNECTIONS = 64;
const peer = (name: string): string => fileURLToPath(new URL(`peers/${name}`, import.meta.url));

interface Server {
  readonly name: string;
  readonly url: string;
  stop(): Promise<void>;
}

export async function warmSections({ calls, seconds, runs }: WarmCounts): Promise<Section[]> {
  const platform = await Platform.start({ OFFSHOOT_LOG_LEVEL: 'error' });
  const servers: Server[] = [];
  try {
    // A function that does as little as the peers do: a small JSON answer, nothing logged.
    await platform.deploy('faulty', { name: 'hello' });
    servers.push({
      name: 'offshoot, whole path',
      url: `${platform.url}/fn/default/hello/ok`,
      stop: () => platform.stop(),
    });
    servers.push(await script('hono alone (no queue, no sandbox)', peer('hono.ts')));
    servers.push(await script('node:http alone', peer('node-http.ts')));
    servers.push(await workerd());
    const single = [];
    for (const { name, url } of servers) single.push(figure(name, 'ms', await oneAtATime(url, calls)));
    const many = [];
    for (const { name, url } of servers) {
      many.push(figure(name, 'per second', await manyAtOnce(url, CONNECTIONS, seconds, runs)));
    }
    const bullmq = await bullmqRows(platform.redis.url, calls, CONNECTIONS);
    return [
      { title: 'Warm calls over HTTP, one at a time', figures: [...single, bullmq.single] },
      { title: `Warm calls over HTTP, ${CONNECTIONS} at a time`, figures: [...many, bullmq.many] },
    ];
  } finally {
    for (const server of servers) await server.stop();
  }
}

async function script(name: string, path: string): Promise<Server> {
  const port = await freePort();
  return served(name, port, spawn(process.execPath, [path, String(port)], { stdio: 'ignore' }));
}

/** workerd, from npm: the same function as a module worker. */
async function workerd(): Promise<Server> {
  const port = await freePort();
  const directory = await mkdtemp(join(tmpdir(), 'offshoot-workerd-'));
  await writeFile(
    join(directory, 'worker.mjs'),
    "export default { fetch: () => Response.json({ greeting: 'Hello' }) };",
  );
  await writeFile(
    join(directory, 'config.capnp'),
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = (modules = [(name = "worker", esModule = embed "worker.mjs")], compatibilityDate = "2025-01-01"))],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")]
);
`,
  );
  const binary = fileURLToPath(
    new URL('../node_modules/@cloudflare/workerd-linux-64/bin/workerd', import.meta.url),
  );
  const child = spawn(binary, ['serve', join(directory, 'config.capnp')], { stdio: 'ignore' });
  return await served('workerd (in-process, no queue, no sandbox)', port, child, () =>
    rm(directory, { recursive: true }),
  );
}

async function served(
  name: string,
  port: number,
  child: ChildProcess,
  cleanUp = async () => undefined as void,
): Promise<Server> {
  const url = `http://127.0.0.1:${port}/`;
  const end = Date.now() + 10_000;
  while (
    !(await fetch(url).then(
      (response) => response.ok,
      () => false,
    ))
  ) {
    if (Date.now() > end) throw new Error(`${name} does not answer on ${url}`);
    await sleep(50);
  }
  const stop = async (): Promise<void> => {
    child.kill();
    await cleanUp();
  };
  return { name, url, stop };
}
