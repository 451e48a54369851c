/** What the gateway knows of functions and API keys without asking Redis each time, and how it stays up to date. */
import type { Redis } from 'ioredis';
import type { ApiKeyRecord } from '#contract/api/api.ts';
import { OffshootError } from '#contract/api/errors.ts';
import { keys } from '#contract/platform/keys.ts';
import { DEFAULT_NAMESPACE, Name, NAME_RULE, nearestName } from '#contract/functions/names.ts';
import type { NamespaceLimitsStore } from '#storage/limits/namespace-limits.ts';
import { FreshCache } from './fresh-cache.ts';
import { EVERY_NAMESPACE, type ApiKeyStore } from './api-keys.ts';
import type { FunctionStore } from './function-repository.ts';
import { targetOf, type Target } from '../dispatch/target.ts';

const CACHED_FUNCTIONS = 10_000;
const CACHED_KEYS = 2_000;
const CACHED_NAMESPACES = 1_000;
/** Names that may have been meant, of which each is asked for, for somebody who is told of public functions only. */
const PUBLIC_TRIES = 3;
/** Somebody without a key is pointed to none in a namespace with more names: to compare with each takes its time. */
const PUBLIC_AMONG = 500;

export class FunctionCache {
  readonly #functions: FunctionStore;
  readonly #names: FreshCache<string[]>;
  readonly #targets: FreshCache<Target>;
  readonly #keys: FreshCache<ApiKeyRecord>;

  constructor(functions: FunctionStore, apiKeys: ApiKeyStore, limits: NamespaceLimitsStore) {
    this.#functions = functions;
    this.#targets = new FreshCache(async (id) => {
      const [namespace = '', name = ''] = id.split('/');
      const [found, ofNamespace] = await Promise.all([
        functions.find(namespace, name),
        limits.find(namespace),
      ]);
      return found && targetOf(namespace, name, found.active, ofNamespace);
    }, CACHED_FUNCTIONS);
    this.#names = new FreshCache((namespace) => functions.names(namespace), CACHED_NAMESPACES);
    // The keys of this cache are the API keys as they came, so that each is hashed once and not for every request.
    this.#keys = new FreshCache((key) => apiKeys.find(key), CACHED_KEYS);
  }

  /** Listens for changes. `subscriber` is a connection of that role. */
  async follow(subscriber: Redis): Promise<void> {
    subscriber.on('message', (_channel, change) => this.changed(change));
    // What was announced while the connection was down has been missed.
    subscriber.on('ready', () => this.changed(EVERY_NAMESPACE));
    await subscriber.subscribe(keys.changes());
  }

  /** `namespace/name`, or `*`. */
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

  /** The function, when that is known without waiting. */
  peekTarget(namespace: string, name: string): Target | undefined {
    return this.#targets.peek(`${namespace}/${name}`);
  }

  /** Undefined when there is none. Throws `bad_name`. */
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
   * Says that a function is not there, and which one may have been meant. Names are not everybody's business: who holds no
   * key of the namespace is pointed to public functions only.
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

  /** Reads few functions, however many there are: anybody may ask, as often as they like. */
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

/** Throws `bad_name` when it is not a legal one. */
export function checkName(name: string, of: 'namespace' | 'function'): void {
  if (Name.safeParse(name).success) return;
  throw new OffshootError('bad_name', `"${name.slice(0, 100)}" is not a name of a ${of}: ${NAME_RULE}`);
}

function meant(nearest: string | undefined): string {
  return nearest ? `; did you mean "${nearest}"?` : '';
}
