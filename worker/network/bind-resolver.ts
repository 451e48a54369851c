/**
 * Binds the resolver's socket inside an egress namespace and sends it to the worker, which started this program and lives in
 * another namespace. A socket belongs to the namespace in which it was made, whichever process holds it.
 */
import { createSocket } from 'node:dgram';
import { RESOLVER_ADDRESS } from '#contract/functions/network.ts';

const DNS_PORT = 53;

const socket = createSocket('udp4');
socket.on('error', (error) => {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
  process.disconnect?.();
});
socket.bind({ port: DNS_PORT, address: RESOLVER_ADDRESS, exclusive: true }, () => {
  process.send?.('resolver', socket, {}, () => {
    socket.close();
    process.disconnect?.();
  });
});
