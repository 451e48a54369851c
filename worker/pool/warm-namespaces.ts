/** Decides for which namespaces zygotes and sandboxes are kept ready: for those that have functions. */
import { DEFAULT_RUNTIME } from '#contract/functions/runtimes.ts';
import type { FunctionRepository } from '#storage/functions/function-repository.ts';
import { log } from '../process/log.ts';
import type { Pool } from './pool.ts';

/** Interval between checks for vacant namespaces. Removals are announced; this finds missed ones, and failed first deploys. */
const LOOK_MS = 30_000;

export interface WarmNamespacesOptions {
  readonly functions: Pick<FunctionRepository, 'hasFunctions'>;
  readonly pool: Pick<Pool, 'namespaces' | 'warm' | 'giveUp'>;
}

export class WarmNamespaces {
  readonly #options: WarmNamespacesOptions;
  #timer: NodeJS.Timeout | undefined;
  #begun = false;

  constructor(options: WarmNamespacesOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => this.look(), LOOK_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /**
   * Warms each namespace that has functions once, after the worker's start. A zygote takes tenths of a second to start, so the
   * first call of a namespace should not wait for it. Called with all namespaces at each refresh.
   */
  known(namespaces: readonly string[]): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#each(namespaces, async (namespace) => {
      if (!(await this.#isVacant(namespace))) await this.#options.pool.warm(DEFAULT_RUNTIME, namespace);
    });
  }

  /** Gives up the zygotes and sandboxes of namespaces that have no function any more. */
  look(): void {
    const { pool } = this.#options;
    this.#each(pool.namespaces, async (namespace) => {
      if (await this.#isVacant(namespace)) pool.giveUp(namespace);
    });
  }

  async #isVacant(namespace: string): Promise<boolean> {
    return !(await this.#options.functions.hasFunctions(namespace));
  }

  #each(namespaces: Iterable<string>, act: (namespace: string) => Promise<void>): void {
    for (const namespace of namespaces) {
      act(namespace).catch((error: unknown) =>
        log.info(
          { namespace, error: String(error) },
          'a namespace could not be warmed or checked; it stays as it is',
        ),
      );
    }
  }
}
