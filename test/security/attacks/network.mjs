/** Attempts to reach another sandbox or the host over sockets. */
import { connect, createServer } from 'node:net';

const open = [];

/** Serves on loopback and in the abstract namespace. */
export const serve = async ([name]) => {
  const addresses = [];
  for (const place of [{ port: 0, host: '127.0.0.1' }, { path: `\0${name}` }]) {
    const server = createServer((socket) => socket.end('reached')).listen(place);
    await new Promise((resolve) => server.once('listening', resolve));
    open.push(server);
    addresses.push(server.address());
  }
  return [{ call: 'port', value: String(addresses[0].port) }];
};

/** Arguments are ports of 127.0.0.1, or names of abstract sockets, or paths of sockets. */
export const reach = (targets) =>
  Promise.all(
    targets.map(
      (target) =>
        new Promise((resolve) => {
          const place = /^\d+$/.test(target)
            ? { port: Number(target), host: '127.0.0.1' }
            : { path: target.startsWith('/') ? target : `\0${target}` };
          const socket = connect(place);
          let value = '';
          socket.on('data', (bytes) => (value += bytes));
          socket.on('end', () => resolve({ call: `connect ${target}`, succeeded: true, value }));
          socket.on('error', (error) =>
            resolve({ call: `connect ${target}`, succeeded: false, errno: error.code }),
          );
        }),
    ),
  );
