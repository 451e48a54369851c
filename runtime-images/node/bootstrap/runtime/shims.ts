/** Built-in functions that would fail in a sandbox although programs count on them: they answer what is true there. */
import { syncBuiltinESMExports } from 'node:module';
import os from 'node:os';

/** The kernel is asked for interfaces by a netlink socket, which the filter refuses. Loopback is there in any case. */
function networkInterfaces(): ReturnType<typeof os.networkInterfaces> {
  const mac = '00:00:00:00:00:00';
  const address = '127.0.0.1';
  return {
    lo: [{ address, netmask: '255.0.0.0', family: 'IPv4', mac, internal: true, cidr: `${address}/8` }],
  };
}

export function installShims(): void {
  os.networkInterfaces = networkInterfaces;
  // For those who import it by name.
  syncBuiltinESMExports();
}
