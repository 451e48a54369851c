/** Caches versions of functions in the worker. A version never changes, so it stays cached until its function is removed. */
import type { VersionRecord } from '#contract/functions/records.ts';
import type { FunctionRepository } from '#storage/functions/function-repository.ts';

const MAX_KEPT = 5_000;

export interface LoadedVersion extends VersionRecord {
  readonly namespace: string;
  readonly name: string;
  /** `namespace/name@version`, the key of everything that belongs to this version. */
  readonly key: string;
}

export class VersionCache {
  readonly #functions: Pick<FunctionRepository, 'version'>;
  readonly #versions = new Map<string, LoadedVersion>();
  /** Number of removals. A version read while one happened may be gone, and is not cached. */
  #forgotten = 0;

  constructor(functions: Pick<FunctionRepository, 'version'>) {
    this.#functions = functions;
  }

  /** Returns the version; undefined when it does not exist (any more). Throws `function_outdated`. */
  async get(namespace: string, name: string, version: number): Promise<LoadedVersion | undefined> {
    const key = `${namespace}/${name}@${version}`;
    const kept = this.#versions.get(key);
    if (kept) return kept;
    const forgotten = this.#forgotten;
    const record = await this.#functions.version(namespace, name, version);
    if (!record) return undefined;
    const loaded = { ...record, namespace, name, key };
    if (forgotten !== this.#forgotten) return loaded;
    if (this.#versions.size >= MAX_KEPT) this.#versions.clear();
    this.#versions.set(key, loaded);
    return loaded;
  }

  /** Drops all versions of the removed function `namespace/name`. */
  forget(name: string): void {
    this.#forgotten++;
    for (const key of this.#versions.keys()) if (key.startsWith(`${name}@`)) this.#versions.delete(key);
  }
}
