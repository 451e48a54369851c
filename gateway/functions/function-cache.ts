/** Caches functions and API keys in the gateway, so that a call need not ask Redis, and keeps them up to date. */
import type { Redis } from 'ioredis';
import type { ApiKeyRecord } from '#contract/api/api.ts';
import { OffshootError } from '#contract/api/errors.ts';
import { keys } from '#contract/platform/keys.ts';
import {
  DEFAULT_NAMESPACE,
  EVERY_NAMESPACE,
  Name,
  NAME_RULE,
  nearestName,
} from '#contract/functions/names.ts';
import type { FunctionRepository } from '#storage/functions/function-repository.ts';
import type { NamespaceLimitsStore } from '#storage/limits/namespace-limits.ts';
import { FreshCache } from './fresh-cache.ts';
import type { ApiKeyStore } from './api-keys.ts';
import { targetOf, type Target } from '../dispatch/target.ts';

const CACHED_FUNCTIONS = 10_000;
const CACHED_KEYS = 2_000;
const CACHED_NAMESPACES = 1_000;
/** Upper bound on the similar names that are looked up, to suggest a public function to a caller without a key. */
const PUBLIC_TRIES = 3;
/** Upper bound on the names of a namespace that are compared for a caller without a key, because each comparison takes time. */
const PUBLIC_AMONG = 500;

export class FunctionCache {
  readonly #functions: FunctionRepository;
  readonly #names: FreshCache<string[]>;
  readonly #targets: FreshCache<Target>;
  readonly #keys: FreshCache<ApiKeyRecord>;

  constructor(functions: FunctionRepository, apiKeys: ApiKeyStore, limits: NamespaceLimitsStore) {
    this.#functions = functions;
    this.#targets = new FreshCache(async (id) => {
      const [namespace = '', name = ''] = id.split('/');
      const [found, ofNamespace] = await Promise.all([
        functions.find(namespace, name),
        limits.find(namespace),
      ]);
      return found && targetOf(found.record, found.active, ofNamespace);
    }, CACHED_FUNCTIONS);
    this.#names = new FreshCache((namespace) => functions.names(namespace), CACHED_NAMESPACES);
    // Cached under the plain API key, so that each key is hashed once and not for every request.
    this.#keys = new FreshCache((key) => apiKeys.find(key), CACHED_KEYS);
  }

  /** Listens for announced changes. `subscriber`: a connection of that role. */
  async follow(subscriber: Redis): Promise<void> {
    subscriber.on('message', (_channel, change) => this.changed(change));
    // Announcements were missed while the connection was down.
    subscriber.on('ready', () => this.changed(EVERY_NAMESPACE));
    await subscriber.subscribe(keys.changes());
  }

  /** Marks values as changed. `change`: `namespace/name`, or `*` for all. */
  changed(change: string): void {
    if (change !== EVERY_NAMESPACE) {
      this.#targets.invalidate(change);
      this.#names.invalidate(change.split('/')[0] ?? '');
      return;
    }
    this.#keys.invalidateAll();
    this.#targets.invalidateAll();
    this.#names.invalidateAll();
  }

  /** The function, if it is known without waiting. */
  peekTarget(namespace: string, name: string): Target | undefined {
    return this.#targets.peek(`${namespace}/${name}`);
  }

  /** The function. Undefined when there is none. Throws `bad_name`. */
  async target(namespace: string, name: string): Promise<Target | undefined> {
    checkName(namespace, 'namespace');
    checkName(name, 'function');
    return await this.#targets.get(`${namespace}/${name}`);
  }

  peekKey(key: string): ApiKeyRecord | undefined {
    return this.#keys.peek(key);
  }

  async key(key: string): Promise<ApiKeyRecord | undefined> {
    return await this.#keys.get(key);
  }

  /**
   * The error for a missing function, with a similar name that the caller may have meant. Names are not public: without a key
   * of the namespace, a caller gets only names of public functions.
   */
  async notFound(namespace: string, name: string, holder: ApiKeyRecord | undefined): Promise<OffshootError> {
    if (!(await this.#functions.hasNamespace(namespace)))
      return await this.namespaceNotFound(namespace, holder);
    const known = holder?.namespace === EVERY_NAMESPACE || holder?.namespace === namespace;
    const names = (await this.#names.get(namespace)) ?? [];
    const nearest = known ? nearestName(name, names) : await this.#nearestPublic(namespace, name, names);
    return new OffshootError(
      'function_not_found',
      `there is no function "${name}" in the namespace "${namespace}"${meant(nearest)}`,
      { details: { ...(nearest && { nearest }) } },
    );
  }

  /** Reads few functions even in a large namespace, because any client may ask as often as it likes. */
  async #nearestPublic(namespace: string, name: string, names: string[]): Promise<string | undefined> {
    let left = names.length > PUBLIC_AMONG ? [] : names;
    for (let attempt = 0; attempt < PUBLIC_TRIES; attempt++) {
      const nearest = nearestName(name, left);
      if (nearest === undefined) return undefined;
      if ((await this.#targets.get(`${namespace}/${nearest}`))?.isPublic) return nearest;
      left = left.filter((one) => one !== nearest);
    }
    return undefined;
  }

  async namespaceNotFound(namespace: string, holder: ApiKeyRecord | undefined): Promise<OffshootError> {
    const visible =
      holder?.namespace === EVERY_NAMESPACE
        ? await this.#functions.namespaces()
        : await this.#existing([DEFAULT_NAMESPACE, ...(holder ? [holder.namespace] : [])]);
    const nearest = nearestName(namespace, visible);
    return new OffshootError('namespace_not_found', `there is no namespace "${namespace}"${meant(nearest)}`, {
      details: { ...(nearest && { nearest }) },
    });
  }

  async #existing(namespaces: readonly string[]): Promise<string[]> {
    const there = await Promise.all(namespaces.map((one) => this.#functions.hasNamespace(one)));
    return namespaces.filter((_, at) => there[at]);
  }
}

/** Throws `bad_name` for an illegal name. */
export function checkName(name: string, of: 'namespace' | 'function'): void {
  if (Name.safeParse(name).success) return;
  throw new OffshootError('bad_name', `"${name.slice(0, 100)}" is not a name of a ${of}: ${NAME_RULE}`);
}

function meant(nearest: string | undefined): string {
  return nearest ? `; did you mean "${nearest}"?` : '';
}
