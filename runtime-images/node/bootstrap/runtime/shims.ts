/**
 * Replaces built-in functions that would fail in a sandbox although programs rely on them. The replacements answer truthfully.
 */
import { syncBuiltinESMExports } from 'node:module';
import os from 'node:os';

/** Node reads interfaces through a netlink socket, which the filter refuses. Loopback exists in any case. */
function networkInterfaces(): ReturnType<typeof os.networkInterfaces> {
  const mac = '00:00:00:00:00:00';
  const address = '127.0.0.1';
  return {
    lo: [{ address, netmask: '255.0.0.0', family: 'IPv4', mac, internal: true, cidr: `${address}/8` }],
  };
}

export function installShims(): void {
  os.networkInterfaces = networkInterfaces;
  // Named imports see the replacement too.
  syncBuiltinESMExports();
}
