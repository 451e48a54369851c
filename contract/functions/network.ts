/**
 * Network destinations of a function: the rules of `network.egress` in offshoot.json, as text and as data, and the ranges that
 * no rule reaches by accident.
 */
import { z } from 'zod';

export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** IPv4 addresses as numbers, so that ranges can be compared. */
export interface AddressRange {
  readonly first: number;
  readonly last: number;
}

export type EgressRule =
  | {
      readonly kind: 'address';
      readonly cidr: string;
      readonly range: AddressRange;
      readonly ports: PortRange;
    }
  /** `subdomains`: the rule was `*.name`, for every name below it and not the name itself. */
  | { readonly kind: 'name'; readonly name: string; readonly subdomains: boolean; readonly ports: PortRange };

/** Address of the resolver in a sandbox; the native side also writes it into the sandbox's /etc/resolv.conf. */
export const RESOLVER_ADDRESS = '198.19.255.53';
/**
 * Addresses of the network between sandboxes and the host (RFC 2544: reserved for benchmarks). No rule may name them, so a rule
 * can never mean another sandbox.
 */
export const INNER_RANGE = '198.18.0.0/15';

/**
 * Ranges that only a rule within one of them reaches: this host, private networks, and link-local with the metadata services of
 * clouds. They include all addresses that are not unicast (IANA IPv4 Special-Purpose Address Registry). `0.0.0.0/0:443`
 * therefore means every public address.
 */
export const PROTECTED_RANGES = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.168.0.0/16',
  INNER_RANGE,
  '224.0.0.0/4',
  '240.0.0.0/4',
] as const;

export const MAX_EGRESS_RULES = 64;
const LAST_PORT = 65_535;
const DOMAIN = /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])$/;
const MAX_NAME = 253;

/** Undefined if the text is not four numbers from 0 to 255. */
export function parseAddress(text: string): number | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (!match) return undefined;
  let address = 0;
  for (const part of match.slice(1)) {
    // A leading zero means octal to some readers, so it is refused as ambiguous.
    if (Number(part) > 255 || (part.length > 1 && part.startsWith('0'))) return undefined;
    address = address * 256 + Number(part);
  }
  return address;
}

export function formatAddress(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join('.');
}

/** Throws with the reason if the text is not an address or `address/bits` without host bits. */
export function parseCidr(text: string): AddressRange {
  const [base = '', bits = '32', ...rest] = text.split('/');
  const first = parseAddress(base);
  const length = Number(bits);
  if (first === undefined || rest.length > 0 || !/^\d{1,2}$/.test(bits) || length > 32)
    throw new Error(`"${text}" is not an IPv4 address or range such as 10.1.2.0/24`);
  const size = 2 ** (32 - length);
  if (first % size !== 0)
    throw new Error(
      `"${text}" has bits beyond its length; did you mean ${formatAddress(first - (first % size))}/${length}?`,
    );
  return { first, last: first + size - 1 };
}

export function within(inner: AddressRange, outer: AddressRange): boolean {
  return inner.first >= outer.first && inner.last <= outer.last;
}

function overlaps(one: AddressRange, other: AddressRange): boolean {
  return one.first <= other.last && other.first <= one.last;
}

function parsePorts(text: string): PortRange {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  const first = Number(match?.[1]);
  const last = match?.[2] === undefined ? first : Number(match[2]);
  if (!match || first < 1 || last > LAST_PORT)
    throw new Error(`"${text}" is not a port from 1 to ${LAST_PORT} or a range such as 8000-8010`);
  if (last < first) throw new Error(`the port range "${text}" ends before it begins`);
  return { first, last };
}

/** Throws an Error with the reason as its message, for people. */
export function parseEgressRule(text: string): EgressRule {
  if (text.startsWith('[') || text.split(':').length > 2)
    throw new Error('sandboxes have no IPv6; name an IPv4 address or a domain');
  const [host = '', portText] = text.split(':');
  if (portText === undefined) throw new Error(`"${text}" has no port; write host:port, such as ${text}:443`);
  const ports = parsePorts(portText);
  // A host of digits and dots, or with a slash, is an address or a mistake in one, never a name.
  if (/^[\d./]+$/.test(host) || host.includes('/')) return addressRule(host, ports);
  const subdomains = host.startsWith('*.');
  const name = subdomains ? host.slice(2) : host;
  if (name.includes('*'))
    throw new Error(`"${host}": a star may only replace whole labels at the front, as in *.example.com`);
  if (name !== name.toLowerCase()) throw new Error(`"${host}": write domains in lower case`);
  if (name.length > MAX_NAME || !DOMAIN.test(name))
    throw new Error(`"${host}" is not a domain of two labels or more, such as example.com or *.example.com`);
  return { kind: 'name', name, subdomains, ports };
}

function addressRule(host: string, ports: PortRange): EgressRule {
  const range = parseCidr(host);
  if (overlaps(range, parseCidr('127.0.0.0/8')) && range.last - range.first < 2 ** 31)
    throw new Error(`"${host}": 127.0.0.0/8 is the sandbox itself, never the host`);
  if (within(range, parseCidr(INNER_RANGE)))
    throw new Error(
      `"${host}": ${INNER_RANGE} lies between sandboxes and the host, and no sandbox reaches another`,
    );
  return { kind: 'address', cidr: host.includes('/') ? host : `${host}/32`, range, ports };
}

export const Network = z.strictObject({
  egress: z
    .array(
      z.string().superRefine((text, context) => {
        try {
          parseEgressRule(text);
        } catch (error) {
          context.addIssue({
            code: 'custom',
            message: error instanceof Error ? error.message : String(error),
          });
        }
      }),
    )
    .max(MAX_EGRESS_RULES)
    .default([])
    .describe(
      'TCP destinations that the function may connect to, such as 10.1.2.0/24:443, example.com:443, *.example.com:443 or 1.2.3.4:80-90. Private and host addresses only if named. Default: none.',
    ),
});
export type Network = z.infer<typeof Network>;

/** A refused connection attempt of a sandbox, for the record of the invocation. */
export const DeniedEgress = z.object({
  /** `tcp 192.0.2.1:80`, `udp 192.0.2.1:123`, `icmp 192.0.2.1` or `dns example.com`. */
  to: z.string(),
  /** Packets or queries. */
  count: z.number(),
});
export type DeniedEgress = z.infer<typeof DeniedEgress>;

/** Upper bound on the characters of a destination: a name has fewer. */
const MAX_DESTINATION = 300;

/** Reads a destination that a sandbox has told. Returns undefined for text of another form, since a function can send any. */
export function parseDestination(text: string): string | undefined {
  return text.length <= MAX_DESTINATION && /^(?:dns|tcp) [\w.:*-]+$/.test(text) ? text : undefined;
}

/**
 * Says how to allow the first of the refused destinations. A name is refused before its port is known, and a rule needs both.
 * Undefined where no rule helps: rules are for TCP.
 */
export function egressAdvice(denied: readonly DeniedEgress[]): string | undefined {
  for (const { to } of denied) {
    const [kind = '', destination = ''] = to.split(' ');
    const isAddress = kind === 'tcp' && /^[0-9.]+:\d+$/.test(destination);
    if (kind !== 'dns' && !isAddress) continue;
    return `add "${isAddress ? destination : `${destination}:PORT`}" to "network.egress" in offshoot.json, then: offshoot deploy`;
  }
  return undefined;
}
