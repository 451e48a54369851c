/** Address of the gateway from this host, computed from the address that it listens at. */
import { isIPv6 } from 'node:net';

/** Addresses that stand for all of the host's. */
const ANY: readonly string[] = ['0.0.0.0', '::'];

/** Address or name to connect to; without a host, the gateway's default. */
export function reachableHost(host: string | undefined): string {
  return host === undefined || ANY.includes(host) ? '127.0.0.1' : host;
}

/** The address as a URL needs it. */
export function urlHost(host: string): string {
  return isIPv6(host) ? `[${host}]` : host;
}
