/**
 * The egress namespace of one launcher: a network namespace between its sandboxes and the host.
 *
 *   sandbox eth0 <==veth==> vN  [ egress namespace: nftables ]  tap0 <==> slirp4netns: sockets of the host, as this user
 *
 * Nothing is configured for a sandbox while a call waits: pairs are made ahead, each in a network namespace of its own,
 * and a sandbox joins one of them. Only the rules of its function are put in place then, before it learns its code.
 */
import { type ChildProcess } from 'node:child_process';
import type { Socket } from 'node:dgram';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  formatAddress,
  parseCidr,
  RESOLVER_ADDRESS,
  type DeniedEgress,
  type EgressRule,
} from '#contract/network.ts';
import { log } from '../log.ts';
import type { NetworkOwner } from './owner.ts';
import { Resolver, type Client } from './resolver.ts';
import {
  attachRules,
  baseRules,
  detachRules,
  functionRules,
  interfaceName,
  forgetDenied,
  listDenied,
  nameSet,
  openRules,
  MAX_DENIED,
  parseDenied,
  protectRules,
  resolvedRules,
  UPLINK,
  UPLINK_RANGE,
} from './ruleset.ts';

export interface EgressOptions {
  readonly owner: NetworkOwner;
  /** Called when the owner is needed no more. */
  readonly closed?: () => void;
  /** Pairs kept ready. */
  readonly ready: number;
  /** Ranges that no rule of a function opens: the operator's word. */
  readonly never?: readonly string[] | undefined;
  /** Where the host's sockets are made; the worker's own network namespace when not given. For tests. */
  readonly hostNetwork?: number | undefined;
  /** Name servers to ask; those of the host when not given. For tests. */
  readonly servers?: readonly string[] | undefined;
  /** Only for tests that ask whether they would notice: without it, everything that a route leads to is let through. */
  readonly withoutFirewall?: true;
}

/** A prepared network namespace. */
interface Link {
  readonly index: number;
  readonly address: string;
  readonly namespace: number;
}

/** What a sandbox has of the network. */
export interface SandboxNetwork {
  /** Descriptor of the network namespace to join; closed by joined(). */
  readonly namespace: number;
  /** The sandbox has been told of the namespace. */
  joined(): void;
  /** What was refused since the last time of asking. */
  denied(): Promise<DeniedEgress[]>;
  /** The sandbox has ended. */
  release(): void;
}

export interface Counts {
  readonly interfaces: number;
  readonly chains: number;
  readonly sets: number;
  /** Pairs that wait for a sandbox. */
  readonly ready: number;
  /** Descriptors of the worker. */
  readonly descriptors: number;
}

export interface Inspection {
  counts(): Promise<Counts>;
  /** Process id of slirp4netns. */
  readonly uplinkPid: number | undefined;
}

const FIRST_ADDRESS = parseCidr('198.18.0.0/16').first;
/** Pairs of addresses in that range. They are used in turn, so that no new sandbox inherits the connections of an old one. */
const LINKS = 32_768;
/** Different names that are remembered as refused between two questions. */
const MAX_DENIED_NAMES = 64;
/** An address is opened anew when it would be closed within this time. */
const RENEW_BEFORE_MS = 120_000;
const RESTART_MS = 200;
const BIND_RESOLVER = fileURLToPath(new URL('bind-resolver.ts', import.meta.url));

export class EgressNetwork implements Inspection {
  readonly #options: EgressOptions;
  readonly #hostAddresses: string[];
  readonly #ready: Link[] = [];
  readonly #live = new Map<string, Client>();
  readonly #functions = new Map<string, number>();
  readonly #taken = new Set<number>();
  #namespace = -1;
  /** /proc/net/snmp of the namespace: whether anything was refused costs a read, what it was costs a process. */
  #statistics = -1;
  #uplink: ChildProcess | undefined;
  #resolver: Resolver | undefined;
  #nextLink = 0;
  #filling: Promise<void> | undefined;
  #lastChange: Promise<unknown> = Promise.resolve();
  #closing: Promise<void> | undefined;
  /** Links of ended sandboxes whose rules are still there. */
  #ended: Link[] = [];

