/**
 * Manages the egress namespace of one launcher: a network namespace between its sandboxes and the host.
 *
 *   sandbox eth0 <==veth==> vN  [ egress namespace: nftables ]  tap0 <==> slirp4netns: ordinary sockets of the host
 *
 * Pairs of interfaces are made ahead, each in a network namespace of its own, so that no call waits for them. A sandbox joins one
 * of them. Only the rules of its function are added then, before it learns its code.
 */
import type { Socket } from 'node:dgram';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { fileURLToPath } from 'node:url';
import { RESOLVER_ADDRESS, type DeniedEgress, type EgressRule } from '#contract/functions/network.ts';
import { log } from '../process/log.ts';
import { Firewall } from './firewall.ts';
import { Links, type Link } from './links.ts';
import type { NetworkOwner } from './owner.ts';
import { Resolver, type Client } from './resolver.ts';
import {
  attachRules,
  baseRules,
  detachRules,
  functionRules,
  nameSet,
  nameSets,
  openRules,
  protectRules,
  withdrawnRules,
} from './ruleset.ts';
import { Uplink } from './uplink.ts';

export interface EgressOptions {
  readonly owner: NetworkOwner;
  /** Mostly to close the owner: called when this network no longer needs it. */
  readonly closed?: () => void;
  /** Number of pairs kept ready. */
  readonly ready: number;
  /** Ranges that the operator forbids, whatever the rules of a function say. */
  readonly never?: readonly string[] | undefined;
  /** Network namespace of the host's sockets; the worker's own by default. For tests. */
  readonly hostNetwork?: number | undefined;
  /** Name servers to ask; the host's by default. For tests. */
  readonly servers?: readonly string[] | undefined;
  /** Control for tests of the firewall: without it, packets pass wherever a route leads. */
  readonly withoutFirewall?: true;
}

/** The network of one sandbox. */
export interface SandboxNetwork {
  /** Descriptor of the network namespace to join; closed by joined(). */
  readonly namespace: number;
  /** Call when the descriptor has been sent to the sandbox. */
  joined(): void;
  /** Returns the refusals since the last call. */
  denied(): Promise<DeniedEgress[]>;
  /** Call when the sandbox has ended. */
  release(): void;
}

export interface Counts {
  readonly interfaces: number;
  readonly chains: number;
  readonly sets: number;
  /** Pairs that wait for a sandbox. */
  readonly ready: number;
  /** Open descriptors of the worker. */
  readonly descriptors: number;
}

export interface Inspection {
  counts(): Promise<Counts>;
  /** Process id of slirp4netns. */
  readonly uplinkPid: number | undefined;
}

/** A function version whose rules are in the firewall while it has a sandbox. */
interface KnownFunction {
  readonly key: string;
  readonly number: number;
  readonly rules: readonly EgressRule[];
  sandboxes: number;
}

/** Upper bound on distinct refused names kept between two calls of denied(). */
const MAX_DENIED_NAMES = 64;
const BIND_RESOLVER = fileURLToPath(new URL('bind-resolver.ts', import.meta.url));

export class EgressNetwork implements Inspection {
  readonly #options: EgressOptions;
  readonly #hostAddresses = hostAddresses();
  readonly #namespace: number;
  /**
   * /proc/net/snmp of the namespace. Reading it tells cheaply whether anything was refused; listing the refusals costs a process.
   */
  readonly #statistics: number;
  readonly #firewall: Firewall;
  readonly #links: Links;
  /** Clients of the resolver, by the addresses of their sandboxes. */
  readonly #clients = new Map<string, Client>();
  readonly #functions = new Map<string, KnownFunction>();
  #nextFunction = 0;
  #uplink: Uplink | undefined;
  #resolver: Resolver | undefined;
  /** Links of ended sandboxes whose rules are still in the firewall. */
  #ended: { readonly link: Link; readonly fn: KnownFunction }[] = [];
  #closing: Promise<void> | undefined;

