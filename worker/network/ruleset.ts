/**
 * The firewall of a launcher's egress namespace as text for nft(8). Nothing here does anything: who may talk to whom can
 * be read off these functions, and tested.
 *
 *   sandbox vN --> map of interfaces --> chain of the sandbox
 *                    --> towards the uplink: chain of the function version: what the operator forbids ends it, then rules
 *                        inside protected ranges, then the protected ranges end it, then public addresses and those
 *                        that names resolved to
 *                    --> not accepted: counted as denied, and refused
 */
import {
  INNER_RANGE,
  parseCidr,
  PROTECTED_RANGES,
  RESOLVER_ADDRESS,
  within,
  type EgressRule,
} from '#contract/functions/network.ts';

/** The interface that slirp4netns makes. */
export const UPLINK = 'tap0';
/** Addresses of slirp4netns's own end: part of the inner range. */
export const UPLINK_RANGE = '198.19.254.0/24';
/** Different destinations that are remembered of one sandbox; more are refused as well, but not told apart. */
export const MAX_DENIED = 64;
/** Connections that one sandbox may have at the same time; all of a launcher's share the uplink's. */
export const MAX_CONNECTIONS = 256;
/** Above this the resolver is not even woken. */
const QUERIES_PER_SECOND = 100;

const TABLE = 'inet egress';

/** `hostAddresses`: those of the host itself, whatever range they are of; `never`: what no rule of a function opens. */
export function baseRules(hostAddresses: readonly string[], never: readonly string[] = []): string {
  return `table ${TABLE} {
  set never {
    type ipv4_addr
    flags interval
    auto-merge
    ${never.length === 0 ? '' : `elements = { ${never.join(', ')} }`}
  }
  set protected {
    type ipv4_addr
    flags interval
    auto-merge
    elements = { ${[...PROTECTED_RANGES, ...hostAddresses].join(', ')} }
  }
  set asking {
    type ipv4_addr
    size 65535
    flags dynamic,timeout
    timeout 1m
  }
  set links {
    type ifname . ipv4_addr
  }
  map sandboxes {
    type ifname : verdict
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    meta nfproto ipv6 drop
    ct state established,related accept
    iifname "${UPLINK}" drop
    iifname . ip saddr != @links drop
    iifname vmap @sandboxes
  }
  chain input {
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iifname "${UPLINK}" drop
    iifname . ip saddr != @links drop
    ip daddr ${RESOLVER_ADDRESS} udp dport 53 jump ask
    iifname vmap @sandboxes
  }
  chain ask {
    update @asking { ip saddr limit rate over ${QUERIES_PER_SECOND}/second burst ${QUERIES_PER_SECOND} packets } drop
    accept
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname "${UPLINK}" masquerade
  }
}
`;
}

/** The same table with nothing that stops anything: the control of the tests. */
export function openRules(): string {
  return baseRules([])
    .replaceAll('policy drop', 'policy accept')
    .replaceAll(/^ +(?:meta|ct|iifname|ip daddr) .*\n/gm, '');
}

/** Whether a rule means addresses that are otherwise protected: it then lies within one of their ranges. */
export function namesProtected(rule: EgressRule, hostAddresses: readonly string[]): boolean {
  if (rule.kind === 'name') return false;
  return [...PROTECTED_RANGES, ...hostAddresses].some((range) => within(rule.range, parseCidr(range)));
}

function ports({ first, last }: EgressRule['ports']): string {
  return first === last ? String(first) : `${first}-${last}`;
}

export const functionChain = (fn: number): string => `f${fn}`;
/** The set of the addresses that rule number `rule` of a function has resolved to. */
export const nameSet = (fn: number, rule: number): string => `f${fn}_${rule}`;

export function functionRules(
  fn: number,
  rules: readonly EgressRule[],
  hostAddresses: readonly string[],
): string {
  const sets: string[] = [];
  const named: string[] = [];
  const open: string[] = [];
  for (const [index, rule] of rules.entries()) {
    if (rule.kind === 'name') {
      const set = nameSet(fn, index);
      sets.push(`add set ${TABLE} ${set} { type ipv4_addr; flags timeout; size 4096; }`);
      open.push(`ip daddr @${set} tcp dport ${ports(rule.ports)} accept`);
    } else {
      const line = `ip daddr ${rule.cidr} tcp dport ${ports(rule.ports)} accept`;
      (namesProtected(rule, hostAddresses) ? named : open).push(line);
    }
  }
  const chain = functionChain(fn);
  return [
    ...sets,
    `add chain ${TABLE} ${chain}`,
    ...['ip daddr @never return', ...named, 'ip daddr @protected return', ...open].map(
      (line) => `add rule ${TABLE} ${chain} ${line}`,
    ),
    '',
  ].join('\n');
}

