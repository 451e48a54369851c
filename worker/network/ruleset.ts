/**
 * Writes the firewall of a launcher's egress namespace as text for nft(8). Nothing here has an effect, so the rules can be read
 * in these functions, and tested.
 *
 *   sandbox vN --> map of interfaces --> chain of the sandbox
 *                    --> towards the uplink: chain of the function version: ranges forbidden by the operator end it, then rules
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

/** Name of the interface that slirp4netns makes. */
export const UPLINK = 'tap0';
/** Addresses of slirp4netns's own end: part of the inner range. */
export const UPLINK_RANGE = '198.19.254.0/24';
/** Upper bound on distinct denied destinations counted for one sandbox; further ones are refused too, but not listed. */
export const MAX_DENIED = 64;
/** Upper bound on one sandbox's simultaneous connections; all sandboxes of a launcher share the uplink's. */
export const MAX_CONNECTIONS = 256;
/** Upper bound on a sandbox's DNS queries per second; queries above it do not even wake the resolver. */
const QUERIES_PER_SECOND = 100;

const TABLE = 'inet egress';

/**
 * Base table without sandboxes. `hostAddresses`: the host's own, in any range; `never`: ranges that no rule of a function opens.
 */
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

/** The same table without any rule that stops packets: the control of the tests. */
export function openRules(): string {
  return baseRules([])
    .replaceAll('policy drop', 'policy accept')
    .replaceAll(/^ +(?:meta|ct|iifname|ip daddr) .*\n/gm, '');
}

/** Does a rule name addresses that are otherwise protected? Then it lies within one of their ranges. */
export function namesProtected(rule: EgressRule, hostAddresses: readonly string[]): boolean {
  if (rule.kind === 'name') return false;
  return [...PROTECTED_RANGES, ...hostAddresses].some((range) => within(rule.range, parseCidr(range)));
}

function ports({ first, last }: EgressRule['ports']): string {
  return first === last ? String(first) : `${first}-${last}`;
}

export const functionChain = (fn: number): string => `f${fn}`;
/** Name of the set of addresses that rule number `rule` of a function has resolved to. */
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

/** Removes a function's rules, after its last sandbox has been detached. */
export function withdrawnRules(fn: number, rules: readonly EgressRule[]): string {
  const sets = nameSets(fn, rules).map((set) => `delete set ${TABLE} ${set}\n`);
  return `delete chain ${TABLE} ${functionChain(fn)}\n${sets.join('')}`;
}

export interface SandboxLink {
  /** Number of the veth pair. */
  readonly index: number;
  /** Address of the sandbox. */
  readonly address: string;
}

export const interfaceName = (index: number): string => `v${index}`;
export const deniedSet = (index: number): string => `d${index}`;

/**
 * Gives the sandbox behind a link the egress of a function version. The chain follows both hooks: packets to the egress namespace
 * itself or to another sandbox never reach the function's rules.
 *
 * A TCP connection is refused by a reset. An ICMP message that arrives while connect(2) still holds the socket would be ignored,
 * and the caller would wait.
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

/**
 * Opens addresses in a function's set, each for its seconds. Added twice, so that an address already in the set gets the new
 * timeout too.
 */
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

/** Parses the output of `nft -j list set` into destinations and packet counts. */
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
