/** Keeps the egress namespaces of this worker: one for each launcher whose functions use the network. */
import type { Runtime } from '#contract/functions/manifest.ts';
import { parseCidr, parseEgressRule, within } from '#contract/functions/network.ts';
import type { LoadedVersion } from '../code/version-cache.ts';
import { log } from '../process/log.ts';
import { EgressNetwork, type EgressOptions, type Inspection, type SandboxNetwork } from './egress.ts';
import { NetworkOwner } from './owner.ts';

export interface NetworksOptions extends Omit<EgressOptions, 'owner' | 'closed'> {
  /** Owner of all networks; by default each launcher has its own. Only tests share one, to have more in the same namespace. */
  readonly owner?: NetworkOwner | undefined;
}

/** The part of a zygote that its network needs. */
export interface NetworkedZygote {
  readonly alive: boolean;
  /** Process of the launcher; undefined when it did not start. */
  readonly pid: number | undefined;
  readonly ended: Promise<unknown>;
}

export class Networks {
  readonly #options: NetworksOptions;
  readonly #networks = new Map<NetworkedZygote, Promise<EgressNetwork>>();
  /** Runtimes and namespaces, as `runtime/namespace`, that have functions with egress. */
  readonly #wanted = new Set<string>();

  constructor(options: NetworksOptions) {
    this.#options = options;
  }

  /** Returns the network for a new sandbox of `zygote` that will run this version; undefined when the version asks for none. */
  async assign(
    zygote: NetworkedZygote,
    version: Pick<LoadedVersion, 'key' | 'namespace' | 'settings'>,
  ): Promise<SandboxNetwork | undefined> {
    const egress = version.settings.network?.egress ?? [];
    if (egress.length === 0) return undefined;
    const rules = egress.map(parseEgressRule);
    for (const [index, rule] of rules.entries()) {
      const range = this.#options.never?.find(
        (cidr) => rule.kind === 'address' && within(rule.range, parseCidr(cidr)),
      );
      // The firewall refuses the forbidden part of a wider rule; a rule that can never work is refused here.
      if (range !== undefined)
        throw new Error(
          `network.egress.${index}: "${egress[index]}" lies in ${range}, which this worker forbids`,
        );
    }
    this.#wanted.add(`${version.settings.runtime}/${version.namespace}`);
    const network = await this.#of(zygote);
    return network.assign(version.key, rules);
  }

  /** Prepares the egress of a zygote that replaces another, before a call needs it. */
  prepare(zygote: NetworkedZygote, runtime: Runtime, namespace: string): void {
    if (!this.#wanted.has(`${runtime}/${namespace}`) || !zygote.alive) return;
    this.#of(zygote).catch((error: unknown) => log.error({ error }, 'network: egress could not be prepared'));
  }

  /** Returns the egress of a launcher for inspection; makes it if there is none. */
  inspect(zygote: NetworkedZygote): Promise<Inspection> {
    return this.#of(zygote);
  }

  async stop(): Promise<void> {
    await Promise.all(
      [...this.#networks.values()].map((network) =>
        network.then((open) => open.close()).catch(() => undefined),
      ),
    );
  }

  /**
   * Makes a launcher's egress at its first function that needs it. A deploy does that already, because it loads the function
   * once.
   */
  #of(zygote: NetworkedZygote): Promise<EgressNetwork> {
    let network = this.#networks.get(zygote);
    if (!network) {
      network = this.#open(zygote);
      this.#networks.set(zygote, network);
      // Do not cache a failure: a missing program may have been installed.
      network.catch(() => this.#networks.delete(zygote));
      void zygote.ended.then(async () => {
        this.#networks.delete(zygote);
        await network?.then((open) => open.close()).catch(() => undefined);
      });
    }
    return network;
  }

  async #open(zygote: NetworkedZygote): Promise<EgressNetwork> {
    const { owner } = this.#options;
    if (owner) return EgressNetwork.open({ ...this.#options, owner });
    const own = await NetworkOwner.open(zygote.pid ?? 0);
    return EgressNetwork.open({ ...this.#options, owner: own, closed: () => own.close() });
  }
}
