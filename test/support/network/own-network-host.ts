/**
 * The host of a test's own network: `own-network-host.ts SOCKET PORT`. Its server says "the host" on every address. A
 * connection to SOCKET, from outside, leads to PORT of the loopback here.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect, createServer as createForwarder, type AddressInfo } from 'node:net';

const [socket = '', port = ''] = process.argv.slice(2);
const host = createServer((_, response) => response.end('the host')).listen(0, '0.0.0.0');
const forwarder = createForwarder({ allowHalfOpen: true }, (outside) => {
  const inside = connect({ port: Number(port), host: '127.0.0.1', allowHalfOpen: true });
  inside.on('error', () => outside.destroy());
  outside.on('error', () => inside.destroy());
  outside.pipe(inside).pipe(outside);
}).listen(socket);
await Promise.all([once(host, 'listening'), once(forwarder, 'listening')]);
process.stdout.write(`${(host.address() as AddressInfo).port}\n`);
// Ends with the test, however that ends.
process.stdin.on('end', () => process.exit()).resume();