export function nameSets(fn: number, rules: readonly EgressRule[]): string[] {
  return rules.flatMap((rule, index) => (rule.kind === 'name' ? [nameSet(fn, index)] : []));
}

/** After the last sandbox of the function has been detached. */
export function withdrawnRules(fn: number, rules: readonly EgressRule[]): string {
  const sets = nameSets(fn, rules).map((set) => `delete set ${TABLE} ${set}\n`);
  return `delete chain ${TABLE} ${functionChain(fn)}\n${sets.join('')}`;
}

export interface SandboxLink {
  /** Number of the veth pair. */
  readonly index: number;
  /** The sandbox's address. */
  readonly address: string;
}

export const interfaceName = (index: number): string => `v${index}`;
export const deniedSet = (index: number): string => `d${index}`;

/**
 * From here on the sandbox behind a link has the egress of a function version. The chain stands behind both hooks: what
 * is meant for the egress namespace itself or for another sandbox never gets as far as the function's rules. A connection is refused by a reset: an ICMP
 * message that arrives while connect(2) still holds the socket would count for nothing, and the caller would wait.
 */
export function attachRules({ index, address }: SandboxLink, fn: number): string {
  const [link, chain, denied] = [interfaceName(index), `s${index}`, deniedSet(index)];
  return `add set ${TABLE} ${denied} { type inet_proto . ipv4_addr . inet_service; size ${MAX_DENIED}; flags dynamic; counter; }
add chain ${TABLE} ${chain}
add rule ${TABLE} ${chain} meta l4proto tcp ct count over ${MAX_CONNECTIONS} reject with tcp reset
add rule ${TABLE} ${chain} oifname "${UPLINK}" ip daddr != ${INNER_RANGE} jump ${functionChain(fn)}
add rule ${TABLE} ${chain} meta l4proto { tcp, udp } add @${denied} { meta l4proto . ip daddr . th dport }
add rule ${TABLE} ${chain} meta l4proto != { tcp, udp } add @${denied} { meta l4proto . ip daddr . 0 }
add rule ${TABLE} ${chain} meta l4proto tcp reject with tcp reset
add rule ${TABLE} ${chain} reject with icmpx admin-prohibited
add element ${TABLE} links { "${link}" . ${address} }
add element ${TABLE} sandboxes { "${link}" : goto ${chain} }
`;
}

export function detachRules({ index, address }: SandboxLink): string {
  return `delete element ${TABLE} links { "${interfaceName(index)}" . ${address} }
delete element ${TABLE} sandboxes { "${interfaceName(index)}" }
delete chain ${TABLE} s${index}
delete set ${TABLE} ${deniedSet(index)}
`;
}

/** Lets a function reach addresses, each for so many seconds. Twice, so that one that is there lives on as long as a new one. */
export function resolvedRules(set: string, secondsOf: ReadonlyMap<string, number>): string {
  const elements = [...secondsOf].map(([address, seconds]) => `${address} timeout ${seconds}s`).join(', ');
  return `add element ${TABLE} ${set} { ${elements} }
delete element ${TABLE} ${set} { ${[...secondsOf.keys()].join(', ')} }
add element ${TABLE} ${set} { ${elements} }
`;
}

export function forgetDenied(index: number): string {
  return `flush set ${TABLE} ${deniedSet(index)}\n`;
}

export function protectRules(addresses: readonly string[]): string {
  return `add element ${TABLE} protected { ${addresses.join(', ')} }\n`;
}

export function listDenied(index: number): string[] {
  return ['nft', '-j', 'list', 'set', ...TABLE.split(' '), deniedSet(index)];
}

interface ListedSet {
  readonly nftables: readonly {
    readonly set?: {
      readonly elem?: readonly {
        readonly elem: {
          readonly val: { readonly concat: readonly (string | number)[] };
          readonly counter?: { readonly packets: number };
        };
      }[];
    };
  }[];
}

/** What `nft -j list set` says, as destinations and packets. */
export function parseDenied(json: string): Map<string, number> {
  const listed = JSON.parse(json) as ListedSet;
  const denied = new Map<string, number>();
  for (const { set } of listed.nftables) {
    for (const { elem } of set?.elem ?? []) {
      const [protocol = '', address = '', port = 0] = elem.val.concat;
      denied.set(`${protocol} ${address}${port === 0 ? '' : `:${port}`}`, elem.counter?.packets ?? 1);
    }
  }
  return denied;
}
