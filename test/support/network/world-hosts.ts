/**
 * The hosts of a test's world, one process: `world-hosts.ts PORT,... ADDRESS...`. Each answers over TCP and UDP with
 * its address.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';

const [ports = '', ...addresses] = process.argv.slice(2);
const last = Number(ports.split(',').at(-1));
const services = addresses.flatMap((address) =>
  ports.split(',').map((port) => ({ address, port: Number(port) })),
);
await Promise.all(
  services.map(async ({ address, port }) => {
    const tcp = createServer((socket) => {
      socket.on('error', () => undefined);
      // Read, so that the end of the caller is noticed.
      socket.resume().write(`tcp ${address}`);
      // The last of the ports keeps its connections open.
      if (port !== last) socket.end();
    }).listen(port, address);
    const udp = createSocket('udp4').bind(port, address);
    udp.on('message', (_, from) => udp.send(`udp ${address}`, from.port, from.address));
    await Promise.all([once(tcp, 'listening'), once(udp, 'listening')]);
  }),
);
process.stdout.write('ready\n');
// Ends with the test, however that ends.
process.stdin.on('end', () => process.exit()).resume();