  private constructor(options: EgressOptions) {
    this.#options = options;
    this.#hostAddresses = hostAddresses();
  }

  static async open(options: EgressOptions): Promise<EgressNetwork> {
    const network = new EgressNetwork(options);
    try {
      await network.#open();
    } catch (error) {
      await network.close();
      throw error;
    }
    return network;
  }

  /** Gives a prepared namespace the rules of a function version, of which `key` is the name. */
  async assign(key: string, rules: readonly EgressRule[]): Promise<SandboxNetwork> {
    let link = this.#ready.shift();
    while (!link) {
      await this.#fill();
      link = this.#ready.shift();
    }
    void this.#fill().catch((error: unknown) => log.error({ error }, 'network: none could be prepared'));
    const { index, address, namespace } = link;
    const known = this.#functions.get(key);
    const fn = known ?? this.#functions.size;
    this.#functions.set(key, fn);
    const introduction = known === undefined ? functionRules(fn, rules, this.#hostAddresses) : '';
    try {
      await this.#change(introduction + attachRules(link, fn));
    } catch (error) {
      if (known === undefined) this.#functions.delete(key);
      closeSync(namespace);
      this.#taken.delete(index);
      throw error;
    }
    const deniedNames = new Map<string, number>();
    this.#live.set(address, this.#client(fn, rules, deniedNames));
    return this.#sandboxNetwork(link, deniedNames);
  }

  get uplinkPid(): number | undefined {
    return this.#uplink?.pid;
  }

  async counts(): Promise<Counts> {
    const { owner } = this.#options;
    const ask = (...command: string[]): Promise<string> => owner.run(command, { network: this.#namespace });
    const links = await ask('ip', '-oneline', 'link', 'show');
    const rules = await ask('nft', 'list', 'ruleset');
    return {
      interfaces: links.trim().split('\n').length,
      chains: rules.match(/^\tchain /gm)?.length ?? 0,
      sets: rules.match(/^\tset /gm)?.length ?? 0,
      ready: this.#ready.length,
      descriptors: readdirSync('/proc/self/fd').length,
    };
  }

  /** Ends the uplink and gives up the namespace; sandboxes that are still in theirs lead nowhere then. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#filling?.catch(() => undefined);
    await this.#lastChange;
    this.#resolver?.close();
    this.#uplink?.kill('SIGKILL');
    for (const { namespace } of this.#ready.splice(0)) closeSync(namespace);
    for (const fd of [this.#namespace, this.#statistics]) if (fd >= 0) closeSync(fd);
    this.#options.closed?.();
  }

  get #closed(): boolean {
    return this.#closing !== undefined;
  }

  async #open(): Promise<void> {
    const { owner } = this.#options;
    this.#namespace = await owner.makeNetwork((holder) => {
      this.#statistics = openSync(`/proc/${holder}/net/snmp`, 'r');
    });
    const network = this.#namespace;
    const input = this.#options.withoutFirewall
      ? openRules()
      : baseRules(this.#hostAddresses, this.#options.never);
    // The firewall first: there is no moment in which something could pass.
    await owner.run(['nft', '-f', '-'], { network, input });
    await owner.run(
      [
        'sysctl',
        '-qw',
        'net.ipv4.ip_forward=1',
        // The resolver's socket is made by a process without power, and nobody else can make one here.
        'net.ipv4.ip_unprivileged_port_start=53',
        // Refusals are told at once, however many.
        'net.ipv4.icmp_ratelimit=0',
        'net.ipv6.conf.all.disable_ipv6=1',
        'net.ipv6.conf.default.disable_ipv6=1',
      ],
      { network },
    );
    await owner.run(['ip', '-batch', '-'], {
      network,
      input: `link set lo up\naddr add ${RESOLVER_ADDRESS}/32 dev lo\n`,
    });
    await Promise.all([this.#startUplink(), this.#startResolver(), this.#fill()]);
  }

  async #startUplink(): Promise<void> {
    const { owner, hostNetwork } = this.#options;
    const uplink = owner.spawn(
      [
        'slirp4netns',
        '--configure',
        '--mtu=65520',
        `--cidr=${UPLINK_RANGE}`,
        // 127.0.0.1 of the host and its name server are not to be had through addresses of slirp4netns's own either.
        '--disable-host-loopback',
        '--disable-dns',
        // It reads what tenants send: an empty root, no capabilities, fewer system calls.
        '--enable-sandbox',
        '--enable-seccomp',
        '--ready-fd=3',
        // Ends with the worker, whichever way that ends.
        '--exit-fd=4',
        '--netns-type=path',
        '/proc/self/fd/5',
        UPLINK,
      ],
      { network: hostNetwork, stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe', this.#namespace] },
    );
    this.#uplink = uplink;
    let said = '';
    uplink.stderr?.on('data', (text: Buffer) => {
      said = (said + text.toString()).slice(-1_000);
    });
    for (const stream of uplink.stdio) stream?.on('error', () => undefined);
    const ended = once(uplink, 'exit');
    const ready = uplink.stdio[3];
    await Promise.race([
      once(ready as NonNullable<typeof ready>, 'data'),
      ended.then(() => Promise.reject(new Error(`slirp4netns ended before it was ready: ${said.trim()}`))),
    ]);
    void ended.then(() => this.#uplinkEnded(said));
  }

  async #uplinkEnded(said: string): Promise<void> {
    if (this.#closed) return;
    log.error({ said: said.trim() }, 'network: slirp4netns ended; starting another');
    await sleep(RESTART_MS);
    if (this.#closed) return;
    await this.#startUplink().catch((error: unknown) => {
      void this.#uplinkEnded(error instanceof Error ? error.message : String(error));
    });
  }

  async #startResolver(): Promise<void> {
    const binder = this.#options.owner.spawn([process.execPath, BIND_RESOLVER], {
      network: this.#namespace,
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      asWorker: true,
    });
    let said = '';
    binder.stderr?.on('data', (text: Buffer) => {
      said += text.toString();
    });
    const [, socket] = (await Promise.race([
      once(binder, 'message'),
      once(binder, 'exit').then(() =>
        Promise.reject(new Error(`the resolver's socket could not be made: ${said}`)),
      ),
    ])) as [unknown, Socket];
    this.#resolver = new Resolver({
      socket,
      client: (address) => this.#live.get(address),
      hostAddresses: this.#hostAddresses,
      never: this.#options.never ?? [],
      servers: this.#options.servers,
    });
  }

  /** Changes of the firewall, one after the other. */
  #change(rules: string): Promise<void> {
    const change = this.#lastChange.then(async () => {
      if (this.#closed) throw new Error('the egress namespace is closed');
      await this.#options.owner.run(['nft', '-f', '-'], { network: this.#namespace, input: rules });
    });
    this.#lastChange = change.catch(() => undefined);
    return change;
  }

  #fill(): Promise<void> {
    this.#filling ??= this.#prepareLinks().finally(() => {
      this.#filling = undefined;
    });
    return this.#filling;
  }

  /** An address that the host was given meanwhile is protected as the others are. */
  async #protectNewAddresses(): Promise<void> {
    const fresh = hostAddresses().filter((address) => !this.#hostAddresses.includes(address));
    if (fresh.length === 0) return;
    await this.#change(protectRules(fresh));
    this.#hostAddresses.push(...fresh);
  }

  async #prepareLinks(): Promise<void> {
    await this.#protectNewAddresses();
    while (!this.#closed && this.#ready.length < this.#options.ready) {
      this.#ready.push(await this.#prepareLink());
    }
  }

  async #prepareLink(): Promise<Link> {
    const { owner } = this.#options;
    while (this.#taken.has(this.#nextLink)) this.#nextLink = (this.#nextLink + 1) % LINKS;
    const index = this.#nextLink;
    this.#nextLink = (index + 1) % LINKS;
    const address = formatAddress(FIRST_ADDRESS + 2 * index);
    const gateway = formatAddress(FIRST_ADDRESS + 2 * index + 1);
    const outside = interfaceName(index);
    const namespace = await owner.makeNetwork();
    try {
      await owner.run(['sysctl', '-qw', 'net.ipv6.conf.default.disable_ipv6=1'], { network: namespace });
      await owner.run(['ip', '-batch', '-'], {
        network: this.#namespace,
        stdio: ['pipe', 'pipe', 'pipe', namespace],
        input: `link add ${outside} type veth peer name eth0 netns /proc/self/fd/3
addr add ${gateway}/31 dev ${outside}
link set ${outside} up
`,
      });
      await owner.run(['ip', '-batch', '-'], {
        network: namespace,
        input: `link set lo up
addr add ${address}/31 dev eth0
link set eth0 up
route add default via ${gateway}
`,
      });
    } catch (error) {
      closeSync(namespace);
      throw error;
    }
    this.#taken.add(index);
    return { index, address, namespace };
  }

  #client(fn: number, rules: readonly EgressRule[], deniedNames: Map<string, number>): Client {
    const openUntil = new Map<string, number>();
    return {
      rules,
      open: async (rule, addresses, seconds) => {
        const now = performance.now();
        const set = nameSet(fn, rule);
        const missing = addresses.filter(
          (address) => (openUntil.get(`${set} ${address}`) ?? 0) < now + RENEW_BEFORE_MS,
        );
        if (missing.length === 0) return;
        await this.#change(resolvedRules(set, missing, seconds));
        for (const address of missing) openUntil.set(`${set} ${address}`, now + seconds * 1000);
      },
      denied: (name, address) => {
        const what = address === undefined ? `dns ${name}` : `dns ${name} -> ${address}`;
        const count = deniedNames.get(what);
        if (count !== undefined || deniedNames.size < MAX_DENIED_NAMES)
          deniedNames.set(what, (count ?? 0) + 1);
      },
    };
  }

  #sandboxNetwork(link: Link, deniedNames: Map<string, number>): SandboxNetwork {
    const { index, address, namespace } = link;
    let seenRefusals = this.#countRefusals();
    let seen = new Map<string, number>();
    let open = true;
    return {
      namespace,
      joined: () => closeSync(namespace),
      denied: async () => {
        const denied = [...deniedNames].map(([to, count]) => ({ to, count }));
        deniedNames.clear();
        if (!open || this.#closed) return denied;
        const refusals = this.#countRefusals();
        // Of all sandboxes together, so it says for certain only that nothing was refused.
        if (refusals === seenRefusals) return denied;
        seenRefusals = refusals;
        const listed = parseDenied(
          await this.#options.owner.run(listDenied(index), { network: this.#namespace }),
        );
        for (const [to, packets] of listed) {
          const count = packets - (seen.get(to) ?? 0);
          if (count > 0) denied.push({ to, count });
        }
        seen = listed;
        // Full: what comes next would not be told. What came between is lost, and refused all the same.
        if (listed.size >= MAX_DENIED) {
          await this.#change(forgetDenied(index));
          seen = new Map();
        }
        return denied;
      },
      release: () => {
        if (!open) return;
        open = false;
        this.#live.delete(address);
        this.#ended.push(link);
        void this.#tidy();
      },
    };
  }

  /** Takes away the rules of all that have ended so far, in one go and after what calls wait for. */
  async #tidy(): Promise<void> {
    await this.#lastChange;
    const ended = this.#ended.splice(0);
    if (ended.length === 0 || this.#closed) return;
    try {
      // The pairs have gone with the sandboxes, the last processes of their namespaces.
      await this.#change(ended.map(detachRules).join(''));
      for (const { index } of ended) this.#taken.delete(index);
    } catch (error) {
      if (!this.#closed) log.warn({ error }, 'network: rules of ended sandboxes are left');
    }
  }

  /** Packets that the namespace itself has sent, without the answers of the resolver: refusals are all that is left. */
  #countRefusals(): number {
    const buffer = Buffer.alloc(8_192);
    const text = buffer.toString('latin1', 0, readSync(this.#statistics, buffer, 0, buffer.length, 0));
    // Two lines: names, then figures in the same order.
    const [names = [], figures = []] = text
      .split('\n')
      .filter((line) => line.startsWith('Ip:'))
      .map((line) => line.split(' '));
    return Number(figures[names.indexOf('OutRequests')] ?? 0) - (this.#resolver?.answered ?? 0);
  }
}

/** Those by which others reach this host; its loopback is in a protected range anyway. */
function hostAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flat()
    .flatMap((entry) => (entry?.family === 'IPv4' && !entry.internal ? [entry.address] : []));
}
