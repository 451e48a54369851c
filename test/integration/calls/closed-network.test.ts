/** Clients that people use reach for the network in a function without `network.egress`: record, log and answer name the destination. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ErrorBody } from '#contract/api/errors.ts';
import { Platform } from '../../support/platform/platform.ts';

const SOURCE = `import dns from 'node:dns'; import net from 'node:net'; import tls from 'node:tls';
import { resolve4 } from 'node:dns/promises'; import { promisify } from 'node:util';
const error = (socket) => new Promise((resolve) => socket.once('error', resolve));
const WAYS = {
  fetch: () => fetch('https://api.example.com/'),
  pg: async () => { throw await error(new net.Socket().connect(5432, 'db.example.com')); },
  tls: async () => { throw await error(tls.connect(443, 'mail.example.com')); },
  address: async () => { throw await error(net.connect(5432, '192.0.2.7')); },
  lookup: () => promisify(dns.lookup)('cache.example.com'),
  resolve: () => resolve4('resolved.example.com'),
  srv: () => dns.promises.resolveSrv('_mongodb._tcp.example.com'),
  hidden: () => fetch('https://stripe.example.com/').catch(() => { throw new Error('Connection error.'); }),
};
export default { async fetch(request) {
  const way = new URL(request.url).searchParams.get('way');
  if (way === 'local') {
    const server = net.createServer().listen(0, '127.0.0.1');
    await new Promise((r) => server.once('listening', r));
    const socket = net.connect(server.address().port, 'localhost');
    await new Promise((r) => socket.once('connect', r));
    socket.destroy(); server.close();
    const refused = await error(net.connect(1, '127.0.0.1'));
    return new Response(refused.code);
  }
  if (way === 'name') return new Response((await dns.promises.lookup('nothing.example.com').catch((e) => e)).code);
  await WAYS[way]();
  return new Response('reached');
} };`;

let platform: Platform;

async function deploy(name: string, source: string): Promise<string> {
  const folder = join(platform.state, 'projects', name);
  await mkdir(join(folder, 'src'), { recursive: true });
  await writeFile(join(folder, 'src/index.mjs'), source);
  await writeFile(
    join(folder, 'offshoot.json'),
    JSON.stringify({ name, entry: 'src/index.mjs', access: 'public' }),
  );
  const { code, stdout, stderr } = await platform.cli('deploy', folder, '--json');
  return code === 0 ? 'deployed' : stdout + stderr;
}

async function linesOf(name: string, id: string): Promise<string[]> {
  const { stdout } = await platform.cli('logs', name, '-i', id);
  return stdout.split('\n').filter((line) => line.includes('network:'));
}

describe('a function without network.egress', () => {
  beforeAll(async () => {
    platform = await Platform.start({}, []);
    expect(await deploy('closed', SOURCE)).toBe('deployed');
  }, 60_000);
  afterAll(() => platform.stop());

  test.each([
    ['fetch', 'dns api.example.com', 'api.example.com:PORT'],
    ['pg', 'dns db.example.com', 'db.example.com:PORT'],
    ['tls', 'dns mail.example.com', 'mail.example.com:PORT'],
    ['address', 'tcp 192.0.2.7:5432', '192.0.2.7:5432'],
    ['lookup', 'dns cache.example.com', 'cache.example.com:PORT'],
    ['resolve', 'dns resolved.example.com', 'resolved.example.com:PORT'],
    ['srv', 'dns _mongodb._tcp.example.com', '_mongodb._tcp.example.com:PORT'],
    ['hidden', 'dns stripe.example.com', 'stripe.example.com:PORT'],
  ])('gets the destination of %s in record and answer [NE8]', async (way, to, rule) => {
    const response = await platform.call(`closed/?way=${way}`, {
      headers: { authorization: `Bearer ${platform.key}` },
    });
    expect(response.status).toBe(500);
    const { error } = (await response.clone().json()) as ErrorBody;
    const record = await platform.record(response);
    expect(record.report?.denied?.map((denied) => denied.to)).toEqual([to]);
    expect(error.next).toContain(`"${rule}" to "network.egress"`);
    const { stdout } = await platform.cli('why', record.id);
    expect(stdout.replaceAll(/\s+/g, ' ')).toContain(`The network refused it ${to}.`);
  });

  test('has one line of the platform in its log, at the first refusal of a sandbox [NE8]', async () => {
    expect(await deploy('once', SOURCE)).toBe('deployed');
    const first = await platform.record(await platform.call('once/?way=hidden'));
    const second = await platform.record(await platform.call('once/?way=hidden'));
    expect(second.report?.sandbox).toBe(first.report?.sandbox);
    const lines = await linesOf('once', first.id);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain('network: dns stripe.example.com is out of reach');
    expect(lines[0]).toContain('"stripe.example.com:PORT" to "network.egress"');
    expect(await linesOf('once', second.id)).toEqual([]);
  });

  test('has no refusal for its own loopback [NE8]', async () => {
    const response = await platform.call('closed/?way=local');
    expect(await response.text()).toBe('ECONNREFUSED');
    expect((await platform.record(response)).report?.denied).toBeUndefined();
  });

  test('finds that a name is unknown, and not that it should ask again [NE8]', async () => {
    expect(await (await platform.call('closed/?way=name')).text()).toBe('ENOTFOUND');
  });

  test('an anonymous caller does not see the destination [NE8]', async () => {
    const body = await (await platform.call('closed/?way=hidden')).text();
    expect(body).not.toContain('stripe.example.com');
  });

  test('a module that connects while it loads fails the deploy with the destination [NE8]', async () => {
    const said = await deploy('loads', `await fetch('https://config.example.com/');\n${SOURCE}`);
    expect(said).toContain('network: dns config.example.com is out of reach');
  });
});
