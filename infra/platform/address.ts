/** Where the gateway is reached from this host, by what it was told to listen at. */
import { isIPv6 } from 'node:net';

/** Addresses that stand for all of the host's. */
const ANY: readonly string[] = ['0.0.0.0', '::'];

/** Address or name to connect to; the one that the gateway listens at by default without a host. */
export function reachableHost(host: string | undefined): string {
  return host === undefined || ANY.includes(host) ? '127.0.0.1' : host;
}

/** As it stands in a URL. */
export function urlHost(host: string): string {
  return isIPv6(host) ? `[${host}]` : host;
}