  private constructor(options: EgressOptions, namespace: number, statistics: number) {
    this.#options = options;
    this.#namespace = namespace;
    this.#statistics = statistics;
    this.#firewall = new Firewall(options.owner, namespace);
    this.#links = new Links(options.owner, namespace, options.ready);
  }

  /** Opens an egress namespace. On failure it calls `closed`, as close() does. */
  static async open(options: EgressOptions): Promise<EgressNetwork> {
    let statistics = -1;
    const namespace = await options.owner
      .makeNetwork((holder) => {
        statistics = openSync(`/proc/${holder}/net/snmp`, 'r');
      })
      .catch((error: unknown) => {
        options.closed?.();
        throw error;
      });
    const network = new EgressNetwork(options, namespace, statistics);
    try {
      await network.#open();
    } catch (error) {
      await network.close();
      throw error;
    }
    return network;
  }

  /** Gives a prepared namespace the rules of the function version named `key`. */
  async assign(key: string, rules: readonly EgressRule[]): Promise<SandboxNetwork> {
    const link = await this.#links.take();
    void this.#fill();
    let fn = this.#functions.get(key);
    if (!fn) {
      fn = { key, number: this.#nextFunction++, rules, sandboxes: 0 };
      this.#functions.set(key, fn);
    }
    const introduction = fn.sandboxes === 0 ? functionRules(fn.number, rules, this.#hostAddresses) : '';
    fn.sandboxes++;
    try {
      await this.#firewall.change(introduction + attachRules(link, fn.number));
    } catch (error) {
      closeSync(link.namespace);
      this.#links.free(link.index);
      // A change applies as a whole or not at all, so after a failed first one the function has no rules yet.
      if (--fn.sandboxes === 0) this.#functions.delete(key);
      throw error;
    }
    return this.#connect(link, fn);
  }

  get uplinkPid(): number | undefined {
    return this.#uplink?.pid;
  }

  async counts(): Promise<Counts> {
    const ask = (...command: string[]): Promise<string> =>
      this.#options.owner.run(command, { network: this.#namespace });
    const links = await ask('ip', '-oneline', 'link', 'show');
    const rules = await ask('nft', 'list', 'ruleset');
    return {
      interfaces: links.trim().split('\n').length,
      chains: rules.match(/^\tchain /gm)?.length ?? 0,
      sets: rules.match(/^\tset /gm)?.length ?? 0,
      ready: this.#links.ready,
      descriptors: readdirSync('/proc/self/fd').length,
    };
  }

  /** Ends the uplink and closes the namespace; sandboxes that still use it lose their network. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#links.close();
    await this.#firewall.close();
    this.#resolver?.close();
    this.#uplink?.close();
    closeSync(this.#namespace);
    closeSync(this.#statistics);
    this.#options.closed?.();
  }

  async #open(): Promise<void> {
    const { owner, withoutFirewall, never, hostNetwork } = this.#options;
    const network = this.#namespace;
    // Install the firewall first, so that no packet passes before it.
    await this.#firewall.change(withoutFirewall ? openRules() : baseRules(this.#hostAddresses, never));
    await owner.run(
      [
        'sysctl',
        '-qw',
        'net.ipv4.ip_forward=1',
        // The process that makes the resolver's socket has no privileges; no tenant's process can make one here.
        'net.ipv4.ip_unprivileged_port_start=53',
        // Send all refusals at once, however many.
        'net.ipv4.icmp_ratelimit=0',
        // Forget connections that a killed sandbox left half open after hours instead of days.
        'net.netfilter.nf_conntrack_tcp_timeout_established=7200',
        'net.ipv6.conf.all.disable_ipv6=1',
        'net.ipv6.conf.default.disable_ipv6=1',
      ],
      { network },
    );
    await owner.run(['ip', '-batch', '-'], {
      network,
      input: `link set lo up\naddr add ${RESOLVER_ADDRESS}/32 dev lo\n`,
    });
    [this.#uplink, this.#resolver] = await Promise.all([
      Uplink.open({ owner, namespace: network, hostNetwork }),
      this.#openResolver(),
      this.#links.fill(),
    ]);
  }

  async #openResolver(): Promise<Resolver> {
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
    return new Resolver({
      socket,
      client: (address) => this.#clients.get(address),
      hostAddresses: this.#hostAddresses,
      never: this.#options.never ?? [],
      servers: this.#options.servers,
    });
  }

  async #fill(): Promise<void> {
    try {
      await this.#protectNewAddresses();
      await this.#links.fill();
    } catch (error) {
      if (!this.#firewall.closed) log.error({ error }, 'network: none could be prepared');
    }
  }

  /** Protects addresses that the host has received meanwhile. */
  async #protectNewAddresses(): Promise<void> {
    const fresh = hostAddresses().filter((address) => !this.#hostAddresses.includes(address));
    if (fresh.length === 0) return;
    await this.#firewall.change(protectRules(fresh));
    this.#hostAddresses.push(...fresh);
  }

  #connect(link: Link, fn: KnownFunction): SandboxNetwork {
    const deniedNames = new Map<string, number>();
    this.#clients.set(link.address, {
      rules: fn.rules,
      open: (rule, addresses, seconds) => this.#firewall.open(nameSet(fn.number, rule), addresses, seconds),
      denied: (name, address) => {
        const what = address === undefined ? `dns ${name}` : `dns ${name} -> ${address}`;
        const count = deniedNames.get(what);
        if (count !== undefined || deniedNames.size < MAX_DENIED_NAMES)
          deniedNames.set(what, (count ?? 0) + 1);
      },
    });
    const readRefusals = this.#firewall.refusalsOf(link.index);
    let seen = this.#countRefusals();
    let connected = true;
    return {
      namespace: link.namespace,
      joined: () => closeSync(link.namespace),
      denied: async () => {
        const denied = [...deniedNames].map(([to, count]) => ({ to, count }));
        deniedNames.clear();
        if (!connected || this.#closing) return denied;
        // The counter covers all sandboxes, so it proves only that nothing was refused.
        const refusals = this.#countRefusals();
        if (refusals === seen) return denied;
        const read = await readRefusals();
        if (read) seen = refusals;
        return [...denied, ...[...(read ?? [])].map(([to, count]) => ({ to, count }))];
      },
      release: () => {
        if (!connected) return;
        connected = false;
        this.#clients.delete(link.address);
        this.#ended.push({ link, fn });
        void this.#tidy();
      },
    };
  }

  /** Removes the rules of all ended sandboxes together, after the changes that calls wait for. */
  async #tidy(): Promise<void> {
    await this.#firewall.idle();
    const ended = this.#ended.splice(0);
    if (ended.length === 0 || this.#closing) return;
    // The pairs vanished with the sandboxes, the last processes of their namespaces.
    const rules = ended.map(({ link }) => detachRules(link));
    for (const { fn } of ended) {
      if (--fn.sandboxes > 0) continue;
      // A later sandbox of this version makes the rules anew, under another number.
      this.#functions.delete(fn.key);
      this.#firewall.forget(nameSets(fn.number, fn.rules));
      rules.push(withdrawnRules(fn.number, fn.rules));
    }
    try {
      await this.#firewall.change(rules.join(''));
      for (const { link } of ended) this.#links.free(link.index);
    } catch (error) {
      if (!this.#closing) log.warn({ error }, 'network: rules of ended sandboxes are left');
    }
  }

  /** Counts packets that the namespace itself sent, less the resolver's answers: only refusals are left. */
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

/** Addresses by which others reach this host; its loopback is in a protected range anyway. */
function hostAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flat()
    .flatMap((entry) => (entry?.family === 'IPv4' && !entry.internal ? [entry.address] : []));
}
