/**
 * Tries to reach the given addresses, in JavaScript or by the native program, and answers with the results of the
 * system calls.
 */
import { spawn } from 'node:child_process';
import { lookup, resolve4 } from 'node:dns/promises';
import { once } from 'node:events';
import { createServer, createConnection } from 'node:net';
import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';

const PATIENCE_MS = 2_000;

/** The error's code, or nothing when the address was reached; and the milliseconds until then. */
async function timed(address, action) {
  const start = performance.now();
  let error = '';
  try {
    await action(AbortSignal.timeout(PATIENCE_MS));
  } catch (thrown) {
    error = thrown.cause?.code ?? thrown.code ?? thrown.name;
  }
  return { address, error, ms: performance.now() - start };
}

const probes = {
  tcp: (address, port) =>
    timed(address, async (signal) => {
      const socket = createConnection(
        address.startsWith('@')
          ? { path: `\0${address.slice(1)}` }
          : port
            ? { host: address, port }
            : { path: address },
      );
      try {
        await once(socket, 'connect', { signal });
      } finally {
        socket.destroy();
      }
    }),
  udp: (address, port) =>
    timed(address, async () => {
      const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
      try {
        await new Promise((resolve, reject) => {
          socket.on('error', reject);
          socket.send('x', port, address, (error) => (error ? reject(error) : resolve()));
        });
      } finally {
        socket.close();
      }
    }),
  fetch: (address) => timed(address, (signal) => fetch(address, { signal })),
  lookup: (address) => timed(address, () => lookup(address)),
  resolve: (address) => timed(address, () => resolve4(address)),
};

/** Runs the native program without blocking, since one sandbox runs many probes. */
async function native(words) {
  const child = spawn('/var/task/abuse', words, { stdio: ['ignore', 'pipe', 'ignore'] });
  let text = '';
  child.stdout.on('data', (bytes) => (text += bytes));
  await once(child, 'close');
  return JSON.parse(text);
}

export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === '/probe') {
      const results = [];
      for (const { kind, address, port, how } of await request.json()) {
        results.push(
          how === 'native'
            ? await native([kind, address, String(port ?? 0)])
            : await probes[kind](address, port),
        );
      }
      return Response.json(results);
    }
    if (pathname === '/sockets') {
      const results = [];
      for (const wanted of await request.json())
        results.push(await native(['socket', ...wanted.map(String)]));
      return Response.json(results);
    }
    if (pathname === '/interfaces') {
      // os.networkInterfaces() asks by netlink, which is refused.
      const lines = readFileSync('/proc/self/net/dev', 'utf8').split('\n').slice(2).filter(Boolean);
      return Response.json(lines.map((line) => line.split(':')[0]?.trim()));
    }
    // A server and its client in one sandbox; the port stays open while the test probes it from outside.
    const server = createServer((socket) => socket.end('inside')).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address();
    const socket = createConnection(port, '127.0.0.1');
    let text = '';
    for await (const bytes of socket) text += bytes;
    return Response.json({ port, text });
  },
};
