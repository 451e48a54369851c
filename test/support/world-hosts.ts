/** The hosts of a test's world, one process: `world-hosts.ts PORT ADDRESS...`. Each answers over TCP and UDP who it is. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';

const [port, ...addresses] = process.argv.slice(2);
await Promise.all(
  addresses.map(async (address) => {
    const tcp = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.end(`tcp ${address}`);
    }).listen(Number(port), address);
    const udp = createSocket('udp4').bind(Number(port), address);
    udp.on('message', (_, from) => udp.send(`udp ${address}`, from.port, from.address));
    await Promise.all([once(tcp, 'listening'), once(udp, 'listening')]);
  }),
);
process.stdout.write('ready\n');
// Ends with the test, however that ends.
process.stdin.on('end', () => process.exit()).resume();
