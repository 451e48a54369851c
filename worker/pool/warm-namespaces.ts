/** Decides for which namespaces zygotes and sandboxes are kept ready: those that have functions. */
import type { Redis } from 'ioredis';
import { keys } from '#contract/platform/keys.ts';
import { DEFAULT_RUNTIME } from '#contract/functions/runtimes.ts';
import { log } from '../process/log.ts';
import type { Pool } from './pool.ts';

/** A removal is told; this is for those that were not heard of, and for first deploys that have failed. */
const LOOK_MS = 30_000;

export interface ReadinessOptions {
  readonly redis: Pick<Redis, 'hlen'>;
  readonly pool: Pick<Pool, 'namespaces' | 'warm' | 'giveUp'>;
}

export class WarmNamespaces {
  readonly #options: ReadinessOptions;
  #timer: NodeJS.Timeout | undefined;
  #begun = false;

  constructor(options: ReadinessOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => this.look(), LOOK_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /**
   * Told of all namespaces as often as they are read. A zygote takes tenths of a second to start; after a start of the worker,
   * the first call of a namespace should not be the one to wait.
   */
  known(namespaces: readonly string[]): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#each(namespaces, async (namespace) => {
      if (!(await this.#isVacant(namespace))) await this.#options.pool.warm(DEFAULT_RUNTIME, namespace);
    });
  }

  /** Gives up what is ready for namespaces that have no function any more. */
  look(): void {
    const { pool } = this.#options;
    this.#each(pool.namespaces, async (namespace) => {
      if (await this.#isVacant(namespace)) pool.giveUp(namespace);
    });
  }

  async #isVacant(namespace: string): Promise<boolean> {
    return (await this.#options.redis.hlen(keys.functions(namespace))) === 0;
  }

  #each(namespaces: Iterable<string>, act: (namespace: string) => Promise<void>): void {
    for (const namespace of namespaces) {
      act(namespace).catch((error: unknown) =>
        log.info({ namespace, error: String(error) }, 'what is ready for a namespace was left as it is'),
      );
    }
  }
}
