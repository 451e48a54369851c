/**
 * Makes pairs of interfaces ahead of the sandboxes that will use them. One end is in an egress namespace, the other in a
 * namespace of its own.
 */
import { closeSync } from 'node:fs';
import { formatAddress, parseCidr } from '#contract/functions/network.ts';
import type { NetworkOwner } from './owner.ts';
import { interfaceName } from './ruleset.ts';

export interface Link {
  readonly index: number;
  /** Address of the sandbox. */
  readonly address: string;
  /** Descriptor of the network namespace that a sandbox joins. */
  readonly namespace: number;
}

const FIRST_ADDRESS = parseCidr('198.18.0.0/16').first;
/** Number of address pairs in that range. Used in turn, so that no new sandbox inherits the connections of an old one. */
const LINKS = 32_768;

export class Links {
  readonly #owner: NetworkOwner;
  readonly #egress: number;
  readonly #wanted: number;
  readonly #ready: Link[] = [];
  /** Numbers in use, from the making of a link until its rules are gone. */
  readonly #taken = new Set<number>();
  #next = 0;
  #filling: Promise<void> | undefined;
  #closed = false;

  /** `egress`: descriptor of the egress namespace; `wanted`: number of pairs kept ready. */
  constructor(owner: NetworkOwner, egress: number, wanted: number) {
    this.#owner = owner;
    this.#egress = egress;
    this.#wanted = wanted;
  }

  get ready(): number {
    return this.#ready.length;
  }

  /** Takes a ready link, or waits for the next one. Call fill() to replace it. */
  async take(): Promise<Link> {
    for (;;) {
      if (this.#closed) throw new Error('the egress namespace is closed');
      const link = this.#ready.shift();
      if (link) return link;
      await this.fill();
    }
  }

  /** Frees a link's number: its rules are gone, and its interfaces have vanished with its namespace. */
  free(index: number): void {
    this.#taken.delete(index);
  }

  fill(): Promise<void> {
    this.#filling ??= this.#prepare().finally(() => {
      this.#filling = undefined;
    });
    return this.#filling;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#filling?.catch(() => undefined);
    for (const { namespace } of this.#ready.splice(0)) closeSync(namespace);
  }

  async #prepare(): Promise<void> {
    while (!this.#closed && this.#ready.length < this.#wanted) this.#ready.push(await this.#make());
  }

  async #make(): Promise<Link> {
    while (this.#taken.has(this.#next)) this.#next = (this.#next + 1) % LINKS;
    const index = this.#next;
    this.#next = (index + 1) % LINKS;
    const address = formatAddress(FIRST_ADDRESS + 2 * index);
    const gateway = formatAddress(FIRST_ADDRESS + 2 * index + 1);
    const outside = interfaceName(index);
    const namespace = await this.#owner.makeNetwork();
    try {
      // IPv6 is off before an interface exists that would give itself an address.
      await this.#owner.run(['sysctl', '-qw', 'net.ipv6.conf.default.disable_ipv6=1'], {
        network: namespace,
      });
      await this.#owner.run(['ip', '-batch', '-'], {
        network: this.#egress,
        stdio: ['pipe', 'pipe', 'pipe', namespace],
        input: `link add ${outside} type veth peer name eth0 netns /proc/self/fd/3
addr add ${gateway}/31 dev ${outside}
link set ${outside} up
`,
      });
      await this.#owner.run(['ip', '-batch', '-'], {
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
}
