/**
 * Decides where callbacks may go. Tenants write their URLs, and the gateway stands in a network that tenants must not reach. So
 * each address is checked before anything is sent to it, and names are resolved here, once, to checked addresses. The sender
 * must connect to these and never resolve the name again.
 */
import type { LookupAddress } from 'node:dns';
import { Resolver } from 'node:dns/promises';
import { BlockList, isIP } from 'node:net';
import { PROTECTED_RANGES } from '#contract/functions/network.ts';

/** Ranges protected from sandboxes, and ranges without receivers: documentation, 6to4 relays, the metadata service of Azure. */
const NEVER_V4 = [
  ...PROTECTED_RANGES,
  '192.0.2.0/24',
  '192.88.99.0/24',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '168.63.129.16/32',
];
/** Global unicast. All other forms are refused: loopback, unique local, link-local, multicast, IPv4-mapped and NAT64. */
const GLOBAL_V6 = '2000::/3';
/** Refused parts of global unicast: IETF protocols with Teredo (2001::/32), documentation, and 6to4 with its IPv4 address. */
const NEVER_V6 = ['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20'];

/** Time limit for one DNS query. Over twice this must fit into a delivery's time limit: one of two queries may get no answer. */
const DNS_TIMEOUT_MS = 1_500;
const DNS_TRIES = 2;

/** The receiver is not allowed, now or later. The message is for the owner of the callback. */
export class ReceiverRefused extends Error {
  override readonly name = 'ReceiverRefused';
}

/** Resolves to all addresses of a name. Rejects when it has none. */
export type Resolve = (name: string, signal: AbortSignal) => Promise<readonly LookupAddress[]>;

export interface GuardOptions {
  /** Ranges of internal receivers, such as `10.1.2.0/24`, which are reached on any port. */
  readonly allow: readonly string[];
  /** Ports of all other receivers. */
  readonly ports: ReadonlySet<number>;
  readonly resolve?: Resolve;
}

export class Guard {
  readonly #options: GuardOptions;
  readonly #allowed: BlockList;

  constructor(options: GuardOptions) {
    this.#options = options;
    this.#allowed = listOf(options.allow);
  }

  /**
   * The addresses of a receiver, all of which are allowed. Throws ReceiverRefused when one of them is not: a name with an
   * allowed and a refused address must not choose between them.
   */
  async addresses(url: URL, signal: AbortSignal): Promise<readonly LookupAddress[]> {
    if (url.protocol !== 'http:' && url.protocol !== 'https:')
      throw new ReceiverRefused(`refused: callbacks are sent by http and https, not by ${url.protocol}`);
    const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80));
    const host = url.hostname.replace(/^\[|\]$/g, '');
    const family = isIP(host);
    const found =
      family === 0
        ? await (this.#options.resolve ?? askNameServers)(host, signal)
        : [{ address: host, family }];
    // The error of a name hides the address: its owner must not learn the internal addresses that the name servers know.
    const what =
      family === 0 ? `${host} leads to an address that is not public` : `${host} is no public address`;
    for (const { address } of found) this.#check(address, port, what);
    return found;
  }

  #check(address: string, port: number, what: string): void {
    const family = isIP(address);
    if (family !== 0 && this.#allowed.check(address, family === 4 ? 'ipv4' : 'ipv6')) return;
    const isPublic = family === 4 ? !PROTECTED_V4.check(address) : family === 6 && isGlobalV6(address);
    if (!isPublic) {
      throw new ReceiverRefused(`refused: ${what}; the operator can allow it by OFFSHOOT_CALLBACK_ALLOW`);
    }
    if (this.#options.ports.has(port)) return;
    throw new ReceiverRefused(
      `refused: port ${port} is not one of ${[...this.#options.ports].join(', ')}; the operator can add it to OFFSHOOT_CALLBACK_PORTS`,
    );
  }
}

const PROTECTED_V4 = listOf(NEVER_V4);
const GLOBAL = listOf([GLOBAL_V6]);
const PROTECTED_V6 = listOf(NEVER_V6);

function isGlobalV6(address: string): boolean {
  return GLOBAL.check(address, 'ipv6') && !PROTECTED_V6.check(address, 'ipv6');
}

/** Parses addresses and ranges. Throws an Error with the reason when a text is neither an address nor `address/bits`. */
export function listOf(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const [address = '', bits, ...rest] = range.split('/');
    const family = isIP(address);
    const most = family === 4 ? 32 : 128;
    const length = bits === undefined ? most : Number(bits);
    if (family === 0 || rest.length > 0 || !/^\d{1,3}$/.test(bits ?? '0') || length > most)
      throw new Error(`"${range}" is not an address or range such as 10.1.2.0/24 or fd00::/8`);
    list.addSubnet(address, length, family === 4 ? 'ipv4' : 'ipv6');
  }
  return list;
}

/**
 * Asks the name servers of the host, but not its hosts file, which names internal machines. It does not use getaddrinfo(3),
 * which has four threads for the whole process: slow answers would delay all file operations and deliveries. `servers`: used
 * instead of the host's, such as `127.0.0.1:5353`.
 */
export async function askNameServers(
  name: string,
  signal: AbortSignal,
  servers?: readonly string[],
): Promise<readonly LookupAddress[]> {
  // Never asked of a server: https://www.rfc-editor.org/rfc/rfc6761#section-6.3
  if (/(?:^|\.)localhost\.?$/.test(name)) return [{ address: '127.0.0.1', family: 4 }];
  const resolver = new Resolver({ timeout: DNS_TIMEOUT_MS, tries: DNS_TRIES });
  if (servers) resolver.setServers(servers);
  const cancel = (): void => resolver.cancel();
  signal.addEventListener('abort', cancel, { once: true });
  try {
    const [four, six] = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
    const found = [
      ...(four.status === 'fulfilled' ? four.value.map((address) => ({ address, family: 4 })) : []),
      ...(six.status === 'fulfilled' ? six.value.map((address) => ({ address, family: 6 })) : []),
    ];
    if (found.length > 0) return found;
    throw four.status === 'rejected' ? four.reason : new Error(`${name} has no address`);
  } finally {
    signal.removeEventListener('abort', cancel);
  }
}
