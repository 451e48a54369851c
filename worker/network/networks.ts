/** The egress namespaces of this worker: one for each launcher whose functions use the network. */
import type { Runtime } from '#contract/functions/manifest.ts';
import { parseCidr, parseEgressRule, within } from '#contract/functions/network.ts';
import type { LoadedVersion } from '../code/version-cache.ts';
import { log } from '../process/log.ts';
import type { Zygote } from '../sandbox/zygote.ts';
import { EgressNetwork, type EgressOptions, type Inspection, type SandboxNetwork } from './egress.ts';
import { NetworkOwner } from './owner.ts';

export interface NetworksOptions extends Omit<EgressOptions, 'owner' | 'closed'> {
  /** Made for each launcher when not given, which only a test does that has more in the same namespace. */
  readonly owner?: NetworkOwner | undefined;
}

export class Networks {
  readonly #options: NetworksOptions;
  readonly #networks = new Map<Zygote, Promise<EgressNetwork>>();
  /** Runtimes and namespaces, as `runtime/namespace`, that have functions with egress. */
  readonly #wanted = new Set<string>();

  constructor(options: NetworksOptions) {
    this.#options = options;
  }

  /** The network of a new sandbox of `zygote` that will run this version; undefined when it asks for none. */
  async assign(
    zygote: Zygote,
    version: Pick<LoadedVersion, 'key' | 'namespace' | 'manifest'>,
  ): Promise<SandboxNetwork | undefined> {
    const egress = version.manifest.network?.egress ?? [];
    if (egress.length === 0) return undefined;
    const rules = egress.map(parseEgressRule);
    for (const [index, rule] of rules.entries()) {
      const range = this.#options.never?.find(
        (cidr) => rule.kind === 'address' && within(rule.range, parseCidr(cidr)),
      );
      // A part of a rule that reaches further is refused by the firewall; one that can never work is refused here.
      if (range !== undefined)
        throw new Error(
          `network.egress.${index}: "${egress[index]}" lies in ${range}, which this worker forbids`,
        );
    }
    this.#wanted.add(`${version.manifest.runtime}/${version.namespace}`);
    const network = await this.#of(zygote);
    return network.assign(version.key, rules);
  }

  /** A zygote that takes the place of another gets its egress before a call needs it. */
  prepare(zygote: Zygote, runtime: Runtime, namespace: string): void {
    if (!this.#wanted.has(`${runtime}/${namespace}`) || !zygote.alive) return;
    this.#of(zygote).catch((error: unknown) => log.error({ error }, 'network: egress could not be prepared'));
  }

  /** What a launcher's egress consists of now; makes it if there is none. */
  inspect(zygote: Zygote): Promise<Inspection> {
    return this.#of(zygote);
  }

  async stop(): Promise<void> {
    await Promise.all(
      [...this.#networks.values()].map((network) =>
        network.then((open) => open.close()).catch(() => undefined),
      ),
    );
  }

  /** Made when the first function of a launcher needs it, which its deploy is: loading it goes the same way. */
  #of(zygote: Zygote): Promise<EgressNetwork> {
    let network = this.#networks.get(zygote);
    if (!network) {
      network = this.#open(zygote);
      this.#networks.set(zygote, network);
      // A failure is not remembered: what was missing may have been installed.
      network.catch(() => this.#networks.delete(zygote));
      void zygote.ended.then(async () => {
        this.#networks.delete(zygote);
        await network?.then((open) => open.close()).catch(() => undefined);
      });
    }
    return network;
  }

  async #open(zygote: Zygote): Promise<EgressNetwork> {
    const { owner } = this.#options;
    if (owner) return EgressNetwork.open({ ...this.#options, owner });
    const own = await NetworkOwner.open(zygote.pid ?? 0);
    return EgressNetwork.open({ ...this.#options, owner: own, closed: () => own.close() });
  }
}
