/**
 * Caches values from Redis that change rarely and that each request needs. Pub/sub announces changes but may lose a message, so
 * a value is also read again when it is older than a second.
 */

/** Age after which a value is read again in the background while it is still used. */
const REFRESH_AFTER_MS = 1_000;
/** Age after which a value is no longer used, unless Redis is unavailable. */
const UNUSABLE_AFTER_MS = 3_000;

interface Entry<V> {
  value: V | undefined;
  readAt: number;
  /** The value was announced as changed, and must be read again before it is used. */
  changed: boolean;
  reading: Promise<V | undefined> | undefined;
}

export class FreshCache<V> {
  readonly #read: (key: string) => Promise<V | undefined>;
  readonly #capacity: number;
  readonly #entries = new Map<string, Entry<V>>();

  /** `read` fetches a value; undefined means that there is none, which is cached too. */
  constructor(read: (key: string) => Promise<V | undefined>, capacity: number) {
    this.#read = read;
    this.#capacity = capacity;
  }

  /** The value, if it can be used without waiting. Undefined otherwise, or when there is none: get() tells which. */
  peek(key: string): V | undefined {
    const entry = this.#entries.get(key);
    if (!entry || entry.changed || entry.value === undefined) return undefined;
    const age = performance.now() - entry.readAt;
    if (age > UNUSABLE_AFTER_MS) return undefined;
    if (age > REFRESH_AFTER_MS && !entry.reading) this.#fetch(key, entry).catch(() => undefined);
    return entry.value;
  }

  /** The value, read when needed. While Redis is unavailable, this is the last known value; without one it throws. */
  async get(key: string): Promise<V | undefined> {
    const entry = this.#entries.get(key);
    if (!entry) return await this.#fetch(key, this.#add(key));
    if (!entry.changed && performance.now() - entry.readAt < REFRESH_AFTER_MS) return entry.value;
    try {
      return await (entry.reading ?? this.#fetch(key, entry));
    } catch (error) {
      if (entry.value !== undefined) return entry.value;
      throw error;
    }
  }

  /** Marks the value of this key as changed. */
  invalidate(key: string): void {
    const entry = this.#entries.get(key);
    if (!entry) return;
    entry.changed = true;
    // A read under way may have begun before the change.
    entry.reading = undefined;
  }

  /** Marks all values as changed. */
  invalidateAll(): void {
    for (const key of this.#entries.keys()) this.invalidate(key);
  }

  #add(key: string): Entry<V> {
    if (this.#entries.size >= this.#capacity) {
      // The oldest entry goes: a Map keeps the order of insertion. An entry in use comes back with one read.
      for (const oldest of this.#entries.keys()) {
        this.#entries.delete(oldest);
        break;
      }
    }
    const entry: Entry<V> = { value: undefined, readAt: -Infinity, changed: true, reading: undefined };
    this.#entries.set(key, entry);
    return entry;
  }

  #fetch(key: string, entry: Entry<V>): Promise<V | undefined> {
    const reading = this.#read(key).then(
      (value) => {
        // Only the current read may mark the entry as fresh.
        if (entry.reading !== reading) return value;
        entry.value = value;
        entry.readAt = performance.now();
        entry.changed = false;
        entry.reading = undefined;
        return value;
      },
      (error: unknown) => {
        if (entry.reading === reading) entry.reading = undefined;
        throw error;
      },
    );
    entry.reading = reading;
    return reading;
  }
}
