/** Load over HTTP on the loopback: one call at a time, timed here; many at once, by a load generator of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, get } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';

const AUTOCANNON = fileURLToPath(new URL('../node_modules/autocannon/autocannon.js', import.meta.url));

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

/** Milliseconds of each of `count` calls over one kept connection, after a warm-up. */
export async function oneAtATime(url: string, count: number): Promise<number[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const call = (): Promise<void> =>
    new Promise((resolve, reject) => {
      get(url, { agent }, (response) => {
        if (response.statusCode !== 200) reject(new Error(`${url} answered ${response.statusCode}`));
        response.on('end', resolve).resume();
      }).on('error', reject);
    });
  for (let warm = 0; warm < count / 2; warm++) await call();
  const times: number[] = [];
  for (let round = 0; round < count; round++) {
    const start = performance.now();
    await call();
    times.push(performance.now() - start);
  }
  agent.destroy();
  return times;
}

/** Calls per second with `connections` calls under way, in each of `runs` runs of `seconds`. */
export async function manyAtOnce(
  url: string,
  connections: number,
  seconds: number,
  runs: number,
): Promise<number[]> {
  await cannon(url, connections, Math.max(1, seconds / 2));
  const rates: number[] = [];
  for (let run = 0; run < runs; run++) rates.push(await cannon(url, connections, seconds));
  return rates;
}

async function cannon(url: string, connections: number, seconds: number): Promise<number> {
  const child = spawn(
    process.execPath,
    [AUTOCANNON, '--json', '-c', String(connections), '-d', String(seconds), url],
    {
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  );
  let output = '';
  child.stdout.on('data', (text: Buffer) => {
    output += text.toString();
  });
  await once(child, 'close');
  const result = JSON.parse(output) as { requests: { average: number }; non2xx: number; errors: number };
  if (result.non2xx > 0 || result.errors > 0)
    throw new Error(`${url}: ${result.non2xx} bad answers, ${result.errors} errors`);
  return result.requests.average;
}
